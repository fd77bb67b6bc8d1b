"""What all figures share: colours, sizes, titles with the study's validity, and saving.

Colours are those of Okabe and Ito, which readers with any colour vision can tell apart; lines also
differ in style, so that print in grey stays readable. Every figure says suite, model and n, and
carries a red mark where the study is not valid.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.evaluation.gates import Validity

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#7F7F7F"
CYCLE = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY]
STYLES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1))]
MARKERS = ["o", "s", "^", "D", "v", "P"]
LONG = 128
# A number in a cell of a map.
CENTRED = {"ha": "center", "va": "center", "fontsize": 8}

# Inches: the report shows a figure in one piece on a laptop's screen of 768 pixels.
TALLEST = 7.3

mpl.rcParams.update(
    {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "legend.frameon": False,
        "figure.dpi": 150,
        "svg.hashsalt": "study",
        "svg.fonttype": "path",
    }
)


@dataclass(frozen=True)
class Caption:
    """What every figure says of its study: names of suite and model, and whether it is valid."""

    suite: str
    model: str
    validity: Validity


def save(figure: Figure, paths: Sequence[Path]) -> None:
    """Write a figure to files of several formats, without dates, so that bytes repeat."""
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, metadata=metadata, facecolor="white")


def titled_figure(title: str, caption: Caption, n: str, width: float, height: float) -> Figure:
    """Return an empty figure with title, caption line and, if need be, the red mark."""
    figure = Figure(figsize=(width, height), layout="constrained")
    mark = textwrap.wrap(
        f"INVALID: {caption.validity.reason}", int(width * 11.5), max_lines=2, placeholder=" ..."
    )
    top = 0.62 if caption.validity.valid else 0.85 + 0.15 * len(mark)
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - top / height))
    at = 1 - 0.12 / height
    figure.text(0.01, at, title, fontsize=12, weight="bold", va="top")
    line = f"suite {caption.suite}, model {caption.model}, {n}"
    figure.text(0.01, at - 0.26 / height, line, fontsize=9, color="#333333", va="top")
    if not caption.validity.valid:
        figure.text(
            *(0.02, at - 0.54 / height, "\n".join(mark)),
            **{"fontsize": 8.5, "weight": "bold", "color": "white", "va": "top"},
            bbox={"facecolor": "#C00000", "edgecolor": "none", "boxstyle": "square,pad=0.3"},
        )
    return figure


def rows_figure(
    title: str, caption: Caption, n: str, width: float, rows: int, rest: float
) -> tuple[Figure, Axes, float]:
    """Return a figure whose `rows` and the rest (inches) fit on a screen, and its labels' size."""
    row = min(0.21, max(0.08, (TALLEST - rest) / rows))
    figure = titled_figure(title, caption, n, width, rest + row * rows)
    return figure, figure.subplots(), min(9, 60 * row)


def look(index: int) -> dict[str, str]:
    """Return colour and marker of the index-th of several groups of points."""
    return {"color": CYCLE[index % len(CYCLE)], "marker": MARKERS[index % len(MARKERS)]}


def mark_margin(span: Callable[..., Any], summary: pd.DataFrame) -> None:
    """Shade the margin of equivalence by an axis's `axhspan` or `axvspan`."""
    margin = 100 * float(summary["tost_margin"].iloc[0])
    label = f"equivalence margin ±{margin:g} %"
    span(-margin, margin, color=GREY, alpha=0.18, lw=0, label=label)
