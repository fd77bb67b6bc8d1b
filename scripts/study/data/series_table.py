"""The one layout of every data set, which `fev` reads: a row a series, and checks that it holds.

Columns: ``id`` (string), ``timestamp`` (list of timestamp[us], no time zone) and lists of double,
NaN where missing; covariates may be lists of bool or string, and columns that are no lists are
static; null where missing.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from chronos2_attention.errors import InputError, quote
from study.config.datasets import TimeAxis
from study.data.cells import (
    Notes,
    need_columns,
    number_of,
    numbers_of,
    read_times,
    stamps_of,
    texts,
)

ID = "id"
TIMESTAMP = "timestamp"
# The fewest points from which pandas can infer a frequency, which `fev` asks of each series.
MIN_OBSERVATIONS = 3
# Series in a row group, and what later steps load, forecast and write together.
ROWS_AT_ONCE = 1024
DAY = 86_400_000_000  # microseconds
SHORTEST_MONTH = 28 * DAY
# What Arrow calls the types of cells.
KINDS = {
    "numbers": r"u?int\d+|halffloat|float|double|decimal.*|null",
    "truths": r"bool",
    "texts": r"(large_)?string(_view)?",
    "times": r"timestamp.*|date.*",
}
FIRST_YEAR, LAST_YEAR = np.datetime64("0001-01-01"), np.datetime64("9999-12-31T23:59:59.999999")


@dataclass(frozen=True)
class Series:
    """One item: datetime64[us] (n,), and values (n,) by column: float64 with NaN, or objects."""

    id: str
    timestamps: np.ndarray
    targets: Mapping[str, np.ndarray]
    static: Mapping[str, Any] = field(default_factory=dict)


def series_table(series: Iterable[Series]) -> pa.Table:
    """Return the table of `series`; all must have the columns of the first."""
    rows = list(series)
    stamps = [pa.array(row.timestamps.astype("datetime64[us]")) for row in rows]
    columns: dict[str, pa.Array] = {
        ID: pa.array([row.id for row in rows], pa.string()),
        TIMESTAMP: pa.array(stamps, pa.list_(pa.timestamp("us"))),
    }
    cells = [{**row.targets, **row.static} for row in rows]
    for name in cells[0] if cells else ():
        columns[name] = pa.array([of[name] for of in cells])
    return pa.table(columns)


def conform(
    table: pa.Table,
    dataset: str,
    targets: Sequence[str] | None = None,
    notes: Notes | None = None,
    covariates: Sequence[str] = (),
    labels: bool = False,
) -> pa.Table:
    """Bring a table to the layout: columns kept, types cast, rows sorted by id.

    Kept are `targets`, as numbers, and `covariates`; without `targets` all lists and single cells
    of numbers, truth values or labels, and texts of numbers beside numbers are refused unless
    `labels`. `notes` gets ``time_zone`` and ``columns_left_out``.
    """
    notes = {} if notes is None else notes
    names, where = table.column_names, f"data set {dataset!r}"
    need_columns(names, (ID, TIMESTAMP, *(targets or ()), *covariates), where)
    kinds = {f.name: _holds(f.type) for f in table.schema if f.name not in (ID, TIMESTAMP)}
    chosen = [n for n, kind in kinds.items() if kind in ("numbers", "texts", "truths")]
    if targets is not None:
        chosen = [*targets, *covariates]
    ids = texts(table[ID].to_pylist(), ID, where)
    listed = [n for n in chosen if _is_list(table[n].type) or n in (targets or ())]
    lists = {n: _cells(table[n], where, n, ids) for n in (TIMESTAMP, *listed)}
    numeric = list(targets or ())
    if targets is None:
        numeric = [n for n in listed if labels and kinds[n] == "numbers"]
        numeric = numeric or [n for n in listed if _is_target(lists[n], n, where)]
        numeric = numeric or [n for n in listed if kinds[n] == "truths"]
    if not numeric:
        raise InputError("no target column (a list of numbers)", where, f"columns: {quote(names)}")
    if others := sorted(set(kinds) - set(chosen)):
        notes["columns_left_out"] = others
    columns = {ID: pa.array(ids, pa.string()), TIMESTAMP: _times(lists[TIMESTAMP], where, notes)}
    for name in chosen:
        if name not in lists:
            columns[name] = _static(table[name])
            continue
        flat, offsets, owner = lists[name]
        if name in numeric or kinds[name] == "numbers":
            flat = pa.array(numbers_of(to_pandas(flat, where), name, where, owner))
        elif kinds[name] == "texts":
            flat = flat.cast(pa.string())
        columns[name] = pa.ListArray.from_arrays(offsets, flat)
    return pa.table(columns).sort_by([(ID, "ascending")])


def _static(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if _holds(kind) == "texts":
        kind = pa.string()
    elif pa.types.is_decimal(kind) or pa.types.is_null(kind):
        kind = pa.float64()
    return column.cast(kind)


def number_columns(table: pa.Table | pa.Schema) -> list[str]:
    """Return the names of the lists of numbers of a conformed table, in its order."""
    schema = table.schema if isinstance(table, pa.Table) else table
    return [f.name for f in schema if f.type == pa.list_(pa.float64())]


def validate(table: pa.Table, dataset: str, zone: str = "") -> str:
    """Check a conformed table; return its frequency, as `fev` infers it; series may be constant."""
    if table.num_rows == 0:
        raise InputError(f"data set {dataset!r} holds no series", "", "check its source")
    ids = table[ID].to_pylist()
    dynamic = [f.name for f in table.schema if _is_list(f.type) and f.name != TIMESTAMP]
    lengths = pc.list_value_length(table[TIMESTAMP]).to_numpy()
    rows = np.arange(len(ids))
    owners = np.repeat(rows, lengths)

    def refuse(
        bad: np.ndarray, what: Callable[[int], str], mend: str, of: np.ndarray = rows
    ) -> None:
        """Say what is wrong with the first that is bad, and `of` which series it is."""
        if bad.any():
            at = int(np.argmax(bad))
            place = f"data set {dataset!r}" + (f" (times of {zone})" if zone else "")
            raise InputError(f"series {quote(ids[of[at]])} {what(at)}", place, mend)

    double = pd.Index(ids).duplicated()
    refuse(double, lambda at: "occurs more than once", "give every series its own id")
    for name in dynamic:
        refuse(
            pc.list_value_length(table[name]).to_numpy() != lengths,
            lambda at, name=name: (
                f"has {lengths[at]} timestamps and another number of values in {quote(name)}"
            ),
            "give one value (or NaN) to each timestamp",
        )
    refuse(
        lengths < MIN_OBSERVATIONS,
        lambda at: f"has {lengths[at]} observations",
        f"remove series of fewer than {MIN_OBSERVATIONS}, which have no frequency",
    )
    times = pc.list_flatten(table[TIMESTAMP]).to_numpy()
    ends = np.cumsum(lengths)
    starts = ends - lengths
    beyond = (times < FIRST_YEAR) | (times > LAST_YEAR)
    refuse(beyond, lambda at: f"has {times[at]}", "give times of the years 1 to 9999", owners)
    steps = np.diff(times).astype(np.int64)
    inside = np.diff(owners) == 0
    refuse(
        inside & (steps <= 0),
        lambda at: f"has {times[at + 1]} after {times[at]}",
        "sort its observations by time and keep one a timestamp",
        owners,
    )
    # Months and business days are left to pandas, once per pattern: large data sets share few.
    constant = steps == np.repeat(steps[starts], lengths)[:-1]
    uneven = ~np.logical_and.reduceat(np.append(constant | ~inside, True), starts)
    kinds: dict[bytes | int, tuple | None] = {}
    first_of: dict[tuple, int] = {}
    for row, step in enumerate(steps[starts].tolist()):
        stamps = times[starts[row] : ends[row]]
        key = stamps.tobytes() if uneven[row] or step >= SHORTEST_MONTH else step
        if key not in kinds:
            kinds[key] = _kind(stamps)
            refuse(
                (rows == row) & (kinds[key] is None),
                lambda at: "has irregular timestamps",
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
        refuse(
            rows == other,
            lambda at: f"has frequency {aliases[1]!r} and series {quote(ids[one])} {aliases[0]!r}",
            "make a data set of each frequency",
        )
    numbers = [pc.list_flatten(table[name]).to_numpy() for name in number_columns(table)]
    unseen = [np.isnan(values) for values in numbers]
    unseen = np.logical_and.reduceat(np.all(unseen, axis=0), starts)
    refuse(unseen, lambda at: "has only missing values", "remove it from the data")
    return _frequency(times[: ends[0]])


@contextmanager
def quiet_frequencies() -> Iterator[None]:
    """Silence pandas' notice, once a series, that `infer_freq` will one day return an offset."""
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
    return str(kind).startswith(("list<", "large_list<", "fixed_size_list<"))


def _holds(kind: pa.DataType) -> str:
    """Return which of `KINDS` a column, or its lists, hold; "" for none."""
    kind = kind.value_type if _is_list(kind) else kind
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return next((name for name, names in KINDS.items() if re.fullmatch(names, str(kind))), "")


# Of a column of lists: the cells end to end, where each list begins, and whose a cell is.
_Cells = tuple[pa.Array, pa.Array, Callable[[int], str]]


def _cells(column: pa.ChunkedArray, where: str, name: str, ids: Sequence[str]) -> _Cells:
    if not _is_list(column.type):
        what = f"column {quote(name)} holds {column.type} where a list a series is expected"
        mend = "give one row a series, or a 'recipe' for rows that are observations"
        raise InputError(what, where, mend)
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        what = f"column {quote(name)} has a row without a list (row {row + 1})"
        raise InputError(what, where, "give the row a list, or remove it")
    ends = np.cumsum(pc.list_value_length(column).to_numpy())
    flat = pc.list_flatten(column).combine_chunks()
    if pa.types.is_dictionary(flat.type):
        flat = flat.cast(flat.type.value_type)
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    return flat, offsets, lambda at: f"series {quote(ids[np.searchsorted(ends, at, side='right')])}"


def _is_target(cells: _Cells, name: str, where: str) -> bool:
    """Return whether cells are numbers; refuse texts of numbers, which may be meant as labels."""
    flat, _, owner = cells
    if _holds(flat.type) != "texts":
        return _holds(flat.type) == "numbers"
    known = flat.drop_null().to_pylist()
    try:
        if np.isnan([number_of(cell) for cell in known]).all():
            return False
    except ValueError:
        return False
    what = f"column {quote(name)} holds numbers written as text, {quote(known[0])} in {owner(0)}"
    raise InputError(what, where, "name it in 'targets' to have them read, or remove the column")


def _times(cells: _Cells, where: str, notes: Notes) -> pa.ListArray:
    flat, offsets, owner = cells
    if _holds(flat.type) not in ("texts", "times"):
        what = f"column {TIMESTAMP!r} cannot be read as times: it holds {flat.type}"
        raise InputError(what, where, "write timestamps, or say by a 'recipe' how they are written")
    times = read_times(to_pandas(flat, where), TimeAxis(column=TIMESTAMP), where, owner)
    stamps = stamps_of(times, None, notes, offsets.to_numpy()[1:-1])
    return pa.ListArray.from_arrays(offsets, pa.array(stamps))


def to_pandas(data: pa.Table | pa.Array, where: str) -> pd.DataFrame | pd.Series:
    """Convert columns as the file has them, not as pandas' notes in it would have them."""
    try:
        return data.to_pandas(ignore_metadata=True, integer_object_nulls=True)
    except (LookupError, ValueError, NotImplementedError):  # such as an unknown time zone
        kinds = data.schema.types if isinstance(data, pa.Table) else [data.type]
        what = f"pandas cannot hold all that there may be in columns of {quote([*map(str, kinds)])}"
        raise InputError(what, where, "write other types, and zones that there are") from None
