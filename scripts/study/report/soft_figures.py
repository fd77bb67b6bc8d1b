"""Figures of study 1, from the inputs that workflow/report/figures.yaml names to matplotlib."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from study.evaluation.statistics import YES
from study.forecasts.files import read_metadata
from study.report.style import (
    BLUE,
    CENTRED,
    CYCLE,
    GREY,
    MARKERS,
    ORANGE,
    STYLES,
    VERMILION,
    Caption,
    mark_margin,
    rows_figure,
    titled_figure,
)
from study.soft_masks.breakdown import BEST_SEEN, BEST_TRUE
from study.soft_masks.examples import Window, clustered, median_window
from study.soft_masks.group_value import ALL
from study.soft_masks.sweep import ANY_MEASURE, JOINT, NO_CONTROL, is_soft
from study.soft_masks.verdicts import best_of

CONTROLS = {
    NO_CONTROL: "soft mask",
    "permuted": "similarities shuffled",
    "uniform": "all similarities equal",
}

_MARKS = {"better": "*", "worse": "*", "equivalent": "≈"}

log = logging.getLogger("study")


def percent_gain(log_ratio: pd.Series | float) -> pd.Series | float:
    """Turn log ratios of errors into reductions in percent."""
    return -100 * np.expm1(log_ratio)


def pairs_line(summary: pd.DataFrame) -> str:
    """Say how many pairs the tests rest on, as in ``n = 24 tasks``."""
    row = summary.iloc[0]
    unit = "tasks" if row["pair"] == "task" else "series"
    return f"n = {row['n_clusters']} clusters of {row['n']} {unit}"


def heatmap(summary: pd.DataFrame, caption: Caption) -> Figure:
    """Map the gain, and the attention that goes to other groups, over measure and temperature."""
    rows = summary[is_soft(summary)]
    measures = list(dict.fromkeys(rows["measure"]))
    joint = summary[summary["variant"] == JOINT]
    columns = [JOINT] * bool(len(joint))
    columns += [f"{value:g}" for value in sorted(set(rows["temperature"]))]
    width, height = 1.9 + 0.95 * len(columns), 2.4 + 2 * (0.5 + 0.42 * len(measures))
    figure = titled_figure("Gain of soft masks", caption, pairs_line(summary), width, height)
    upper, lower = figure.subplots(2, 1, sharex=True)
    gain, mass = np.full((2, len(measures), len(columns)), np.nan)
    marks = np.full(gain.shape, "", dtype=object)
    for place, measure in enumerate(measures):
        for _, row in pd.concat([joint, rows[rows["measure"] == measure]]).iterrows():
            name = JOINT if row["variant"] == JOINT else f"{row['temperature']:g}"
            column = columns.index(name)
            gain[place, column] = percent_gain(row["log_ratio_mean"])
            mass[place, column] = 100 * row["cross_group_mass"]
            marks[place, column] = _MARKS.get(row["verdict_family"], "")
            if row["more_than_smoothing"] == YES and row["more_than_random"] == YES:
                box = Rectangle((column - 0.47, place - 0.45), 0.94, 0.9)
                box.set(fill=False, ec="black", lw=2)
                upper.add_patch(box)
    limit = max([1.0, *np.abs(gain[np.isfinite(gain)])])
    _map(upper, gain, marks, "{:+.1f}{}", cmap="RdBu", vmin=-limit, vmax=limit)
    _map(lower, mass, marks, "{:.0f}", cmap="cividis", vmin=0)
    upper.set_title("reduction of MASE (%)")
    lower.set_title("group attention that goes to other series (%)")
    lower.set_xlabel(
        "temperature (a larger one is stricter)\n\n"
        "* better or worse, ≈ equivalent, corrected by step-down maxT;\n"
        "framed: more than smoothing and more than random partners give"
    )
    for axis in (upper, lower):
        axis.set_yticks(range(len(measures)), measures)
        axis.set_xticks(range(len(columns)), columns)
    return figure


def _map(axis: Axes, values: np.ndarray, marks: np.ndarray, pattern: str, **look: Any) -> None:
    image = axis.imshow(values, **look, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            text = pattern.format(value, marks[row, column])
            axis.text(column, row, text, **CENTRED, color="white" if dark else "black")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)


def controls(summary: pd.DataFrame, caption: Caption) -> Figure:
    """Plot the gain of soft masks beside that of their controls and of a smoothed baseline."""
    rows = summary[summary["measure"] != ANY_MEASURE]
    measures, kinds = (list(dict.fromkeys(rows[name])) for name in ("measure", "control"))
    temperatures = sorted(set(rows["temperature"]))
    line = f"{pairs_line(summary)}, 95 % intervals"
    width = 1.6 + 2.6 * len(measures)
    figure = titled_figure("Soft masks and their controls", caption, line, width, 4.4)
    axes = np.atleast_1d(figure.subplots(1, len(measures), sharey=True))
    groups = [(kind, "log_ratio", CONTROLS.get(kind, kind)) for kind in kinds]
    groups += [(NO_CONTROL, "smoothed_alone_log_ratio", "baseline smoothed as much")]
    offsets = np.linspace(-0.24, 0.24, len(groups))
    for axis, measure in zip(axes, measures, strict=True):
        part = rows[rows["measure"] == measure]
        for index, (kind, column, label) in enumerate(groups):
            own = part[part["control"] == kind].set_index("temperature").loc[temperatures]
            middle, high, low = (
                percent_gain(own[f"{column}_{end}"]).to_numpy()
                for end in ("mean", "ci_low", "ci_high")
            )
            axis.errorbar(
                np.arange(len(own)) + offsets[index],
                middle,
                yerr=np.nan_to_num(np.array([middle - low, high - middle])),
                fmt=MARKERS[index],
                **{"color": CYCLE[index], "ms": 4.5, "lw": 1.1, "label": label},
            )
        for value in percent_gain(summary["log_ratio_mean"][summary["variant"] == JOINT]):
            axis.axhline(value, color=GREY, ls="--", lw=1.2, label="joint: all in one group")
        mark_margin(axis.axhspan, summary)
        axis.axhline(0, color="black", lw=0.8)
        axis.set_xticks(range(len(temperatures)), [f"{value:g}" for value in temperatures])
        axis.set(title=measure, xlabel="temperature")
    axes[0].set_ylabel("reduction of MASE against full attention (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def by_mass(summary: pd.DataFrame, caption: Caption) -> Figure:
    """Plot the gain against the group attention that goes to other groups, where measures meet."""
    title = "Gain by attention to other series"
    axis = titled_figure(title, caption, pairs_line(summary), 7, 4.2).subplots()
    for index, (measure, rows) in enumerate(summary[is_soft(summary)].groupby("measure")):
        rows = rows.sort_values("cross_group_mass")
        gains = [percent_gain(rows[f"log_ratio_{end}"]) for end in ("mean", "ci_high", "ci_low")]
        mass, look = 100 * rows["cross_group_mass"], {"ls": STYLES[index % len(STYLES)]}
        look |= {"color": CYCLE[index], "marker": MARKERS[index], "label": measure}
        axis.plot(mass, gains[0], **look)
        axis.fill_between(mass, *gains[1:], color=CYCLE[index], alpha=0.12, lw=0)
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xlabel("group attention that goes to other series (%)")
    axis.set_ylabel("reduction of MASE (%)")
    axis.legend()
    return axis.figure


def by_horizon(steps: pd.DataFrame, summary: pd.DataFrame, caption: Caption) -> Figure:
    """Plot the gain at each step of the horizon: each measure at its best temperature."""
    line = f"{pairs_line(summary)}, 95 % intervals over them"
    figure = titled_figure("Gain by step of the horizon", caption, line, 7.6, 4.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    for index, measure in enumerate(dict.fromkeys(summary["measure"][is_soft(summary)])):
        best = best_of(summary, measure)
        if best is None:
            continue
        own = steps[steps["variant"] == best["variant"]].astype({"ci_low": float, "ci_high": float})
        look = {"ls": STYLES[index % len(STYLES)], "marker": MARKERS[index], "ms": 3}
        label = f"{measure}, temperature {best['temperature']:g}"
        _curve(upper, own, "step", CYCLE[index], 0.13, **look, label=label)
        if index == 0:
            lower.fill_between(own["step"], own["n"], step="mid", color=GREY, alpha=0.5, lw=0)
    upper.axhline(0, color="black", lw=0.8)
    upper.set_ylabel("reduction of MASE (%)")
    upper.legend(loc="best", ncols=1)
    unit = summary["pair"].iloc[0].replace("task", "tasks")
    lower.set(ylim=(0, None), ylabel=unit, xlabel="step of the horizon")
    lower.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    return figure


def _curve(axis: Axes, rows: pd.DataFrame, x: str, colour: str, alpha: float, **look: Any) -> None:
    """Plot the gain in percent, with the band of its interval unless `alpha` is 0."""
    axis.plot(rows[x], 100 * rows["gain"], color=colour, lw=1.8, **look)
    if alpha:
        low, high = 100 * rows["ci_low"], 100 * rows["ci_high"]
        axis.fill_between(rows[x], low, high, color=colour, alpha=alpha, lw=0)


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
        places = np.arange(len(own))
        error = 100 * np.array([own["gain"] - own["ci_low"], own["ci_high"] - own["gain"]])
        look = {"fmt": "o", "color": BLUE, "ms": 4.5, "lw": 1.1, "label": name}
        axis.errorbar(100 * own["gain"], places + 0.12, xerr=np.nan_to_num(error), **look)
        same = pd.Series({**best[["measure", "temperature"]], "control": "permuted"})
        shuffled = features[(features[same.index] == same).all(axis=1)].set_index("feature")
        if len(shuffled):
            other = 100 * shuffled["gain"].reindex(own["feature"])
            look = {"ls": "", "marker": "s", "ms": 4, "color": VERMILION}
            axis.plot(other, places - 0.16, **look, label=CONTROLS["permuted"])
        labels = own["feature"].astype(str) + own["n_forecasts"].map(" ({})".format)
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
        (BEST_SEEN, "best in the sample: what it shows", VERMILION, "--", "s", 0.14),
        (BEST_TRUE, "best in the sample: what it gains over all", ORANGE, ":", "^", 0),
    ]
    if best is not None:
        curves.insert(0, (best["variant"], best["variant"], BLUE, "-", "o", 0.14))
    total = samples["n_forecasts"].max() if len(samples) else 0
    line = f"n = {total} forecasts, 95 % of samples"
    figure = titled_figure("Gain by sample size", caption, line, 7.2, 4.4)
    axis = figure.subplots()
    for name, label, colour, style, marker, alpha in curves:
        own = samples[samples["variant"] == name].sort_values("n_forecasts")
        look = {"ls": style, "marker": marker, "ms": 4.5, "label": label}
        _curve(axis, own, "n_forecasts", colour, alpha, **look)
    axis.axhline(0, color="black", lw=0.8)
    axis.set(xscale="log", xlabel="forecasts in the sample", ylabel="reduction of MASE (%)")
    ticks = sorted(set(samples["n_forecasts"]))
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
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
        axis.fill_between(future, *band[1:], color=colour, alpha=0.15, lw=0)
        axis.plot(future, band[0], color=colour, lw=1.8, ls=style, label=label)
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
        axis.set(title=measure, xticks=[], yticks=[])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    if len(names) <= 30:
        axes[0].set_yticks(range(len(names)), names, fontsize=6.5)
    figure.colorbar(image, ax=list(axes), shrink=0.75, label="similarity")
    return figure


def group_value(value: pd.DataFrame, caption: Caption) -> Figure:
    """Plot the change of each metric at each step, by kind of task, with intervals over pairs."""
    rows = value[value["task"] == ALL]
    places = {p: -y for y, p in enumerate(rows.groupby(["kind", "step"], sort=False).groups)}
    n = ", ".join(f"{k} {c}" for k, c in rows.groupby("kind", sort=False)["n"].max().items())
    title = "What group attention is worth"
    figure, axis, size = rows_figure(title, caption, f"pairs: {n}", 8.2, len(places), 2.0)
    for index, (metric, part) in enumerate(rows.groupby("metric", sort=False)):
        y = [places[*place] + 0.15 - 0.3 * index for place in part[["kind", "step"]].to_numpy()]
        low, middle, high = (100 * part[f"change{end}"] for end in ("_low", "", "_high"))
        ends = [(middle - low).fillna(0), (high - middle).fillna(0)]
        look = {"fmt": MARKERS[index], "color": CYCLE[index], "ms": 4, "label": metric}
        axis.errorbar(middle, y, xerr=ends, **look)
    axis.axvline(0, color="black", lw=0.8)
    labels = [f"{kind}: {step.replace('_', ' ')}" for kind, step in places]
    axis.set_yticks(list(places.values()), labels, fontsize=size)
    axis.set_xlabel("change of the error (%): left is better")
    axis.legend()
    return figure
