"""Figures of study 1, from the inputs that workflow/report/figures.yaml names to matplotlib.

Gains are in percent of MASE, above zero is better; see `style` for what all share.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from study.config.suites import Suite
from study.evaluation.statistics import YES
from study.forecasts.files import read_metadata
from study.report.style import (
    BLUE,
    CYCLE,
    GREY,
    MARKERS,
    ORANGE,
    STYLES,
    VERMILION,
    Caption,
    titled_figure,
)
from study.soft_masks.breakdown import BEST_SEEN, BEST_TRUE
from study.soft_masks.examples import Window, clustered, median_window
from study.soft_masks.sweep import ANY_MEASURE, JOINT, NO_CONTROL
from study.soft_masks.verdicts import best_of

GAIN = "reduction of MASE against full attention (%)"

_MARKS = {"better": "*", "worse": "*", "equivalent": "≈"}

log = logging.getLogger("study")


def percent_gain(log_ratio: pd.Series | float) -> pd.Series | float:
    """Turn log ratios of errors into reductions in percent."""
    return -100 * np.expm1(log_ratio)


def pairs_line(summary: pd.DataFrame) -> str:
    """Say how many pairs the tests rest on, as in ``n = 24 tasks``."""
    row = summary.iloc[0]
    return f"n = {row['n']} {'tasks' if row['pair'] == 'task' else 'series'}"


def soft_rows(summary: pd.DataFrame) -> pd.DataFrame:
    """Rows of soft masks alone, without controls and `joint`."""
    return summary[(summary["control"] == NO_CONTROL) & (summary["measure"] != ANY_MEASURE)]


def heatmap(summary: pd.DataFrame, caption: Caption) -> Figure:
    """Map the gain, and the attention that goes to other groups, over measure and temperature."""
    rows = soft_rows(summary)
    measures = list(dict.fromkeys(rows["measure"]))
    temperatures = sorted(set(rows["temperature"]))
    joint = summary[summary["variant"] == JOINT]
    columns = [JOINT] * bool(len(joint)) + [f"{value:g}" for value in temperatures]
    height = 2.4 + 2 * (0.5 + 0.42 * len(measures))
    figure = titled_figure(
        "Gain of soft masks", caption, pairs_line(summary), 1.9 + 0.95 * len(columns), height
    )
    upper, lower = figure.subplots(2, 1, sharex=True)
    shape = (len(measures), len(columns))
    gain, mass = np.full(shape, np.nan), np.full(shape, np.nan)
    marks = np.full(shape, "", dtype=object)
    for place, measure in enumerate(measures):
        own = pd.concat([joint, rows[rows["measure"] == measure]])
        cells = dict(zip(_column_names(own), (row for _, row in own.iterrows()), strict=True))
        for column, name in enumerate(columns):
            if name not in cells:
                continue
            row = cells[name]
            gain[place, column] = percent_gain(row["log_ratio_mean"])
            mass[place, column] = 100 * row["cross_group_mass"]
            marks[place, column] = _MARKS.get(row["verdict_holm"], "")
            if row["more_than_smoothing"] == YES and row["more_than_random"] == YES:
                box = Rectangle((column - 0.47, place - 0.45), 0.94, 0.9)
                box.set(fill=False, ec="black", lw=2)
                upper.add_patch(box)
    known = np.abs(gain[np.isfinite(gain)])
    limit = max(1.0, float(known.max())) if len(known) else 1.0
    _map(upper, gain, marks, "RdBu", (-limit, limit), "{:+.1f}")
    _map(lower, mass, np.full(shape, "", dtype=object), "cividis", (0, None), "{:.0f}")
    upper.set_title("reduction of MASE (%)")
    lower.set_title("group attention that goes to other series (%)")
    lower.set_xlabel(
        "temperature (a larger one is stricter)\n\n"
        "* better or worse, ≈ equivalent, corrected by Holm's method;\n"
        "framed: more than smoothing and more than random partners give"
    )
    for axis in (upper, lower):
        axis.set_yticks(range(len(measures)), measures)
        axis.set_xticks(range(len(columns)), columns)
    return figure


def _column_names(rows: pd.DataFrame) -> list[str]:
    return [
        JOINT if variant == JOINT else f"{temperature:g}"
        for variant, temperature in zip(rows["variant"], rows["temperature"], strict=True)
    ]


def _map(
    axis: Axes,
    values: np.ndarray,
    marks: np.ndarray,
    colours: str,
    limits: tuple[float, float | None],
    pattern: str,
) -> None:
    image = axis.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            axis.text(column, row, pattern.format(value) + str(marks[row, column]), ha="center",
                      va="center", fontsize=8, color="white" if dark else "black")  # fmt: skip
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)


def controls(summary: pd.DataFrame, caption: Caption) -> Figure:
    """Plot the gain of soft masks beside that of their controls and of a smoothed baseline."""
    rows = summary[summary["measure"] != ANY_MEASURE]
    measures = list(dict.fromkeys(rows["measure"]))
    temperatures = sorted(set(rows["temperature"]))
    line = f"{pairs_line(summary)}, 95 % intervals"
    figure = titled_figure(
        "Soft masks and their controls", caption, line, 1.6 + 2.6 * len(measures), 4.4
    )
    axes = np.atleast_1d(figure.subplots(1, len(measures), sharey=True))
    kinds = list(dict.fromkeys(rows["control"]))
    labels = {NO_CONTROL: "soft mask", "permuted": "similarities shuffled",
              "uniform": "all similarities equal"}  # fmt: skip
    offsets = np.linspace(-0.24, 0.24, len(kinds) + 1)
    for axis, measure in zip(axes, measures, strict=True):
        part = rows[rows["measure"] == measure]
        for index, kind in enumerate(kinds):
            own = part[part["control"] == kind].set_index("temperature").loc[temperatures]
            _points(axis, own, "log_ratio", offsets[index], index, labels.get(kind, kind))
        own = part[part["control"] == NO_CONTROL].set_index("temperature").loc[temperatures]
        _points(axis, own, "smoothed_alone_log_ratio", offsets[-1], len(kinds),
                "baseline smoothed as much")  # fmt: skip
        for _, joint in summary[summary["variant"] == JOINT].iterrows():
            axis.axhline(percent_gain(joint["log_ratio_mean"]), color=GREY, ls="--", lw=1.2,
                         label="joint: all in one group")  # fmt: skip
        margin = 100 * float(summary["tost_margin"].iloc[0])
        axis.axhspan(-margin, margin, color=GREY, alpha=0.18, lw=0,
                     label=f"equivalence margin ±{margin:g} %")  # fmt: skip
        axis.axhline(0, color="black", lw=0.8)
        axis.set_xticks(range(len(temperatures)), [f"{value:g}" for value in temperatures])
        axis.set_title(measure)
        axis.set_xlabel("temperature")
    axes[0].set_ylabel(GAIN)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


def _points(
    axis: Axes, rows: pd.DataFrame, column: str, offset: float, index: int, label: str
) -> None:
    middle = percent_gain(rows[f"{column}_mean"]).to_numpy()
    low = percent_gain(rows[f"{column}_ci_high"]).to_numpy()
    high = percent_gain(rows[f"{column}_ci_low"]).to_numpy()
    error = np.nan_to_num(np.array([middle - low, high - middle]))
    axis.errorbar(np.arange(len(rows)) + offset, middle, yerr=error, fmt=MARKERS[index],
                  color=CYCLE[index], ms=4.5, lw=1.1, label=label)  # fmt: skip


def by_horizon(steps: pd.DataFrame, summary: pd.DataFrame, caption: Caption) -> Figure:
    """Plot the gain at each step of the horizon: each measure at its best temperature."""
    line = f"{pairs_line(summary)}, 95 % intervals over them"
    figure = titled_figure("Gain by step of the horizon", caption, line, 7.6, 4.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    for index, measure in enumerate(dict.fromkeys(soft_rows(summary)["measure"])):
        best = best_of(summary, measure)
        if best is None:
            continue
        own = steps[steps["variant"] == best["variant"]]
        upper.plot(own["step"], 100 * own["gain"], color=CYCLE[index],
                   ls=STYLES[index % len(STYLES)], lw=1.8, marker=MARKERS[index], ms=3,
                   label=f"{measure}, temperature {best['temperature']:g}")  # fmt: skip
        upper.fill_between(own["step"], 100 * own["ci_low"].astype(float),
                           100 * own["ci_high"].astype(float), color=CYCLE[index], alpha=0.13,
                           lw=0)  # fmt: skip
        if index == 0:
            lower.fill_between(own["step"], own["n"], step="mid", color=GREY, alpha=0.5, lw=0)
    upper.axhline(0, color="black", lw=0.8)
    upper.set_ylabel("reduction of MASE (%)")
    upper.legend(loc="best", ncols=1)
    lower.set_ylim(0, None)
    lower.set_ylabel(summary["pair"].iloc[0].replace("task", "tasks"))
    lower.set_xlabel("step of the horizon")
    lower.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    return figure


def by_feature(features: pd.DataFrame, summary: pd.DataFrame, caption: Caption) -> Figure:
    """Plot the gain on each feature, of the best soft mask and of its shuffled control."""
    best = best_of(summary)
    name = "" if best is None else best["variant"]
    own = features[features["variant"] == name].sort_values("gain").reset_index(drop=True)
    height = 1.9 + 0.24 * max(4, len(own))
    line = f"n = {own['n_forecasts'].sum()} forecasts, 95 % intervals over them"
    figure = titled_figure("Gain by feature", caption, line, 7.4, height)
    axis = figure.subplots()
    if best is not None:
        shuffled = features[
            (features["measure"] == best["measure"])
            & (features["temperature"] == best["temperature"])
            & (features["control"] == "permuted")
        ].set_index("feature")
        places = np.arange(len(own))
        error = 100 * np.array([own["gain"] - own["ci_low"], own["ci_high"] - own["gain"]])
        axis.errorbar(100 * own["gain"], places + 0.12, xerr=np.nan_to_num(error), fmt="o",
                      color=BLUE, ms=4.5, lw=1.1, label=name)  # fmt: skip
        if len(shuffled):
            other = 100 * shuffled["gain"].reindex(own["feature"])
            axis.plot(other, places - 0.16, ls="", marker="s", ms=4, color=VERMILION,
                      label="similarities shuffled")  # fmt: skip
        labels = [f"{row['feature']} ({row['n_forecasts']})" for _, row in own.iterrows()]
        axis.set_yticks(places, labels)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_xlabel("reduction of MASE (%): right is better; in brackets, forecasts")
    axis.set_ylim(-0.7, max(len(own), 1) - 0.3)
    if len(own):
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def by_sample_size(samples: pd.DataFrame, summary: pd.DataFrame, caption: Caption) -> Figure:
    """Plot what samples of growing size show: of one soft mask, and of the best in the sample."""
    best = best_of(summary)
    curves = [
        (BEST_SEEN, "best in the sample: what it shows", VERMILION, "--", "s"),
        (BEST_TRUE, "best in the sample: what it gains over all", ORANGE, ":", "^"),
    ]
    if best is not None:
        curves.insert(0, (best["variant"], best["variant"], BLUE, "-", "o"))
    total = samples["n_forecasts"].max() if len(samples) else 0
    line = f"n = {total} forecasts, 95 % of samples"
    figure = titled_figure("Gain by sample size", caption, line, 7.2, 4.4)
    axis = figure.subplots()
    for name, label, colour, style, marker in curves:
        own = samples[samples["variant"] == name].sort_values("n_forecasts")
        axis.plot(own["n_forecasts"], 100 * own["gain"], color=colour, ls=style, marker=marker,
                  ms=4.5, lw=1.8, label=label)  # fmt: skip
        if name != BEST_TRUE:
            axis.fill_between(own["n_forecasts"], 100 * own["ci_low"], 100 * own["ci_high"],
                              color=colour, alpha=0.14, lw=0)  # fmt: skip
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xscale("log")
    ticks = sorted(set(samples["n_forecasts"]))
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("forecasts in the sample")
    axis.set_ylabel("reduction of MASE (%)")
    axis.legend(loc="upper right")
    return figure


def example(
    summary: pd.DataFrame,
    data: Sequence[str],
    full: Sequence[str],
    similarity: Sequence[str],
    scores: Sequence[str],
    forecasts: Sequence[str],
    suite: Suite,
    caption: Caption,
) -> Figure:
    """Plot the window on which the best soft mask has its median gain."""
    window = median_window(suite, summary, data, full, similarity[0], scores, forecasts)
    log.info("%s", window.about)
    return one_window(window, caption)


def one_window(window: Window, caption: Caption) -> Figure:
    """Plot context, truth, and the forecasts of the baseline and of a soft mask."""
    figure = titled_figure("One window", caption, window.about, 8.2, 4.4)
    axis = figure.subplots()
    past, future = window.context, np.arange(1, len(window.truth) + 1)
    axis.plot(np.arange(1 - len(past), 1), past, color="black", lw=1, label="context")
    axis.plot(future, window.truth, color="black", lw=1.4, ls="--", label="truth")
    looks = [(VERMILION, "-."), (BLUE, "-")]
    for (label, band), (colour, style) in zip(window.bands.items(), looks, strict=True):
        point, low, high = band
        axis.fill_between(future, low, high, color=colour, alpha=0.15, lw=0)
        axis.plot(future, point, color=colour, lw=1.8, ls=style, label=label)
    axis.axvline(0.5, color=GREY, lw=0.8)
    axis.set_xlabel("steps from the cutoff; bands from the lowest to the highest quantile")
    axis.set_ylabel("value")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def similarity(files: Sequence[str], caption: Caption) -> Figure:
    """Plot the similarities of a study's largest batch under each measure, a file each."""
    paths = {read_metadata(path)["measure"]: path for path in files}
    matrices, names, task, window = clustered(paths)
    about = f"n = {len(names)} series of {task}, window {window}, clustered by {next(iter(paths))}"
    return similarities(matrices, names, about, caption)


def similarities(
    matrices: dict[str, np.ndarray], names: list[str], about: str, caption: Caption
) -> Figure:
    """Plot the similarities of one batch, measure to matrix (n, n), all in the order of `names`."""
    columns = len(matrices)
    figure = titled_figure("Similarity of series", caption, about, 1.9 + 2.8 * columns, 4.3)
    axes = np.atleast_1d(figure.subplots(1, columns, sharey=True))
    for axis, (measure, matrix) in zip(axes, matrices.items(), strict=True):
        image = axis.imshow(matrix, cmap="cividis", vmin=0, vmax=1, aspect="equal")
        axis.set_title(measure)
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_yticks([])
    if len(names) <= 30:
        axes[0].set_yticks(range(len(names)), names, fontsize=6.5)
    figure.colorbar(image, ax=list(axes), shrink=0.75, label="similarity")
    return figure
