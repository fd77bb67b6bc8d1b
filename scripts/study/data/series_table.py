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

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from chronos2_attention.errors import InputError, quote
from study.data.cells import (
    SHORTEST_DAY,
    Notes,
    note_zone,
    number_of,
    numbers,
    refuse_extreme,
)

ID = "id"
TIMESTAMP = "timestamp"
# The fewest points from which pandas can infer a frequency, which `fev` asks of each series.
MIN_OBSERVATIONS = 3
# Series in a row group, and what later steps load, forecast and write together.
ROWS_AT_ONCE = 1024
DAY = 86_400_000_000  # microseconds
SHORTEST_MONTH = 28 * DAY
FIRST_YEAR, LAST_YEAR = np.datetime64("0001-01-01"), np.datetime64("9999-12-31T23:59:59.999999")


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


def conform(
    table: pa.Table,
    dataset: str,
    targets: Sequence[str] | None = None,
    notes: Notes | None = None,
) -> pa.Table:
    """Bring a table to the layout: columns kept, types cast, rows sorted by id.

    Target columns are `targets`, or all lists of numbers; others are left out. Nulls become NaN,
    decimals and truth values numbers. Times with a zone become UTC where the steps are finer than a
    day, the local date otherwise. `notes` gets ``time_zone`` and ``columns_left_out``.

    Raises
    ------
    InputError
        If a column is absent or of another kind, a cell has no list, or a row has no id.
    """
    notes = {} if notes is None else notes
    names, where = table.column_names, f"data set {dataset!r}"
    for name in (ID, TIMESTAMP, *(targets or ())):
        if names.count(name) != 1:
            what = "no column" if name not in names else "more than one column"
            raise InputError(
                f"data set {dataset!r} has {what} {quote(name)}", "", f"its columns: {quote(names)}"
            )
    ids = _ids(table[ID], where)
    chosen = list(targets) if targets is not None else _targets(table, ids, where)
    if not chosen:
        raise InputError(
            f"data set {dataset!r} has no target column (a list of numbers)",
            "",
            f"its columns: {quote(names)}",
        )
    if others := sorted(set(names) - {ID, TIMESTAMP, *chosen}):
        notes["columns_left_out"] = others
    columns = {ID: ids, TIMESTAMP: _times(table[TIMESTAMP], where, notes)}
    for name in chosen:
        flat, offsets = _flat(table[name], where, name)
        columns[name] = pa.ListArray.from_arrays(offsets, _doubles(flat, offsets, ids, where, name))
    return pa.table(columns).sort_by([(ID, "ascending")])


def validate(table: pa.Table, dataset: str, zone: str = "") -> str:
    """Check a conformed table and return the frequency of its first series, as `fev` infers it.

    Checked: at least one series; unique ids; in each series at least three timestamps, strictly
    increasing and of a frequency that pandas can infer, the same in all; columns of one length;
    values NaN or within what float32 can scale, at least one not NaN. A constant series is sound:
    it is forecast, and its MASE, whose scale is zero, is left out of means as `fev` does. The first
    violation is an `InputError` that names data set, series and the `zone` that times came from.
    """

    def fail(row: int, what: str, mend: str) -> InputError:
        place = f"data set {dataset!r}" + (f" (times of {zone})" if zone else "")
        return InputError(f"series {quote(ids[row])} {what}", place, mend)

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
                f"has {lengths[unequal[0]]} timestamps and another number of values in "
                f"{quote(name)}",
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
    beyond = np.flatnonzero((times < FIRST_YEAR) | (times > LAST_YEAR))
    if beyond.size:
        row = int(np.searchsorted(ends, beyond[0], side="right"))
        raise fail(row, f"has {times[beyond[0]]}", "give times of the years 1 to 9999")
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
    kinds: dict[bytes | int, tuple | None] = {}
    first_of: dict[tuple, int] = {}
    for row, step in enumerate(steps[starts].tolist()):
        stamps = times[starts[row] : ends[row]]
        key = stamps.tobytes() if uneven[row] or step >= SHORTEST_MONTH else step
        if key not in kinds:
            kinds[key] = _kind(stamps)
        if kinds[key] is None:
            raise fail(
                row,
                "has irregular timestamps",
                "put it on a regular grid and leave NaN where nothing was observed",
            )
        first_of.setdefault(kinds[key], row)
    # A week's working days look like days.
    if ("B", 1) in first_of and ("days", 1) in first_of:
        daily = ~uneven & (steps[starts] == DAY)
        stamps = times[np.repeat(daily, lengths)].astype("datetime64[D]")
        if np.is_busday(stamps).all():
            del first_of["days", 1]
    if len(first_of) > 1:
        one, other = sorted(first_of.values())[:2]
        aliases = [_frequency(times[starts[row] : ends[row]]) for row in (one, other)]
        raise fail(
            other,
            f"has frequency {aliases[1]!r} and series {quote(ids[one])} {aliases[0]!r}",
            "make a data set of each frequency",
        )
    unseen = np.ones(table.num_rows, dtype=bool)
    for name in table.column_names[2:]:
        values = pc.list_flatten(table[name]).to_numpy()
        refuse_extreme(
            values,
            name,
            f"data set {dataset!r}",
            lambda at: f"series {quote(ids[int(np.searchsorted(ends, at, side='right'))])}",
        )
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

    with quiet_frequencies():
        return pd.infer_freq(pd.DatetimeIndex(stamps))


def _kind(stamps: np.ndarray) -> tuple | None:
    """Return what series of one frequency share, or None: months from another day are months."""

    freq = _frequency(stamps)
    if freq is None:
        return None
    offset = pd.tseries.frequencies.to_offset(freq)
    rule = offset.rule_code.split("-")[0]
    months = {"M": 1, "Q": 3, "Y": 12}.get(rule.removeprefix("B")[:1])
    if months is not None and rule[-1] in "SE":
        return "months", months * offset.n
    if rule in ("W", "D"):
        return "days", (7 if rule == "W" else 1) * offset.n
    if isinstance(offset, pd.tseries.offsets.Tick):
        return "time", offset.nanos
    return offset.rule_code, offset.n


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    is_whole = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    return is_whole or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _plain(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column in one piece, its categories spelled out."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column


def _ids(column: pa.ChunkedArray, where: str) -> pa.Array:
    """Return ids exactly as they are written."""
    ids = _plain(column)
    absent = ids.is_null().to_numpy(False)
    if _is_text(ids.type):
        absent |= np.array([not (text or "").strip() for text in ids.to_pylist()], dtype=bool)
    if absent.any():
        raise InputError(f"row {int(np.argmax(absent)) + 1} is without an id", where, "give it one")
    if not (_is_text(ids.type) or pa.types.is_integer(ids.type)):
        raise InputError(
            f"column {ID!r} holds {ids.type}, which can be written in several ways",
            where,
            "write ids as text or as whole numbers",
        )
    return ids.cast(pa.string())


def _targets(table: pa.Table, ids: pa.Array, where: str) -> list[str]:
    """Return the columns that are lists of numbers."""
    found = []
    for field in table.schema:
        if field.name == TIMESTAMP or not _is_list(field.type):
            continue
        kind = field.type.value_type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if _is_number(kind):
            found.append(field.name)
        elif _is_text(kind):
            flat, offsets = _flat(table[field.name], where, field.name)
            _refuse_text_of_numbers(flat.drop_null(), ids, offsets, where, field.name)
    return found


def _refuse_text_of_numbers(
    cells: pa.Array, ids: pa.Array, offsets: pa.Array, where: str, name: str
) -> None:
    """Refuse a column of texts that are numbers: it is meant as a target, or as labels."""
    try:
        read = [number_of(cell) for cell in cells.to_pylist()]
    except ValueError:
        return
    if read and not np.isnan(read).all():
        owner = ids[int(np.flatnonzero(np.diff(offsets.to_numpy()))[0])].as_py()
        raise InputError(
            f"column {quote(name)} holds numbers written as text, {quote(cells[0].as_py())} in "
            f"series {quote(owner)}",
            where,
            "name it in 'targets' to have them read, or remove the column",
        )


def _flat(column: pa.ChunkedArray, where: str, name: str) -> tuple[pa.Array, pa.Array]:
    """Return the cells of a column of lists end to end, and where each list begins."""
    if not _is_list(column.type):
        raise InputError(
            f"column {quote(name)} holds {column.type} where a list a series is expected",
            where,
            "give one row a series, or a 'recipe' for rows that are observations",
        )
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise InputError(
            f"column {quote(name)} has a row without a list (row {row + 1})",
            where,
            "give the row a list, or remove it",
        )
    lengths = pc.list_value_length(column).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return _plain(pc.list_flatten(column)), pa.array(offsets)


def _times(column: pa.ChunkedArray, where: str, notes: Notes) -> pa.ListArray:
    flat, offsets = _flat(column, where, TIMESTAMP)
    kind = flat.type
    try:
        if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind) or _is_text(kind)):
            raise pa.ArrowInvalid(f"{kind} is no kind of time")
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        # Unsafe only so that nanoseconds may be truncated to microseconds.
        flat = flat.cast(pa.timestamp("us", zone), safe=_is_text(kind))
        if zone:
            instants = flat.cast(pa.timestamp("us"))
            between = np.diff(pc.fill_null(instants, 0).to_numpy())
            ends = offsets.to_numpy()[1:-1]
            inside = np.delete(between, ends[(ends > 0) & (ends <= len(between))] - 1)
            coarse = not inside.size or bool(inside.min() >= SHORTEST_DAY)
            note_zone(notes, zone, coarse)
            flat = instants
            if coarse:
                clock = pc.local_timestamp(flat.cast(pa.timestamp("us", zone)))
                flat = pc.floor_temporal(clock, unit="day")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"column {TIMESTAMP!r} cannot be read as times: {str(error).splitlines()[0]}",
            where,
            "write them as timestamps; of numbers or texts, say by a 'recipe' how they are written",
        ) from None
    return pa.ListArray.from_arrays(offsets, flat)


def _doubles(flat: pa.Array, offsets: pa.Array, ids: pa.Array, where: str, name: str) -> pa.Array:
    if _is_text(flat.type):
        ends = offsets.to_numpy()[1:]

        def place(at: int) -> str:
            return f"series {quote(ids[int(np.searchsorted(ends, at, side='right'))].as_py())}"

        return pa.array(numbers(flat.to_pylist(), name, where, place))
    try:
        if not _is_number(flat.type):
            raise pa.ArrowInvalid(f"{flat.type} is no kind of number")
        if pa.types.is_boolean(flat.type):
            flat = flat.cast(pa.uint8())
        # Unsafe only in that whole numbers beyond 2**53 are rounded.
        return pc.fill_null(flat.cast(pa.float64(), safe=False), float("nan"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"column {quote(name)} cannot be read as double: {str(error).splitlines()[0]}",
            where,
            "give values of that type, or name other columns",
        ) from None
