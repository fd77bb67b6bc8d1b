"""An fev evaluation window as flat arrays, for work that is vectorised over series.

Series of one window differ in length, so they are kept end to end in one
array of `total` values, beside the array of their lengths.
"""

from __future__ import annotations

import datasets
import fev
import numpy as np
import pyarrow.compute as pc


def flat_series(data: datasets.Dataset, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Return one list column of a dataset as values laid end to end, and lengths.

    Parameters
    ----------
    data:
        One row a series, as `fev.EvaluationWindow.get_input_data` returns it.
    column:
        Name of a column of numeric lists.

    Returns
    -------
    values:
        float64, shape (total,); missing values are NaN.
    lengths:
        int64, shape (n_series,), summing to `total`.
    """
    lists = data.data.table.column(column)
    values = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(lists).to_numpy()
    return np.asarray(values, dtype=np.float64), np.asarray(lengths, dtype=np.int64)


def lagged_differences(
    values: np.ndarray, lengths: np.ndarray, lag: int
) -> tuple[np.ndarray, np.ndarray]:
    """Differences y[t] - y[t - lag] within each series.

    Parameters
    ----------
    values, lengths:
        Flat series, see `flat_series`.
    lag:
        Number of steps, at least 1.

    Returns
    -------
    differences:
        float64, shape (m,); NaN where either value is missing.
    series:
        int64, shape (m,): the series each difference belongs to.
    """
    series = np.repeat(np.arange(len(lengths)), lengths)
    # A pair `lag` apart in the flat array counts only if both ends are of one series.
    within = series[lag:] == series[:-lag]
    differences = values[lag:][within] - values[:-lag][within]
    return differences, series[lag:][within]


def last_timestamps(data: datasets.Dataset, column: str) -> np.ndarray:
    """Return the last time stamp of each series, its cutoff: datetime64, shape (n_series,)."""
    lists = data.data.table.column(column)
    ends = np.cumsum(pc.list_value_length(lists).to_numpy())
    return pc.list_flatten(lists).to_numpy()[ends - 1]


def context_of(window: fev.EvaluationWindow) -> datasets.Dataset | None:
    """Return what is known at a window's cutoff, or None where all series are too short for it."""
    try:
        past, _ = window.get_input_data()
    except ValueError as error:
        if "too short" in str(error):
            return None
        raise
    return past
