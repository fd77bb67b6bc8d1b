"""Pages of the report: self-contained HTML with a banner and tables that sort and filter.

A page holds its style and script within itself and fetches nothing, so that it works inside
Snakemake's report, as a file of its own, and without a network. Which pages there are is said in
workflow/report/pages.yaml, which columns they show in columns.yaml beside it.
"""

from __future__ import annotations

import json
import math
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from study.evaluation.gates import FAIL, NOT_APPLICABLE, PASS, validity_of
from study.forecasts.files import read_metadata
from study.report.answers import (
    Answer,
    group_answer,
    soft_answer,
    sparse_answer,
    with_percent,
)
from study.soft_masks.group_value import ALL

TEMPLATES = Path(__file__).resolve().parents[3] / "workflow" / "report"

COLUMNS = yaml.safe_load((TEMPLATES / "columns.yaml").read_text(encoding="utf-8"))

ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

MISSING = "–"
GOOD = {"pass", "valid", "better", "equivalent", "yes"}
BAD = {"fail", "invalid", "worse", "no"}
FIRST_KEYS = ["device", "dtype", "backend", "weights_fingerprint", "weights_source", "model"]
PACKAGES = ("snakemake", "torch", "chronos-forecasting", "fev", "numpy", "pandas", "scipy")


@dataclass(frozen=True)
class Section:
    """A table, below a heading and `paragraphs`.

    `columns` are shown in this order, those that the table has and that hold anything (None for
    all), and what they mean is told below it if they are `explained`; `source` is the file that
    holds all columns and digits. Verdicts of a `void` table do not count, and lose their colour.
    """

    table: pd.DataFrame
    title: str = ""
    paragraphs: Sequence[str] = ()
    columns: Sequence[str] | None = None
    source: str = ""
    explained: bool = False
    void: bool = False


def cell(value: Any, number: bool = False) -> dict[str, str]:
    """Return how a value is shown: `text`, `style` (CSS class), and `exact`, which sorts.

    A missing value of a column of numbers stands where its numbers do.
    """
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return {"text": MISSING, "style": "number" if number else "", "exact": ""}
    if isinstance(value, bool | np.bool_):
        word = "yes" if value else "no"
        return {"text": word, "style": "good" if value else "bad", "exact": ""}
    if isinstance(value, int | np.integer):
        return {"text": str(value), "style": "number", "exact": str(value)}
    if isinstance(value, float | np.floating):
        return {"text": _short(float(value)), "style": "number", "exact": repr(float(value))}
    text = str(value)
    verdict = "good" if text.lower() in GOOD else "bad" if text.lower() in BAD else ""
    style = f"{verdict} {'word' if len(text) <= 24 else ''}".strip()
    return {"text": text, "style": style, "exact": ""}


def _short(value: float) -> str:
    """Four digits that matter, without an exponent where it can be spared."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-4 <= abs(value) < 1e6:
        decimals = min(6, max(0, 3 - math.floor(math.log10(abs(value)))))
        return f"{value:.{decimals}f}"
    return f"{value:.1e}"


def _render_section(section: Section) -> dict[str, Any]:
    table = section.table
    if section.columns is not None:  # a column of nothing tells nothing
        table = table[
            [name for name in section.columns if name in table and table[name].notna().any()]
        ]
    known = {name: COLUMNS["columns"].get(name, {}) for name in table.columns}
    heads = [
        {
            "name": name,
            "label": about.get("label", str(name).replace("_", " ")),
            "meaning": about.get("meaning", "") if section.explained else "",
            "number": pd.api.types.is_numeric_dtype(table[name])
            and not pd.api.types.is_bool_dtype(table[name]),
        }
        for name, about in known.items()
    ]
    shown = [[cell(value, head["number"]) for value in table[head["name"]]] for head in heads]
    return {
        **vars(section),
        "heads": heads,
        "meanings": [head for head in heads if head["meaning"]],
        "rows": list(zip(*shown, strict=True)),
    }


def page(
    title: str,
    sections: Sequence[Section],
    *,
    study: str = "",
    valid: bool | None = None,
    reason: str = "",
    checks: str = "",
    answer: Answer | None = None,
) -> str:
    """Return a page of the report as HTML.

    A banner says of the study, green or red, whether its gates passed, see `gates.validity_of`, and
    by which `checks`; there is none where `valid` is None. The answer follows it, as on the
    report's first page.
    """
    return ENVIRONMENT.get_template("page.html").render(
        title=title,
        study=study,
        valid=valid,
        reasons=reasons(reason),
        checks=checks,
        answer=answer,
        sections=[_render_section(section) for section in sections],
    )


def reasons(text: str) -> list[str]:
    """Split what `gates.summary` joined: one sentence for each gate that failed."""
    parts = text.split("; gate ")
    return [part if index == 0 else f"gate {part}" for index, part in enumerate(parts) if part]


def checks_of(validity: pd.DataFrame) -> str:
    """Count the rows of the gates that passed, that failed, and that had nothing to go by."""
    rows = validity[validity["gate"] != "all"]
    passed, failed = (int((rows["verdict"] == word).sum()) for word in (PASS, FAIL))
    idle = rows[~rows["verdict"].isin([PASS, FAIL])]
    text = f"{passed} checks passed, {failed} failed"
    gates = ", ".join(dict.fromkeys(idle["gate"]))
    return text + (f", {len(idle)} had nothing to go by ({gates})" if len(idle) else "")


def gate_overview(validity: pd.DataFrame) -> pd.DataFrame:
    """One row a gate: rows of tasks that cannot be checked, or all pass, are counted."""
    rows = []
    for _, part in validity[validity["gate"] != "all"].groupby("gate", sort=False):
        verdicts = part["verdict"].value_counts()
        whole = part[part["task"] == "all"]
        shown = whole if len(whole) else part
        shown = part[part["verdict"] == "fail"] if "fail" in verdicts else shown
        if len(shown) == 1 or "fail" in verdicts:
            rows.append(shown)
            continue
        verdict = "pass" if "pass" in verdicts else str(verdicts.index[0])
        counts = ", ".join(f"{count} {word}" for word, count in verdicts.items())
        note = f"{len(part)} tasks: {counts}"
        if verdict == NOT_APPLICABLE and len(set(part["note"])) == 1:
            note += f" ({part['note'].iloc[0]})"
        said = {"task": "all", "verdict": verdict, "value": part["value"].max(), "note": note}
        rows.append(part.iloc[:1].assign(**said))
    table = pd.concat(rows, ignore_index=True)
    return table[["gate", "task", "verdict", "value", "threshold", "note"]]


def table_page(
    study: str,
    title: str,
    table: pd.DataFrame,
    answer: Answer | None = None,
    *,
    name: str,
    source: str,
    validity: pd.DataFrame,
) -> str:
    """Return the page `name` of a table, read from the files `source`, under its study's banner.

    With an `answer` it is one of verdicts, and of the gates.
    """
    shown = COLUMNS["tables"].get(name)
    sections = [
        Section(with_percent(table), heading, columns=columns, source=source, explained=True)
        for heading, columns in (shown if isinstance(shown, dict) else {"": shown}).items()
    ]
    valid, reason, *_ = validity_of(validity)
    of, heading, checks = study, f"{study}: {title}", ""
    if answer is not None:
        of, checks = f"{study}, {title}", checks_of(validity)
        sections = [
            replace(sections[0], title="Verdicts", void=not valid),
            Section(gate_overview(validity), title="Validity"),
        ]
    about = {"study": of, "valid": valid, "reason": reason, "checks": checks}
    return page(heading, sections, answer=answer, **about)


def sparse_verdict_page(study: str, title: str, summary: pd.DataFrame, **about: Any) -> str:
    """Return the page of verdicts on sparse attention and of the gates, see `table_page`."""
    return table_page(study, title, summary, sparse_answer(summary), **about)


def soft_verdict_page(study: str, title: str, verdicts: pd.DataFrame, **about: Any) -> str:
    """Return the page of verdicts on soft masks and of the gates, see `table_page`."""
    found = verdicts[verdicts["subject"] != "validity"]
    return table_page(study, title, found, soft_answer(verdicts), **about)


def group_verdict_page(study: str, title: str, value: pd.DataFrame, **about: Any) -> str:
    """Return the page on what group attention is worth by kind of task, see `table_page`."""
    kinds = value[value["task"] == ALL]
    return table_page(study, title, kinds, group_answer(kinds), **about)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Yield the settings as dotted keys and values in JSON."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value)


def origin(sidecar: Mapping[str, Any]) -> str:
    """Say in a word or two where a data set or a model came from."""
    if "repo" in sidecar:
        return f"{sidecar['repo']} @ {sidecar.get('revision', '?')}"
    for key in ("package", "url", "path"):
        if key in sidecar:
            return f"{key} {sidecar[key]} {sidecar.get('version', '')}".strip()
    return f"seed {sidecar['seed']}" if "seed" in sidecar else ""


def _about_source(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a sidecar: of a model, which says so, or of a data set."""
    checksum = sidecar.get("weights_fingerprint") or sidecar.get("parquet_sha256", "")
    return {
        "kind": "model" if "model" in sidecar else "data set",
        "name": sidecar.get("model", sidecar.get("dataset")),
        "source": sidecar.get("source", ""),
        "origin": origin(sidecar),
        "size": f"{sidecar['parameters']} parameters"
        if "parameters" in sidecar
        else f"{sidecar.get('series')} series, {sidecar.get('observations')} values",
        "checksum": str(checksum)[:16],
    }


def commit_of(folder: Path) -> str:
    """Return the commit checked out in a folder, and whether files differ from it.

    ``unknown`` where the folder is not a git checkout, or git is absent.
    """
    git = ["git", "-C", str(folder)]
    try:
        commit, changed = (
            subprocess.run([*git, *words.split()], capture_output=True, check=True).stdout
            for words in ("rev-parse HEAD", "status --porcelain --untracked-files=no")
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.decode().strip() + (" with uncommitted changes" if changed.strip() else "")


def versions() -> dict[str, str]:
    """Return the commit of this workflow, versions of packages, and the machine."""
    return {
        "workflow commit": commit_of(TEMPLATES),
        **{name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}",
    }


def configuration_page(
    study: str, title: str, paths: Sequence[str], *, settings: Mapping[str, Any]
) -> str:
    """Return the page of what a study ran with: versions, devices, weights, data and settings.

    `paths` are its forecasts, of whose metadata it tells, and the sidecars (JSON) of its model and
    data sets; `settings` is Snakemake's `config`.
    """
    runs = [read_metadata(path) for path in paths if path.endswith(".parquet")]
    sidecars = [Path(path).read_text(encoding="utf-8") for path in paths if path.endswith(".json")]
    keys = dict.fromkeys([*FIRST_KEYS, *(key for run in runs for key in run)])
    ran = {"": list(keys)} | {run["variant"]: [run.get(k, "") for k in keys] for run in runs}
    here = pd.DataFrame(versions().items(), columns=["what", "version"])
    return page(
        f"{study}: {title}",
        [
            Section(here, title="This workflow"),
            Section(pd.DataFrame(ran), title="What the forecasts ran with"),
            Section(
                pd.DataFrame([_about_source(json.loads(text)) for text in sidecars]),
                title="Model and data",
            ),
            Section(
                pd.DataFrame(flatten(settings), columns=["key", "value"]),
                title="Settings",
                paragraphs=["As run, the command line's --config included."],
            ),
        ],
    )
