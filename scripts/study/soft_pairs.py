"""What a paired test counts as one pair, and which pairs a soft mask can change at all.

A pair is a task, or a series where the suite says so. Its error is its MASE: for a task as `fev`
counts it (the mean over windows and target columns of the mean over items and steps), for a series
the mean over its windows.

A series that is alone in its batch has nobody to attend to: there a soft mask equals the baseline
by construction. Pairs of such series only are left out of the tests and counted. In a batch of two
series there is one pair of series only, so that shuffling the similarities changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from chronos2_attention.errors import InputError
from study.soft_forecasts import Baseline

TASK, SERIES = "task", "series"


@dataclass(frozen=True)
class Pairs:
    """The pairs of a study.

    Attributes
    ----------
    unit:
        ``task`` or ``series``.
    labels:
        A row a pair: `task_name`, and for series `item_id` and `target`.
    pair, cell:
        Pair and cell of each forecast, integers, shape (n,), in the baseline's order. Errors are
        means over a cell's steps, then over a pair's cells: windows and target columns of a task,
        forecasts of a series.
    cell_pair:
        Pair of each cell.
    batch_size:
        Number of series in the batch of each forecast, shape (n,).
    """

    unit: str
    labels: pd.DataFrame
    pair: np.ndarray
    cell: np.ndarray
    cell_pair: np.ndarray
    batch_size: np.ndarray

    @property
    def mixing(self) -> np.ndarray:
        """Pairs with a series that shares a batch with another, bool, shape (n_pairs,)."""
        return self._any(self.batch_size > 1)

    @property
    def shuffling(self) -> np.ndarray:
        """Pairs with a series in a batch whose similarities can be shuffled, bool (n_pairs,)."""
        return self._any(self.batch_size > 2)

    def _any(self, which: np.ndarray) -> np.ndarray:
        return np.bincount(self.pair[which], minlength=len(self.labels)) > 0

    def mase(self, scaled_error: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the MASE of each pair.

        Parameters
        ----------
        scaled_error:
            Task name to scaled absolute errors, float64 (n, horizon), NaN where there is none; the
            tasks in the baseline's order.

        Returns
        -------
        float64, shape (n_pairs,). A task with a window that has no error at all is NaN, as in
        `fev`; of a series, only the windows that have one count.
        """
        sums = np.concatenate([np.nansum(e, axis=1) for e in scaled_error.values()])
        counts = np.concatenate([(~np.isnan(e)).sum(axis=1) for e in scaled_error.values()])
        cells = _ratio(_by(self.cell, sums), _by(self.cell, counts))
        if self.unit == TASK:
            return _ratio(_by(self.cell_pair, cells), _by(self.cell_pair, np.ones(len(cells))))
        known = ~np.isnan(cells)
        total = len(self.labels)
        return _ratio(
            np.bincount(self.cell_pair[known], cells[known], minlength=total),
            np.bincount(self.cell_pair[known], minlength=total),
        )


def _by(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.bincount(group, values)


def _ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def pairs_of(baseline: Baseline, unit: str, batch_sizes: pd.Series) -> Pairs:
    """Return the pairs of a study.

    Parameters
    ----------
    unit:
        ``task`` or ``series``, as the suite says.
    batch_sizes:
        From `read_batch_sizes`.

    Raises
    ------
    InputError
        If a forecast has no batch.
    """
    keys = baseline.all_keys
    window = keys.groupby(["task_name", "window_index", "target"], sort=False).ngroup().to_numpy()
    if unit == TASK:
        cell, columns = window, ["task_name"]
    else:
        cell, columns = np.arange(len(keys)), ["task_name", "item_id", "target"]
    pair = keys.groupby(columns, sort=False).ngroup().to_numpy()
    first = np.unique(cell, return_index=True)[1]
    labels = keys[columns].drop_duplicates(ignore_index=True)
    places = pd.MultiIndex.from_frame(keys[["task_name", "window_index", "item_id"]])
    sizes = batch_sizes.reindex(places).to_numpy()
    if np.isnan(sizes).any():
        raise InputError(
            f"{int(np.isnan(sizes).sum())} forecasts without a batch",
            "file of similarities",
            "make the similarities again for this suite",
        )
    return Pairs(unit, labels, pair, cell, pair[first], sizes.astype(np.int64))


def read_batch_sizes(path: str | os.PathLike) -> pd.Series:
    """Return the number of series in each series' batch from a file of similarities.

    Returns
    -------
    int64, by `task_name`, `window_index`, `item_id`. A row group is a batch, so that no similarity
    is read.
    """
    file = pq.ParquetFile(path)
    groups = range(file.num_row_groups)
    sizes = np.array([file.metadata.row_group(g).num_rows for g in groups], dtype=np.int64)
    keys = file.read(["task_name", "window_index", "item_id"]).to_pandas()
    return pd.Series(np.repeat(sizes, sizes), pd.MultiIndex.from_frame(keys), name="batch_size")
