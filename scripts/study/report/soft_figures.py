"""Figures of study 1, from the tables of a sweep over soft masks to matplotlib.

Gains are in percent of MASE, above zero is better; see `style` for what all share.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from chronos2_attention.errors import InputError
from study.config.suites import Suite
from study.evaluation.statistics import YES
from study.forecasts.similarity_files import SimilarityFile
from study.forecasts.slices import task_slices
from study.forecasts.windows import context_of, flat_series
from study.report.style import (
    BLUE,
    CYCLE,
    GREY,
    MARKERS,
    ORANGE,
    STYLE,
    STYLES,
    VERMILION,
    Caption,
    titled_figure,
)
from study.soft_masks.breakdown import BEST_SEEN, BEST_TRUE
from study.soft_masks.pairs import Baseline, Pairs, TaskForecasts
from study.soft_masks.sweep import ANY_MEASURE, JOINT, NO_CONTROL
from study.soft_masks.verdicts import best_of

GAIN = "reduction of MASE against full attention (%)"

_MARKS = {"better": "*", "worse": "*", "equivalent": "≈"}

# Context shown, in horizons, and series of a batch that still make a readable matrix.
CONTEXT_SHOWN = 4

MOST_SERIES = 80


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
    """Map the gain, and the attention that goes to other groups, over measure and temperature.

    Parameters
    ----------
    summary:
        Rows of ``soft_summary.csv``.
    """
    with mpl.rc_context(STYLE):
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
    """Plot the gain of soft masks beside that of their controls and of a smoothed baseline.

    Parameters
    ----------
    summary:
        Rows of ``soft_summary.csv``.
    """
    with mpl.rc_context(STYLE):
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
    """Plot the gain at each step of the horizon: each measure at its best temperature.

    Parameters
    ----------
    steps:
        Rows of ``soft_by_horizon.csv``.
    summary:
        Rows of ``soft_summary.csv``, which says what is best.
    """
    with mpl.rc_context(STYLE):
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
    """Plot the gain on each feature, of the best soft mask and of its shuffled control.

    Parameters
    ----------
    features:
        Rows of ``soft_by_feature.csv``.
    summary:
        Rows of ``soft_summary.csv``, which says what is best.
    """
    with mpl.rc_context(STYLE):
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
    """Plot what samples of growing size show: of one soft mask, and of the best in the sample.

    Parameters
    ----------
    samples:
        Rows of ``soft_by_sample_size.csv``.
    summary:
        Rows of ``soft_summary.csv``, which says what is best over all.
    """
    with mpl.rc_context(STYLE):
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


def example(window: dict[str, np.ndarray], about: str, variant: str, caption: Caption) -> Figure:
    """Plot one window: context, truth, and the forecasts of the baseline and of a soft mask.

    Parameters
    ----------
    window:
        `context` (t,), `truth` (horizon,), and ``{full,soft}_{point,low,high}`` (horizon,).
    about:
        Task, series and window, and how it was chosen.
    variant:
        The soft mask.
    """
    with mpl.rc_context(STYLE):
        figure = titled_figure("One window", caption, about, 8.2, 4.4)
        axis = figure.subplots()
        horizon = len(window["truth"])
        past = window["context"]
        future = np.arange(1, horizon + 1)
        axis.plot(np.arange(1 - len(past), 1), past, color="black", lw=1, label="context")
        axis.plot(future, window["truth"], color="black", lw=1.4, ls="--", label="truth")
        for name, label, colour, style in (
            ("full", "full attention", VERMILION, "-."),
            ("soft", variant, BLUE, "-"),
        ):
            axis.fill_between(future, window[f"{name}_low"], window[f"{name}_high"], color=colour,
                              alpha=0.15, lw=0)  # fmt: skip
            axis.plot(future, window[f"{name}_point"], color=colour, lw=1.8, ls=style, label=label)
        axis.axvline(0.5, color=GREY, lw=0.8)
        axis.set_xlabel("steps from the cutoff; bands from the lowest to the highest quantile")
        axis.set_ylabel("value")
        figure.legend(loc="outside lower center", ncols=4)
        return figure


def similarities(
    matrices: dict[str, np.ndarray], names: list[str], about: str, caption: Caption
) -> Figure:
    """Plot the similarities of one batch under each measure.

    Parameters
    ----------
    matrices:
        Measure to matrix (n, n), all in the same order of series.
    names:
        The n series.
    about:
        Which batch.
    """
    with mpl.rc_context(STYLE):
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


def median_gain(
    baseline: Baseline, variant: Mapping[str, TaskForecasts], pairs: Pairs
) -> tuple[str, int]:
    """Choose the forecast whose gain is the median of all whose series can mix.

    The gain is 1 - variant / baseline of a forecast's MASE.

    Returns
    -------
    Task, and row among the task's forecasts.

    Raises
    ------
    InputError
        If no series shares a batch with another.
    """
    base = np.concatenate([part.error for part in baseline.forecasts.values()])
    other = np.concatenate([part.error for part in variant.values()])
    rows = np.flatnonzero((pairs.batch_size > 1) & (base > 0) & np.isfinite(other))
    if not len(rows):
        raise InputError("no series shares a batch with another", mend="give the suite more series")
    gain = 1 - other[rows] / base[rows]
    row = int(rows[np.argsort(gain, kind="stable")[(len(gain) - 1) // 2]])
    for task, keys in baseline.keys.items():
        if row < len(keys):
            return task, row
        row -= len(keys)
    raise AssertionError("a row beyond all tasks")


def context_of_item(
    suite: Suite, task_name: str, data_path: Path, window_index: int, item_id: str
) -> np.ndarray:
    """Return the last observations before a window's cutoff, `CONTEXT_SHOWN` horizons of them.

    Raises
    ------
    InputError
        If the data set has no such series.
    """
    task = suite.task(task_name)
    for evaluation in task_slices(task, suite, data_path):
        window = evaluation.get_window(window_index)
        past = context_of(window)
        if past is None:
            continue
        ids = past.data.table.column(window.id_column).to_pylist()
        if item_id in ids:
            values, lengths = flat_series(past, window.target_columns[0])
            end = np.cumsum(lengths)[ids.index(item_id)]
            length = min(lengths[ids.index(item_id)], CONTEXT_SHOWN * task.horizon)
            return values[end - length : end]
    raise InputError(f"no series {item_id!r}", str(data_path), "make the forecasts again")


def largest_batch(path: str | os.PathLike) -> tuple[str, int, list[str]]:
    """Return task, window and series of the largest batch in a file of similarities, the first."""
    file = pq.ParquetFile(path)
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    rows = file.read_row_group(int(np.argmax(sizes)), ["task_name", "window_index", "item_id"])
    first = rows.slice(0, 1).to_pylist()[0]
    return first["task_name"], first["window_index"], rows.column("item_id").to_pylist()


def clustered(
    paths: Mapping[str, str | os.PathLike],
) -> tuple[dict[str, np.ndarray], list[str], str, int]:
    """Read the largest batch's similarities and put series that are alike beside each other.

    The order is that of the leaves of an average-linkage tree on 1 - similarity of the first
    measure. Of a batch of more than `MOST_SERIES` series the first ones are taken.

    Parameters
    ----------
    paths:
        Measure to file of similarities.

    Returns
    -------
    Measure to matrix (n, n), names of the n series, task, and window.
    """
    task, window, ids = largest_batch(next(iter(paths.values())))
    matrices = {}
    for measure, path in paths.items():
        with SimilarityFile(path) as file:
            matrices[measure] = file.batch(task, window, ids)[:MOST_SERIES, :MOST_SERIES]
    distance = 1 - next(iter(matrices.values()))
    order = np.arange(len(distance))
    if len(order) > 2:
        tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
        order = leaves_list(tree)
    return (
        {measure: matrix[np.ix_(order, order)] for measure, matrix in matrices.items()},
        [ids[index] for index in order],
        task,
        window,
    )
