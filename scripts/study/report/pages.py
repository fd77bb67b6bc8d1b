"""Pages of the report: self-contained HTML with a banner and tables that sort and filter.

A page holds its style and script within itself and fetches nothing, so that it works inside
Snakemake's report, as a file of its own, and without a network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from study.evaluation.gates import NOT_APPLICABLE, read_summary
from study.jobs.files import read_results
from study.report.columns import LABELS, MEANINGS, SOFT_VERDICT_COLUMNS, VERDICT_COLUMNS

TEMPLATES = Path(__file__).resolve().parents[3] / "workflow" / "report"

MISSING = "–"

GOOD = {"pass", "valid", "better", "equivalent", "yes"}

BAD = {"fail", "invalid", "worse", "no"}

FIRST_KEYS = ["device", "dtype", "backend", "weights_fingerprint", "weights_source", "model"]


@dataclass(frozen=True)
class Section:
    """A table with its heading.

    Attributes
    ----------
    table:
        What is shown, a row of the page for each of its rows.
    title, paragraphs:
        Heading and text above the table.
    columns:
        Names of the columns shown, in this order, those that the table has; None for all.
    source:
        File that holds all columns and digits.
    labels, meanings:
        Column name to what its head shows (the name, without underscores, where there is none)
        and to what is explained below the table.
    void:
        Whether its verdicts do not count, and so lose their colour.
    """

    table: pd.DataFrame
    title: str = ""
    paragraphs: Sequence[str] = ()
    columns: Sequence[str] | None = None
    source: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)
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
    styles = [
        *(["good"] if text.lower() in GOOD else ["bad"] if text.lower() in BAD else []),
        *(["word"] if len(text) <= 24 else []),
    ]
    return {"text": text, "style": " ".join(styles), "exact": ""}


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
    if section.columns is not None:
        table = table[[name for name in section.columns if name in table]]
    heads = [
        {
            "name": name,
            "label": section.labels.get(name, str(name).replace("_", " ")),
            "meaning": section.meanings.get(name, ""),
            "number": pd.api.types.is_numeric_dtype(table[name])
            and not pd.api.types.is_bool_dtype(table[name]),
        }
        for name in table.columns
    ]
    shown = [[cell(value, head["number"]) for value in table[head["name"]]] for head in heads]
    return {
        "title": section.title,
        "paragraphs": section.paragraphs,
        "source": section.source,
        "void": section.void,
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
    sentences: Sequence[str] = (),
) -> str:
    """Return a page of the report as HTML.

    Parameters
    ----------
    title:
        Heading.
    sections:
        Tables, from top to bottom.
    study:
        Name of the study that the banner speaks of.
    valid, reason:
        Whether the study's gates passed, see `gates.read_summary`: green or red banner;
        None for no banner.
    sentences:
        What follows the banner; the report's first page shows it and the first two.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        title=title,
        study=study,
        valid=valid,
        reasons=reasons(reason),
        sentences=sentences,
        sections=[_render_section(section) for section in sections],
    )


def reasons(text: str) -> list[str]:
    """Split what `gates.summary` joined: one sentence for each gate that failed."""
    parts = text.split("; gate ")
    return [part if index == 0 else f"gate {part}" for index, part in enumerate(parts) if part]


def with_percent(summary: pd.DataFrame) -> pd.DataFrame:
    """Add the mean log ratio and its interval as changes of MASE in percent."""
    names = {
        "change_percent": "log_ratio_mean",
        "low_percent": "log_ratio_ci_low",
        "high_percent": "log_ratio_ci_high",
    }
    known = {new: 100 * np.expm1(summary[old]) for new, old in names.items() if old in summary}
    return summary.assign(**known)


def read_tables(paths: str | Sequence[str]) -> pd.DataFrame:
    """Read one CSV file, or several below each other."""
    paths = [paths] if isinstance(paths, str) else paths
    return pd.concat([read_results(path) for path in paths], ignore_index=True)


def name_files(paths: str | Sequence[str]) -> str:
    """Return the paths as a page names them."""
    return paths if isinstance(paths, str) else ", ".join(paths)


def _section(
    table: pd.DataFrame, columns: Sequence[str] | None, source: str = "", **texts: Any
) -> Section:
    if columns is not None:  # a column of nothing tells nothing
        columns = [name for name in columns if name in table and table[name].notna().any()]
    return Section(table, columns=columns, source=source, labels=LABELS, meanings=MEANINGS, **texts)


def sparse_sentences(summary: pd.DataFrame) -> list[str]:
    """Say each radius's verdict in words, from the rows of ``radius_summary.csv``."""
    texts = {
        "better": "more accurate than full attention",
        "worse": "less accurate than full attention",
        "equivalent": "as accurate as full attention within {margin:g} %",
    }
    found = []
    for row in with_percent(summary).to_dict("records"):
        verdict = texts.get(row["verdict_holm"], "not shown to differ, nor shown to be equivalent")
        found.append(
            f"Sparse time attention at r = {row['radius']}:"
            f" {verdict.format(margin=100 * row['tost_margin'])}."
            f" MASE changes by {row['change_percent']:+.2f} %"
            f" (95 % interval {row['low_percent']:+.2f} to {row['high_percent']:+.2f} %,"
            f" {row['n']} pairs), at a median of {row['median_speedup']:.2f} times the speed."
        )
    return found


def gate_overview(validity: pd.DataFrame) -> pd.DataFrame:
    """One row a gate: rows of tasks that cannot be checked, or all pass, are counted."""
    rows = []
    for gate, part in validity[validity["gate"] != "all"].groupby("gate", sort=False):
        verdicts = part["verdict"].value_counts()
        shown = part[part["verdict"] == "fail"] if "fail" in verdicts else part
        if len(shown) == 1 or "fail" in verdicts:
            rows += shown[["gate", "task", "verdict", "value", "threshold", "note"]].to_dict(
                "records"
            )
            continue
        verdict = "pass" if "pass" in verdicts else str(verdicts.index[0])
        counts = ", ".join(f"{count} {word}" for word, count in verdicts.items())
        note = f"{len(part)} tasks: {counts}"
        if verdict == NOT_APPLICABLE and len(set(part["note"])) == 1:
            note += f" ({part['note'].iloc[0]})"
        value = part["value"].max()
        rows.append(
            {"gate": gate, "task": "all", "verdict": verdict, "value": value,
             "threshold": part["threshold"].iloc[0], "note": note}
        )  # fmt: skip
    return pd.DataFrame(rows)


def verdict_page(study: str, validity: pd.DataFrame, summary: pd.DataFrame, source: str) -> str:
    """Return the page of a study's verdicts on sparse attention and of its gates.

    Parameters
    ----------
    study:
        Its name.
    validity:
        Rows of ``validity.csv``.
    summary:
        Rows of ``radius_summary.csv``.
    source:
        Name of the latter file.
    """
    valid, reason = read_summary(validity)
    return page(
        f"{study}: sparse time attention against full attention",
        [
            _section(
                with_percent(summary), VERDICT_COLUMNS, source, title="Verdicts", void=not valid
            ),
            Section(gate_overview(validity), title="Validity", labels=LABELS),
        ],
        study=f"{study}, sparse time attention",
        valid=valid,
        reason=reason,
        sentences=sparse_sentences(summary),
    )


def soft_verdict_page(
    study: str, validity: pd.DataFrame, verdicts: pd.DataFrame, source: str
) -> str:
    """Return the page of a study's verdicts on soft group masks.

    Parameters
    ----------
    study:
        Its name.
    validity:
        Rows of ``validity.csv``.
    verdicts:
        Rows of ``soft_verdicts.csv``.
    source:
        Name of the latter file.
    """
    valid, reason = read_summary(validity)
    found = verdicts[verdicts["subject"] != "validity"]
    return page(
        f"{study}: soft group masks against full attention",
        [
            _section(found, SOFT_VERDICT_COLUMNS, source, title="Verdicts", void=not valid),
            Section(gate_overview(validity), title="Validity", labels=LABELS),
        ],
        study=f"{study}, soft group masks",
        valid=valid,
        reason=reason,
        sentences=found["sentence"].tolist(),
    )


def table_page(
    title: str,
    table: pd.DataFrame,
    source: str,
    *,
    study: str,
    validity: pd.DataFrame,
    columns: Sequence[str] | None = None,
    sentences: Sequence[str] = (),
) -> str:
    """Return the page of one table, under the banner of its study.

    Parameters
    ----------
    title:
        Heading, after the study's name.
    table:
        Its rows.
    source:
        File that holds it.
    study, validity:
        Name of the study and rows of its ``validity.csv``.
    columns:
        Names of the columns shown; those that are absent or empty are left out. None for all.
    sentences:
        What follows the banner.
    """
    valid, reason = read_summary(validity)
    return page(
        f"{study}: {title}",
        [_section(with_percent(table), columns, source)],
        study=study,
        valid=valid,
        reason=reason,
        sentences=sentences,
    )


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


def configuration_page(
    study: str,
    settings: Mapping[str, Any],
    runs: Mapping[str, Mapping[str, str]],
    here: Mapping[str, str],
    models: Sequence[Path],
    data: Sequence[Path],
) -> str:
    """Return the page of what a study ran with: versions, devices, weights, data and settings.

    Parameters
    ----------
    study:
        Its name.
    settings:
        Snakemake's `config`.
    runs:
        Variant to the metadata that its forecasts carry.
    here:
        Commit, versions and machine of the process that writes this page.
    models, data:
        Sidecars of the model and the data sets.
    """
    sidecars = [json.loads(Path(path).read_text(encoding="utf-8")) for path in (*models, *data)]
    sources = pd.DataFrame(
        {
            "kind": ["model"] * len(models) + ["data set"] * len(data),
            "name": [sidecar.get("model", sidecar.get("dataset")) for sidecar in sidecars],
            "source": [sidecar.get("source", "") for sidecar in sidecars],
            "origin": [origin(sidecar) for sidecar in sidecars],
            "size": [
                f"{sidecar['parameters']} parameters"
                if "parameters" in sidecar
                else f"{sidecar.get('series')} series, {sidecar.get('observations')} values"
                for sidecar in sidecars
            ],
            "checksum": [
                str(sidecar.get("weights_fingerprint") or sidecar.get("parquet_sha256", ""))[:16]
                for sidecar in sidecars
            ],
        }
    )
    keys = dict.fromkeys([*FIRST_KEYS, *(key for run in runs.values() for key in run)])
    ran = pd.DataFrame(
        {"": list(keys)} | {name: [run.get(k, "") for k in keys] for name, run in runs.items()}
    )
    return page(
        f"{study}: configuration and versions",
        [
            Section(pd.DataFrame(here.items(), columns=["what", "version"]), title="This workflow"),
            Section(ran, title="What the forecasts ran with"),
            Section(sources, title="Model and data"),
            Section(
                pd.DataFrame(flatten(settings), columns=["key", "value"]),
                title="Settings",
                paragraphs=["As run, the command line's --config included."],
            ),
        ],
    )
