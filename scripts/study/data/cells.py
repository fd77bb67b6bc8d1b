"""What cells mean: numbers, and times with their zones. What is neither is refused by its row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from chronos2_attention.errors import InputError, quote
from study.config.datasets import TimeAxis

# Models scale by a mean of squares in float32: those of 8192 values must stay below 3.4e38.
LARGEST = 1e17
# How an absent number is spelled; in ids and names of columns the same words are text.
MISSING = {"", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null", "None", "NaT"}
MISSING |= {"NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
# A day on which clocks are set forward has 23 hours.
SHORTEST_DAY = np.timedelta64(23, "h")
OFFSET = r"Z|[+-]\d{2}(?::?\d{2})?"
# Stricter than pandas, which also takes "now", and a number of seconds for some date.
ISO = re.compile(
    r"\d{4}(?:-\d{1,2}(?:-\d{1,2})?|\d{4})?"
    rf"(?:[T ]\d{{1,2}}(?::?\d{{2}}(?::?\d{{2}}(?:[.,]\d+)?)?)?(?: ?(?P<offset>{OFFSET}))?)?"
)

# What a sidecar tells: `time_zone`, `times`, `rows_left_out`, `columns_left_out`.
Notes = dict[str, Any]


def numbers_of(column: pd.Series, name: str, where: str, place: Callable[[int], str]) -> np.ndarray:
    """Return cells as float64, NaN where nothing was observed; refuse what no model can take."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
        found = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        try:
            found = np.array(_each(column, number_of), dtype=np.float64)
        except _Unreadable as error:
            at = error.args[0]
            what = f"column {quote(name)} is not numeric: {place(at)} has {quote(column.iloc[at])}"
            mend = "leave cells without a number empty, or name other columns"
            raise InputError(what, where, mend) from None
    extreme = np.flatnonzero(np.abs(found) > LARGEST)
    if extreme.size:
        value = found[extreme[0]]
        size = "an infinite value" if np.isinf(value) else f"{value:g}"
        what = f"{place(int(extreme[0]))} has {size} in {quote(name)}, too large for float32"
        mend = f"put NaN there, or divide the column: no value may be larger than {LARGEST:g}"
        raise InputError(what, where, mend)
    return found


def number_of(cell: object) -> float:
    """Return a cell as a number; a text may be one, or one of `MISSING`."""
    if isinstance(cell, str):
        text = cell.strip()
        if text in MISSING:
            return np.nan
        if "_" in text or not text.isascii():  # which Python takes for digits
            raise ValueError
        return float(text)
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return np.nan
    if isinstance(cell, int | float | Decimal | np.integer | np.floating | np.bool_):
        return float(cell)
    raise TypeError


def need_columns(names: Sequence[str], wanted: Iterable[str], where: str) -> None:
    """Refuse a table in which a column is absent or there twice."""
    for name in wanted:
        if names.count(name) != 1:
            what = "no column" if name not in names else "more than one column"
            raise InputError(f"{what} {quote(name)}", where, f"its columns: {quote(names)}")


def texts(column: Iterable[Any], name: str, where: str) -> list[str]:
    """Return ids exactly as they are written."""
    cells = list(column)
    try:
        return _each(cells, _label)
    except _Unreadable as error:
        at, many = error.args[0], "or one that can be written in several ways"
        what = f"row {at + 1} has no id in column {quote(name)}, {many}: {quote(cells[at])}"
        mend = "write ids as text or as whole numbers; remove rows without an id"
        raise InputError(what, where, mend) from None


def _label(cell: object) -> str:
    # Others, such as 7.0 or true, can be written in several ways.
    is_label = isinstance(cell, str | int | np.integer) and not isinstance(cell, bool)
    if not is_label or not str(cell).strip():
        raise ValueError
    return str(cell)


@dataclass(frozen=True)
class Times:
    """When rows were observed: in UTC and as a clock on the spot shows it, ``datetime64[us]``."""

    instants: np.ndarray
    clock: np.ndarray
    zone: str = ""  # its name or offsets from UTC; empty where the source says nothing of it


def stamps_of(
    times: Times, step: pd.DateOffset | None, notes: Notes, bounds: Sequence[int] = (), floor=True
) -> np.ndarray:
    """Return UTC where steps are finer than a day, else the local date (with hours: no `floor`).

    Without `step`, that is seen from the times of each series; `bounds` are where the next begins.
    """
    if not times.zone:
        return times.clock
    if step is not None:
        monday = pd.Timestamp("2000-01-03")
        coarse = (monday + step) - monday >= pd.Timedelta(days=1)
    else:
        apart = [np.diff(np.unique(part)) for part in np.split(times.instants, bounds)]
        coarse = bool((np.concatenate(apart) >= SHORTEST_DAY).all())
    notes |= {"time_zone": times.zone, "times": "local dates" if coarse else "UTC"}
    if not coarse:
        return times.instants
    return times.clock.astype("datetime64[D]").astype("datetime64[us]") if floor else times.clock


def offset_of(alias: str, where: str, *, is_step: bool = True) -> pd.DateOffset:
    """Return pandas' offset of an alias; a step must lead forward."""
    begin = pd.Timestamp("2000-01-01")
    try:
        offset = pd.tseries.frequencies.to_offset(alias)
        if is_step and begin + offset <= begin:
            raise ValueError
        return offset
    except (ValueError, OverflowError, TypeError, ArithmeticError):
        what = f"{quote(alias)} is no frequency that pandas knows"
        raise InputError(what, where, "give one such as h, D, W-MON, MS") from None


def nominal_times(axis: TimeAxis, count: int, freq: str | None, where: str) -> Times:
    """Return times of rows that follow each other from a start."""
    if freq is None:
        raise InputError("a time axis with 'start' needs 'freq'", where, "give 'freq'")
    cell, column = pd.Series([axis.start]), TimeAxis(column="start")
    start = read_times(cell, column, where, lambda at: "'start' is no time: it")
    step = offset_of(freq, where)
    try:
        stamps = pd.date_range(start.clock[0], periods=count, freq=step, unit="us")
    except (ValueError, OverflowError):
        what = f"{count} steps of {quote(freq)} from {quote(axis.start)} lead beyond all calendars"
        raise InputError(what, where, "give another 'start' or 'freq'") from None
    stamps = _shifted(stamps, axis, where).to_numpy().astype("datetime64[us]")
    return Times(stamps - (start.clock[0] - start.instants[0]), stamps, start.zone)


def _shifted(stamps: pd.DatetimeIndex, axis: TimeAxis, where: str) -> pd.DatetimeIndex:
    if axis.shift is None:
        return stamps
    try:
        return stamps + offset_of(axis.shift, where, is_step=False)
    except (ValueError, OverflowError):
        what = f"the shift {quote(axis.shift)} leads beyond all calendars"
        raise InputError(what, where, "give a smaller one") from None


class _Unreadable(Exception):
    """A cell that is no time: its position, and what is wrong with it."""


def read_times(column: pd.Series, axis: TimeAxis, where: str, row: Callable[[int], str]) -> Times:
    """Read the times of rows; `row` names the one that is no time."""
    stamped = pd.api.types.is_datetime64_any_dtype(column)
    absent = column.isna() if stamped else column.isna() | column.isin(MISSING)
    if absent.any():
        what = f"{row(int(np.argmax(absent)))} has an empty timestamp in {quote(axis.column)}"
        raise InputError(what, where, "remove rows without a time")
    try:
        if stamped:
            stamps = pd.DatetimeIndex(column)
            zone = str(stamps.tz or "")
            times = Times(_us(stamps.tz_convert(None) if zone else stamps), _us(stamps), zone)
        elif axis.format in CELLS:
            zone = "UTC" if axis.format.startswith("unix") else ""
            stamps = np.array(_each(column, CELLS[axis.format]), dtype="datetime64[us]")
            times = Times(stamps, stamps, zone)
        else:
            # Numbers with a fraction are no dates.
            cells = [cell.strip() if isinstance(cell, str) else str(cell) for cell in column]
            times = _by_pattern(cells, axis.format)
    except _Unreadable as error:
        at, more = error.args
        what = f"column {quote(axis.column)} cannot be read as {quote(axis.format)} times: "
        what += f"{row(at)} holds {quote(str(column.iloc[at]))}{more}"
        mend = "give their 'format', such as unix_s for seconds since 1970, or mend the row"
        raise InputError(what, where, mend) from None
    except (NotImplementedError, OverflowError):  # of zones of the far future
        what = f"column {quote(axis.column)} has times of other years than 1 to 9999"
        raise InputError(what, where, "give times of those") from None
    if axis.shift is None:
        return times
    moved = (_us(_shifted(pd.DatetimeIndex(t), axis, where)) for t in (times.instants, times.clock))
    return Times(*moved, times.zone)


def _us(stamps: pd.DatetimeIndex) -> np.ndarray:
    return stamps.tz_localize(None).to_numpy().astype("datetime64[us]")


def _each(cells: Iterable[Any], read: Callable[[Any], Any]) -> list:
    """Read cell after cell, so that the one at fault is known."""
    found = []
    for position, cell in enumerate(cells):
        try:
            found.append(read(cell))
        except (ValueError, TypeError, OverflowError):
            raise _Unreadable(position, "") from None
    return found


def _clock(cells: Sequence[str], pattern: str) -> np.ndarray:
    """Read texts by pandas, all at once where that works."""
    try:
        found = _us(pd.DatetimeIndex(pd.to_datetime(list(cells), format=pattern)))
    except (ValueError, TypeError, OverflowError):
        one = _each(cells, lambda cell: _us(pd.to_datetime([cell], format=pattern)))
        found = np.concatenate(one)
    if np.isnat(found).any():  # other spellings of NaT
        raise _Unreadable(int(np.argmax(np.isnat(found))), "")
    return found


def _iso(cells: Sequence[str]) -> Times:
    """Read ISO 8601; offsets from UTC may differ from row to row, but all rows have one or none."""
    # What does not match is None, which has no parts: a TypeError.
    offsets = _each(cells, lambda cell: ISO.fullmatch(cell)["offset"])
    for position, offset in enumerate(offsets):
        if (offset is None) != (offsets[0] is None):
            raise _Unreadable(position, ", and not all rows say their offset from UTC")
    if not offsets or offsets[0] is None:
        clock = _clock(cells, "ISO8601")
        return Times(clock, clock)
    clock = [cell.removesuffix(end).strip() for cell, end in zip(cells, offsets, strict=True)]
    clock, minutes = _clock(clock, "ISO8601"), [_minutes(end) for end in offsets]
    names = [f"{'+-'[m < 0]}{abs(m) // 60:02d}:{abs(m) % 60:02d}" for m in sorted(set(minutes))]
    zone = "UTC" if names == ["+00:00"] else "/".join(names)
    return Times(clock - np.array(minutes, dtype="timedelta64[m]"), clock, zone)


def _by_pattern(cells: Sequence[str], pattern: str) -> Times:
    """Read times by a `strptime` pattern, or ISO 8601."""
    if "%z" in pattern:
        read = datetime.strptime
        cells, pattern = _each(cells, lambda cell: read(cell, pattern).isoformat()), "iso"
    if pattern == "iso":
        return _iso(cells)
    clock = _clock(cells, pattern)
    return Times(clock, clock)


def _minutes(offset: str) -> int:
    digits = re.sub(r"\D", "", offset).ljust(4, "0")
    return (-1 if offset[0] == "-" else 1) * (int(digits[:2]) * 60 + int(digits[2:]))


def _quarter(cell: object) -> datetime:
    match = re.fullmatch(r"(\d{4}) ?-?Q([1-4])", str(cell).strip())
    return datetime(int(match[1]), 3 * int(match[2]) - 2, 1)


def _month(cell: object) -> datetime:
    # Months are the finest step that R's decimal years resolve without doubt.
    year, month = divmod(round(number_of(cell) * 12), 12)
    return datetime(year, month + 1, 1)


def _since_1970(per_second: int, cell: object) -> datetime:
    number = int(cell) if isinstance(cell, str) else cell
    if number != int(number):
        raise ValueError
    return datetime(1970, 1, 1) + timedelta(microseconds=int(number) * 10**6 // per_second)


# Formats whose cells are read one by one.
CELLS: dict[str, Callable[[Any], datetime]] = {
    "iso_week": lambda cell: datetime.strptime(f"{str(cell).strip()} 1", "%G W%V %u"),
    "year_quarter": _quarter,
    "year": _month,
    "decimal_year": _month,
    **{f"unix_{u}": partial(_since_1970, 1000**i) for i, u in enumerate(("s", "ms", "us", "ns"))},
}
