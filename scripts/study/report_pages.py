"""Pages of the report: self-contained HTML with a banner and tables that sort and filter.

A page holds its style and script within itself and fetches nothing, so that it works inside
Snakemake's report, as a file of its own, and without a network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).resolve().parents[2] / "workflow" / "report"
MISSING = "–"
GOOD = {"pass", "valid", "better", "equivalent", "yes"}
BAD = {"fail", "invalid", "worse", "no"}


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
        Whether the study's gates passed, see `study.gates.read_summary`: green or red banner;
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
    """Split what `study.gates.summary` joined: one sentence for each gate that failed."""
    parts = text.split("; gate ")
    return [part if index == 0 else f"gate {part}" for index, part in enumerate(parts) if part]
