"""Intervals of a single task's ratio of errors, from its series and windows."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import stats

from study.forecast_files import KEY_COLUMNS


def forecast_errors(path: str | os.PathLike) -> pd.DataFrame:
    """Return the mean scaled absolute error of each forecast in a file of scores.

    Returns
    -------
    The columns of `KEY_COLUMNS` and `error`, float64, NaN where no step has a score.
    """
    table = pq.read_table(path, columns=[*KEY_COLUMNS, "scaled_abs_error"])
    lists = table["scaled_abs_error"].combine_chunks()
    lengths = pc.list_value_length(lists).to_numpy()
    values = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    known = ~np.isnan(values)
    counts = np.bincount(owner[known], minlength=len(lengths))
    sums = np.bincount(owner[known], values[known], minlength=len(lengths))
    frame = table.select(list(KEY_COLUMNS)).to_pandas()
    frame["error"] = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return frame


def task_log_ratios(
    baseline: pd.DataFrame, variant: pd.DataFrame, *, alpha: float = 0.05
) -> pd.DataFrame:
    """Compare two methods within each task.

    The ratio is that of the mean errors over the task's forecasts. Its interval follows from the
    delta method on pairs: log(mean v / mean b) varies as the mean of v_i / mean v - b_i / mean b.
    Forecasts of one series in several windows count as separate pairs, so where these depend on
    each other the interval is too narrow.

    Parameters
    ----------
    baseline, variant:
        From `forecast_errors`, of the same forecasts.
    alpha:
        One minus the level of the intervals.

    Returns
    -------
    A row a task, in the baseline's order: `task_name`, `n` pairs, `log_ratio`, `ci_low`,
    `ci_high`; the interval is NaN where n < 2.
    """
    pairs = baseline.merge(variant, on=list(KEY_COLUMNS), suffixes=("_baseline", "_variant"))
    pairs = pairs.dropna(subset=["error_baseline", "error_variant"])
    rows = []
    for task, group in pairs.groupby("task_name", sort=False):
        base, other = group["error_baseline"].to_numpy(), group["error_variant"].to_numpy()
        n = len(group)
        ratio = np.log(other.mean() / base.mean())
        half = np.nan
        if n > 1:
            influence = other / other.mean() - base / base.mean()
            half = stats.t.ppf(1 - alpha / 2, n - 1) * influence.std(ddof=1) / np.sqrt(n)
        rows.append((task, n, ratio, ratio - half, ratio + half))
    return pd.DataFrame(rows, columns=["task_name", "n", "log_ratio", "ci_low", "ci_high"])
