"""Examples that stand for a study of soft masks: the window of the median gain, a large batch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from chronos2_attention.errors import InputError
from study.config.suites import Suite
from study.evaluation.clusters import Pairs
from study.forecasts.files import SimilarityFile, group_sizes, read_metadata
from study.forecasts.slices import task_slices
from study.forecasts.windows import context_of, flat_series
from study.soft_masks.pairs import (
    Baseline,
    TaskForecasts,
    errors_of,
    read_baseline,
    read_batch_sizes,
    read_variant,
    soft_pairs,
)
from study.soft_masks.verdicts import best_of

# Context shown, in horizons, and series of a batch that still make a readable matrix.
CONTEXT_SHOWN = 4
MOST_SERIES = 80


class Window(NamedTuple):
    """One forecast of the baseline and of a soft mask; `about` says which and how chosen.

    `context` (t,), `truth` (h,); `bands` by ``full attention`` and the mask's name: point, low,
    high (3, h).
    """

    about: str
    context: np.ndarray
    truth: np.ndarray
    bands: Mapping[str, np.ndarray]


def median_window(
    suite: Suite,
    summary: pd.DataFrame,
    data: Sequence[str],
    full: Sequence[str],
    similarity: str,
    scores: Sequence[str],
    forecasts: Sequence[str],
) -> Window:
    """Return the window of the best mask's median gain; `data` is in the order of data sets."""
    best = best_of(summary)
    if best is None:
        raise InputError("no soft mask could be tested", mend="give tasks more series")
    name = best["variant"]
    place = [read_metadata(path)["variant"] for path in scores].index(name)
    baseline = read_baseline(*full)
    variant = read_variant(baseline, scores[place], forecasts[place])
    pairs, _ = soft_pairs(baseline, suite.pairs, read_batch_sizes(similarity), suite.clusters)
    task, row = median_gain(baseline, variant, pairs)
    key = baseline.keys[task].iloc[row]
    index, item = int(key["window_index"]), key["item_id"]
    files = dict(zip(suite.datasets, data, strict=True))
    methods = {"full attention": baseline.forecasts[task], name: variant[task]}
    gain = 1 - variant[task].error[row] / baseline.forecasts[task].error[row]
    about = f"n = 1 window: {task}, series {item}, window {index}: the median gain, {gain:.1%}"
    context = context_of_item(suite, task, Path(files[suite.task(task).dataset]), index, item)
    bands = {
        label: np.stack([m.point[row], m.low[row], m.high[row]]) for label, m in methods.items()
    }
    return Window(about, context, baseline.truth[task][row], bands)


def median_gain(
    baseline: Baseline, variant: Mapping[str, TaskForecasts], pairs: Pairs
) -> tuple[str, int]:
    """Task and row of the forecast whose gain in MASE is the median of all that can mix."""
    base, other = errors_of(baseline.forecasts), errors_of(variant)
    rows = np.flatnonzero((pairs.steps > 0) & (base > 0) & np.isfinite(other))
    if not len(rows):
        raise InputError("no series shares a batch with another", mend="give the suite more series")
    gain = 1 - other[rows] / base[rows]
    row = int(rows[np.argsort(gain, kind="stable")[(len(gain) - 1) // 2]])
    task = baseline.all_keys["task_name"]
    return task[row], row - int((task == task[row]).argmax())


def context_of_item(
    suite: Suite, task_name: str, data_path: Path, window_index: int, item_id: str
) -> np.ndarray:
    """Return the last observations before a window's cutoff, `CONTEXT_SHOWN` horizons of them."""
    task = suite.task(task_name)
    for evaluation in task_slices(task, suite, data_path):
        window = evaluation.get_window(window_index)
        past = context_of(window)
        if past is None:
            continue
        ids = past.data.table.column(window.id_column).to_pylist()
        if item_id in ids:
            values, lengths = flat_series(past, window.target_columns[0])
            series = np.split(values, np.cumsum(lengths)[:-1])[ids.index(item_id)]
            return series[-CONTEXT_SHOWN * task.horizon :]
    raise InputError(f"no series {item_id!r}", str(data_path), "make the forecasts again")


def largest_batch(path: str | os.PathLike) -> tuple[str, int, list[str]]:
    """Return task, window and series of the largest batch in a file of similarities, the first."""
    file = pq.ParquetFile(path)
    largest = int(group_sizes(file).argmax())
    rows = file.read_row_group(largest, ["task_name", "window_index", "item_id"])
    task, window = (rows[name][0].as_py() for name in ("task_name", "window_index"))
    return task, window, rows["item_id"].to_pylist()


def clustered(
    paths: Mapping[str, str | os.PathLike],
) -> tuple[dict[str, np.ndarray], list[str], str, int]:
    """Read the largest batch's similarities and put series that are alike beside each other.

    By an average-linkage tree on 1 - similarity of the first measure. Returns matrices (n, n) by
    measure, at most `MOST_SERIES`, names of the series, task, and window.
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
    matrices = {measure: matrix[np.ix_(order, order)] for measure, matrix in matrices.items()}
    return matrices, [ids[index] for index in order], task, window
