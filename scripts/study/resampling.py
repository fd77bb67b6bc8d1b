"""Series on a coarser grid: hours to days, days to weeks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from chronos2_attention.errors import InputError
from study.series_table import ID, TIMESTAMP, Series, conform, series_table


def resample_table(table: pa.Table, freq: str, aggregate: str, dataset: str) -> pa.Table:
    """Aggregate every series of a data set over the steps of a coarser grid.

    A step at either end that the data do not cover whole is left out.

    Parameters
    ----------
    table:
        In the layout of `study.series_table`.
    freq:
        Pandas alias of the grid. A step bears the time at which it begins: ``D`` a
        day's midnight, ``W-MON`` a week's Monday, ``MS`` the first of a month.
    aggregate:
        ``mean`` of the observed values of a step, or ``sum`` of them all; a step
        without any value, for a sum one that lacks some, is NaN.
    dataset:
        Name of the data set, for messages.

    Raises
    ------
    InputError
        If a series has no regular step, its steps are not finer than the grid's, or
        it covers no step of the grid whole.
    """
    targets = table.column_names[2:]
    series = []
    for row in table.to_batches(max_chunksize=1):
        stamps = pc.list_flatten(row[TIMESTAMP]).to_numpy()
        name = row[ID][0].as_py()
        where = f"series {name!r} of data set {dataset!r}"
        columns = {target: pc.list_flatten(row[target]).to_numpy() for target in targets}
        times, values = _aggregate(stamps, columns, freq, aggregate, where)
        series.append(Series(name, times, values))
    return conform(series_table(series), dataset)


def _aggregate(
    stamps: np.ndarray, columns: dict[str, np.ndarray], freq: str, aggregate: str, where: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    steps = np.unique(np.diff(stamps))
    if len(steps) != 1:
        raise InputError("the time between observations varies", where, "give a regular series")
    frame = pd.DataFrame(columns, index=pd.DatetimeIndex(stamps))
    groups = frame.resample(freq, closed="left", label="left")
    counts = groups.size()
    begins = counts.index
    due = (begins.shift(1, freq=freq) - begins) / pd.Timedelta(steps[0])
    if (due <= 1).any():
        raise InputError(
            f"its steps are not finer than {freq!r}", where, "resample to a coarser grid"
        )
    whole = counts.to_numpy() == due
    if not whole.any():
        raise InputError(f"it covers no step of {freq!r} whole", where, "resample to a finer grid")
    found = groups.mean() if aggregate == "mean" else groups.sum()
    if aggregate == "sum":
        found = found.where(groups.count() == counts.to_numpy()[:, None])
    found = found[whole]
    times = found.index.to_numpy().astype("datetime64[us]")
    return times, {name: found[name].to_numpy(dtype=np.float64) for name in columns}
