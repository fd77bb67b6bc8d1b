"""Figures of study 2, from the inputs that workflow/report/figures.yaml names to matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.evaluation.clusters import forecast_errors, task_log_ratios
from study.evaluation.gates import relative_mase
from study.evaluation.statistics import detectable
from study.report.style import (
    BLUE,
    CENTRED,
    GREEN,
    GREY,
    LONG,
    VERMILION,
    Caption,
    look,
    mark_margin,
    rows_figure,
    titled_figure,
)

KEPT, EDGES = "kept_mass_frac_ctxQ", "kept_edges_frac_ctxQ"


def mass_by_radius(per_window: pd.DataFrame, caption: Caption) -> Figure:
    """Plot kept mass against radius: short and long sequences, tasks thin, their mean thick."""
    n = f"n = {per_window['task_name'].nunique()} tasks"
    figure = titled_figure("Attention mass within a radius", caption, n, 8.2, 4.4)
    axes = figure.subplots(1, 2, sharey=True)
    is_long = per_window["S_tokens"] >= LONG
    for axis, sign, chosen in zip(axes, "<≥", (~is_long, is_long), strict=True):
        part = per_window[chosen]
        by_task = part.groupby(["task_name", "radius"])[[KEPT, EDGES]].mean()
        count = part["task_name"].nunique()
        axis.set_xscale("log", base=2)
        title = f"S {sign} {LONG} tokens (n = {count})"
        axis.set(title=title, ylim=(0, 1.02), xlabel="radius r (tokens)")
        if not count:
            axis.text(0.5, 0.5, "no such task", transform=axis.transAxes, ha="center")
            continue
        axis.plot(by_task[KEPT].unstack("task_name"), color=BLUE, lw=0.5, alpha=0.35)
        mean = by_task.groupby(level="radius").mean()
        axis.plot(mean[KEPT], color=BLUE, lw=2.4, marker="o", ms=4, label="learned")
        axis.plot(mean[EDGES], color=VERMILION, lw=2, ls="--", label="uniform")
        axis.set_xticks(list(mean.index), map(str, mean.index))
        axis.minorticks_off()
    axes[0].set_ylabel("share of a context query's attention")
    axes[0].legend(loc="lower right")
    return figure


def mass_by_layer(heads: str, mass: Mapping[str, Any], caption: Caption) -> Figure:
    """Plot the lift of each layer and head at a small radius of the probe's settings."""
    radius = 4 if 4 in mass["radii"] else mass["radii"][0]
    return mass_by_layer_and_head(pd.read_parquet(heads), caption, radius)


def mass_by_layer_and_head(
    heads: pd.DataFrame, caption: Caption, radius: int, min_tokens: int = 32
) -> Figure:
    """Plot lift at one radius, in sequences of `min_tokens` and more; all where none is as long."""
    rows = heads[heads["radius"] == radius]
    long = rows[rows["S_tokens"] >= min_tokens]
    if long.empty:
        long, min_tokens = rows, 0
    means = long.groupby(["layer", "head"])[[KEPT, EDGES]].mean()
    lift = (means[KEPT] / means[EDGES]).unstack("head")
    n = f"n = {long['task_name'].nunique()} tasks of {min_tokens} tokens and more"
    width = max(6.2, 1.8 + 0.7 * lift.shape[1])
    height = 1.8 + 0.45 * lift.shape[0]
    figure = titled_figure(f"Lift of attention mass at radius {radius}", caption, n, width, height)
    axis = figure.subplots()
    # Symmetric on a log scale, so that white is uniform attention.
    span = max(0.1, float(np.abs(np.log2(lift.to_numpy())).max()))
    image = axis.imshow(np.log2(lift), cmap="PuOr_r", vmin=-span, vmax=span, aspect="auto")
    for (row, column), value in np.ndenumerate(lift.to_numpy()):
        dark = abs(np.log2(value)) > 0.6 * span
        axis.text(column, row, f"{value:.2f}", **CENTRED, color="white" if dark else "black")
    axis.set_xticks(range(lift.shape[1]), [str(head) for head in lift.columns])
    axis.set_yticks(range(lift.shape[0]), [str(layer) for layer in lift.index])
    axis.set(xlabel="head, counted from 0", ylabel="layer, counted from 0")
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axis, pad=0.02)
    ticks = np.array([-span, -span / 2, 0, span / 2, span])
    bar.set_ticks(ticks, labels=[f"{2**tick:.2f}" for tick in ticks])
    bar.set_label("kept mass / uniform")
    return figure


def delta_mase(
    full: str,
    variants: Sequence[str],
    summary: pd.DataFrame,
    radii: Sequence[int],
    statistics: Mapping[str, Any],
    caption: Caption,
) -> Figure:
    """Plot each task's change in MASE per radius, with intervals over its forecasts."""
    baseline, alpha = forecast_errors(full), statistics["alpha"]
    by_radius = {
        radius: task_log_ratios(baseline, forecast_errors(path), alpha=alpha)
        for radius, path in zip(radii, variants, strict=True)
    }
    return changes_by_task(by_radius, summary, caption)


def changes_by_task(
    by_radius: Mapping[int, pd.DataFrame], summary: pd.DataFrame, caption: Caption
) -> Figure:
    """Forest plot of each task's change in MASE per radius, with the mean over tasks below."""
    tasks = list(next(iter(by_radius.values()))["task_name"])
    n = f"n = {len(tasks)} tasks, 95 % intervals over forecasts"
    title = "Change in MASE against full attention"
    figure, axis, size = rows_figure(title, caption, n, 8.2, len(tasks) + 2, 2.0)
    places = {task: len(tasks) + 1 - place for place, task in enumerate(tasks)}
    offsets = np.linspace(0.2, -0.2, len(by_radius)) if len(by_radius) > 1 else [0.0]
    for index, (radius, rows) in enumerate(by_radius.items()):
        mean = summary.set_index("radius").loc[radius]
        y = [places[task] + offsets[index] for task in rows["task_name"]]
        own = [rows[n].fillna(rows["log_ratio"]) for n in ("ci_low", "log_ratio", "ci_high")]
        whole = [mean[f"log_ratio_{name}"] for name in ("ci_low", "mean", "ci_high")]
        _changes(axis, y, *own, ms=3.5, lw=1, label=f"r = {radius}", **look(index))
        _changes(axis, offsets[index], *whole, ms=6, lw=2.2, **look(index))
    mark_margin(axis.axvspan, summary)
    axis.axvline(0, color="black", lw=0.8)
    axis.axhline(0.9, color=GREY, lw=0.6)
    axis.set_yticks([*places.values(), 0], [*tasks, "mean over tasks"], fontsize=size)
    axis.get_yticklabels()[-1].set_weight("bold")
    axis.set_ylim(-0.7, len(tasks) + 1.7)
    axis.set_xlabel("MASE of sparse attention relative to full (%): left is better")
    _legend_below(axis, 4)
    return figure


def power(summary: pd.DataFrame, statistics: Mapping[str, Any], caption: Caption) -> Figure:
    """Plot the change that is found with 80 % power against the number of sources, per radius."""
    figure = titled_figure("What such a study finds", caption, "n = sources, 80 % power", 6.6, 4.2)
    axis, alpha = figure.subplots(), statistics["alpha"]
    counts = np.unique(np.geomspace(6, 300, 40).astype(int))
    effects = np.array([detectable(int(count), alpha) for count in counts])
    for index, row in summary.dropna(subset=["radius", "effect_80"]).iterrows():
        sd = np.log1p(row["effect_80"]) / detectable(int(row["n_clusters"]), alpha)
        found, line = 100 * np.expm1(effects * sd), {"color": look(index)["color"]}
        axis.plot(counts, found, **line, label=f"r = {row['radius']:g}")
        axis.plot(row["n_clusters"], 100 * row["effect_80"], **look(index), ms=7)
    margin = 100 * statistics["tost_margin"]
    axis.axhline(margin, color=GREY, ls="--", label="margin of equivalence")
    axis.set(xscale="log", xlabel="sources (points: this study)", ylabel="change of MASE found (%)")
    axis.legend()
    return figure


def speedup(compared: pd.DataFrame, per_window: pd.DataFrame, caption: Caption) -> Figure:
    """Plot speedup over full attention against the length of a task's longest sequence."""
    tokens = per_window.groupby("task_name")["S_tokens"].max()
    rows = compared.dropna(subset=["speedup"])
    n = f"n = {rows['task_name'].nunique()} tasks, medians side by side"
    figure = titled_figure("Speed of sparse attention", caption, n, 6.6, 4.2)
    axis = figure.subplots()
    for index, (radius, part) in enumerate(rows.groupby("radius")):
        part = part.assign(S=part["task_name"].map(tokens)).sort_values("S")
        label = f"r = {radius}"
        axis.plot(part["S"], part["speedup"], ls="", ms=5, alpha=0.8, label=label, **look(index))
    axis.axhline(1, color="black", lw=0.8)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    xlabel = "longest sequence S of the task (tokens)"
    axis.set(xlabel=xlabel, ylabel="time of full / time of sparse")
    axis.legend()
    return figure


def memory(perf: pd.DataFrame, caption: Caption) -> Figure:
    """Plot peak memory per task: allocated on a GPU, resident on a CPU."""
    column, what = "peak_rss_mb", "resident memory of the process"
    if perf["peak_alloc_mb_median"].notna().any():
        column, what = "peak_alloc_mb_median", "allocated GPU memory"
    table = perf.pivot(index="task_name", columns="variant", values=column).sort_values("full")
    n, title = f"n = {len(table)} tasks", f"Peak memory: {what}"
    figure, axis, size = rows_figure(title, caption, n, 7.2, len(table), 1.7)
    for index, name in enumerate(table):
        axis.plot(table[name], range(len(table)), ls="", ms=5, alpha=0.8, label=name, **look(index))
    axis.set_yticks(range(len(table)), list(table.index), fontsize=size)
    axis.set_xlabel("peak (MiB)")
    axis.grid(axis="x", lw=0.4, alpha=0.6)
    axis.legend(loc="lower right")
    return figure


def skill(
    full: pd.DataFrame, seasonal_naive: pd.DataFrame, baseline_rel_mase_max: float, caption: Caption
) -> Figure:
    """Plot the baseline's skill per task, 1 - MASE / MASE of Seasonal Naive, and gate 3's limit."""
    relative, least = relative_mase(full, seasonal_naive), 1 - baseline_rel_mase_max
    values = (1 - relative).sort_values()
    mean = 1 - float(np.exp(np.log(relative).mean()))
    n = f"n = {len(values)} tasks, geometric mean {mean:.3f}"
    title = "Skill of full attention over Seasonal Naive"
    figure, axis, size = rows_figure(title, caption, n, 7.2, len(values), 1.8)
    colours = np.where(values >= 0, BLUE, VERMILION)
    axis.barh(range(len(values)), values, color=colours, height=0.7)
    axis.set_yticks(range(len(values)), list(values.index), fontsize=size)
    axis.axvline(0, color="black", lw=0.8)
    axis.axvline(mean, color=GREEN, lw=1.6, ls="--", label=f"geometric mean {mean:.3f}")
    axis.axvline(least, color=GREY, lw=1.2, ls=":", label=f"gate 3 asks {least:.2f}")
    axis.set_xlabel("skill: 1 - MASE / MASE of Seasonal Naive (0 is no better)")
    axis.set_ylim(-0.7, len(values) - 0.3)
    _legend_below(axis, 2)
    return figure


def _changes(axis: Axes, y: Any, *ends_and_middle: Any, marker: str, **style: Any) -> None:
    """Draw log ratios, from low to high ends, as changes in percent, at the heights `y`."""
    low, middle, high = (100 * np.expm1(np.atleast_1d(values)) for values in ends_and_middle)
    axis.errorbar(middle, y, xerr=[middle - low, high - middle], fmt=marker, **style)


def _legend_below(axis: Axes, columns: int) -> None:
    below = -0.06 * 8 / axis.figure.get_figheight()
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, below), ncols=columns)
