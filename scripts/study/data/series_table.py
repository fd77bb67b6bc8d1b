"""The one layout of every data set: a row a series, and the checks that it holds.

Columns: ``id`` (string), ``timestamp`` (list of timestamp[us], no time zone) and
one or more target columns (list of double, NaN where nothing was observed). This
is the layout that `fev` reads.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chronos2_attention.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

ID = "id"

TIMESTAMP = "timestamp"

# The fewest points from which pandas can infer a frequency, which `fev` asks of each series.
MIN_OBSERVATIONS = 3

# Series in a row group, and what later steps load, forecast and write together.
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Series:
    """One item: its id, its timestamps and the values of each target column.

    Parameters
    ----------
    id:
        Unique within the data set.
    timestamps:
        ``datetime64[us]``, shape (n,).
    targets:
        Column name to float64 values, shape (n,), NaN where missing.
    """

    id: str
    timestamps: np.ndarray
    targets: Mapping[str, np.ndarray]


def series_table(series: Iterable[Series]) -> pa.Table:
    """Return the table of `series`; all must have the target columns of the first."""
    rows = list(series)
    columns: dict[str, pa.Array] = {
        ID: pa.array([row.id for row in rows], pa.string()),
        TIMESTAMP: pa.array(
            [pa.array(row.timestamps.astype("datetime64[us]")) for row in rows],
            pa.list_(pa.timestamp("us")),
        ),
    }
    for name in rows[0].targets if rows else ():
        columns[name] = pa.array(
            [np.asarray(row.targets[name], dtype=np.float64) for row in rows],
            pa.list_(pa.float64()),
        )
    return pa.table(columns)


def conform(table: pa.Table, dataset: str, targets: Sequence[str] | None = None) -> pa.Table:
    """Bring a table to the layout: columns kept, types cast, rows sorted by id.

    Static columns (those that are no lists) and lists of text are dropped, nulls
    become NaN, time zones are converted to UTC and removed.

    Parameters
    ----------
    table:
        A table with ``id``, ``timestamp`` and at least one list of numbers.
    dataset:
        Name of the data set, for messages.
    targets:
        Target columns to keep; all lists of numbers by default.

    Raises
    ------
    InputError
        If a column is absent or of another kind, or a cell has no list.
    """
    names = table.column_names
    for name in (ID, TIMESTAMP, *(targets or ())):
        if name not in names:
            raise InputError(
                f"data set {dataset!r} has no column {name!r}", "", f"its columns: {names}"
            )
    chosen = list(targets) if targets is not None else []
    if targets is None:
        for field in table.schema:
            if field.name != TIMESTAMP and _is_list(field.type):
                item = field.type.value_type
                if pa.types.is_integer(item) or pa.types.is_floating(item):
                    chosen.append(field.name)
    if not chosen:
        raise InputError(
            f"data set {dataset!r} has no target column (a list of numbers)",
            "",
            f"its columns: {names}",
        )
    columns = {ID: _cast(table[ID], pa.string(), dataset, ID)}
    if columns[ID].null_count:
        raise InputError(f"data set {dataset!r} has a row without an id", "", "give each row one")
    columns[TIMESTAMP] = _cast_list(table[TIMESTAMP], pa.timestamp("us"), dataset, TIMESTAMP)
    for name in chosen:
        columns[name] = _cast_list(table[name], pa.float64(), dataset, name)
    return pa.table(columns).sort_by([(ID, "ascending")])


def validate(table: pa.Table, dataset: str) -> str:
    """Check a conformed table and return its frequency.

    Checked: at least one series; unique ids; in each series at least three
    timestamps, strictly increasing and of a frequency that pandas can infer;
    columns of one length; values finite or NaN, at least one not NaN. A constant
    series is sound: it is forecast, and its MASE, whose scale is zero, is left out
    of means as `fev` does.

    Returns
    -------
    The pandas alias of the first series' frequency, as `fev` infers it.

    Raises
    ------
    InputError
        At the first violation; it names the data set and the series.
    """

    def fail(row: int, what: str, mend: str) -> InputError:
        return InputError(f"series {ids[row]!r} {what}", f"data set {dataset!r}", mend)

    if table.num_rows == 0:
        raise InputError(f"data set {dataset!r} holds no series", "", "check its source")
    ids = table[ID].to_pylist()
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        double = next(row for row, name in enumerate(ids) if name in seen or seen.add(name))
        raise fail(double, "occurs more than once", "give every series its own id")

    lengths = pc.list_value_length(table[TIMESTAMP]).to_numpy()
    for name in table.column_names[2:]:
        unequal = np.flatnonzero(pc.list_value_length(table[name]).to_numpy() != lengths)
        if unequal.size:
            raise fail(
                unequal[0],
                f"has {lengths[unequal[0]]} timestamps and another number of values in {name!r}",
                "give one value (or NaN) to each timestamp",
            )
    short = np.flatnonzero(lengths < MIN_OBSERVATIONS)
    if short.size:
        raise fail(
            short[0],
            f"has {lengths[short[0]]} observations",
            f"remove series of fewer than {MIN_OBSERVATIONS}, which have no frequency",
        )

    flat = pc.list_flatten(table[TIMESTAMP])
    ends = np.cumsum(lengths)
    starts = ends - lengths
    if flat.null_count:
        hole = np.flatnonzero(flat.is_null().to_numpy())[0]
        row = int(np.searchsorted(ends, hole, side="right"))
        raise fail(row, "has an empty timestamp", "remove that observation")
    times = flat.to_numpy()
    steps = np.diff(times).astype(np.int64)
    inside = np.ones(steps.size, dtype=bool)
    inside[ends[:-1] - 1] = False
    backwards = np.flatnonzero(inside & (steps <= 0))
    if backwards.size:
        row = int(np.searchsorted(ends, backwards[0], side="right"))
        raise fail(
            row,
            f"has {times[backwards[0] + 1]} after {times[backwards[0]]}",
            "sort its observations by time and keep one a timestamp",
        )
    # A constant step is regular whatever it is; months and business days are left to
    # pandas, once per pattern, because data sets of 100 000 series share few patterns.
    constant = steps == np.repeat(steps[starts], lengths)[:-1]
    uneven = ~np.logical_and.reduceat(np.append(constant | ~inside, True), starts)
    known: dict[bytes, str | None] = {}
    for row in np.flatnonzero(uneven):
        stamps = times[starts[row] : ends[row]]
        key = stamps.tobytes()
        if key not in known:
            known[key] = _frequency(stamps)
        if known[key] is None:
            raise fail(
                int(row),
                "has irregular timestamps",
                "put it on a regular grid and leave NaN where nothing was observed",
            )
    unseen = np.ones(table.num_rows, dtype=bool)
    for name in table.column_names[2:]:
        values = pc.list_flatten(table[name]).to_numpy()
        infinite = np.flatnonzero(np.isinf(values))
        if infinite.size:
            row = int(np.searchsorted(ends, infinite[0], side="right"))
            raise fail(row, f"has an infinite value in {name!r}", "replace it by NaN")
        unseen &= np.logical_and.reduceat(np.isnan(values), starts)
    if unseen.any():
        raise fail(int(np.argmax(unseen)), "has only missing values", "remove it from the data")
    return _frequency(times[: ends[0]])


@contextmanager
def quiet_frequencies() -> Iterator[None]:
    """Silence pandas' notice that `infer_freq` will one day return an offset object.

    It comes once a series, and `fev` as well as this module want the text.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A future version of pandas will return a Base")
        yield


def _frequency(stamps: np.ndarray) -> str | None:
    import pandas as pd

    with quiet_frequencies():
        return pd.infer_freq(pd.DatetimeIndex(stamps))


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _cast(column: pa.ChunkedArray, kind: pa.DataType, dataset: str, name: str) -> pa.ChunkedArray:
    try:
        # Unsafe only so that nanoseconds may be truncated to microseconds.
        return column.cast(kind, safe=not pa.types.is_timestamp(kind))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"column {name!r} cannot be read as {kind}: {str(error).splitlines()[0]}",
            f"data set {dataset!r}",
            f"give {'times' if pa.types.is_timestamp(kind) else 'values'} of that type",
        ) from None


def _cast_list(column: pa.ChunkedArray, kind: pa.DataType, dataset: str, name: str) -> pa.ListArray:
    if not _is_list(column.type):
        raise InputError(
            f"column {name!r} holds {column.type} where a list a series is expected",
            f"data set {dataset!r}",
            "give one row a series, or a 'recipe' for rows that are observations",
        )
    if column.null_count:
        raise InputError(
            f"column {name!r} has a row without a list",
            f"data set {dataset!r}",
            "give the row a list, or remove it",
        )
    flat = pc.list_flatten(column)
    flat = _cast(flat, kind, dataset, name).combine_chunks()
    if pa.types.is_floating(kind):
        flat = pc.fill_null(flat, float("nan"))
    lengths = pc.list_value_length(column).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)
