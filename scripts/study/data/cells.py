"""What cells mean: numbers, and times with their zones. What is neither is refused by its row."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from chronos2_attention.errors import InputError, quote
from study.config.datasets import TimeAxis

# Models scale a context in float32 by the mean of its squares: those of 8192 values must not add
# up to more than 3.4e38.
LARGEST = 1e17
# How an absent number is spelled; in ids and names of columns the same words are text.
MISSING = frozenset(
    [
        *("", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null", "None", "NaT"),
        *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    ]
)
# A day on which clocks are set forward has 23 hours.
SHORTEST_DAY = np.timedelta64(23, "h")

OFFSET = r"Z|[+-]\d{2}(?::?\d{2})?"
# Stricter than pandas, which also takes "now", and a number of seconds for some date.
ISO = re.compile(
    r"\d{4}(?:-\d{1,2}(?:-\d{1,2})?|\d{4})?"
    rf"(?:[T ]\d{{1,2}}(?::?\d{{2}}(?::?\d{{2}}(?:[.,]\d+)?)?)?(?: ?(?P<offset>{OFFSET}))?)?"
)
LAST_SECOND = 253_402_300_799  # of the year 9999, since 1970

# What a sidecar says of how a table came to be: `time_zone`, `times`, `rows_left_out`,
# `columns_left_out`.
Notes = dict[str, Any]


def refuse_extreme(values: np.ndarray, name: str, where: str, place: Callable[[int], str]) -> None:
    """Raise an `InputError` if a value is infinite or too large; `place` names its position."""
    extreme = np.flatnonzero(np.abs(values) > LARGEST)
    if not extreme.size:
        return
    at = int(extreme[0])
    if np.isinf(values[at]):
        raise InputError(
            f"{place(at)} has an infinite value in {quote(name)}", where, "replace it by NaN"
        )
    raise InputError(
        f"{place(at)} has {values[at]:g} in {quote(name)}, which no model can scale in float32",
        where,
        f"divide the column, so that no value is larger than {LARGEST:g}",
    )


def numbers(
    column: Iterable[Any], name: str, where: str, place: Callable[[int], str]
) -> np.ndarray:
    """Return cells as float64, NaN where nothing was observed; what is no number is refused."""
    found = []
    for position, cell in enumerate(column):
        try:
            found.append(number_of(cell))
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"column {quote(name)} is not numeric: {place(position)} has {quote(cell)}",
                where,
                "leave cells without a number empty, or name other columns",
            ) from None
    return np.array(found, dtype=np.float64)


def numbers_of(column: pd.Series, name: str, where: str, place: Callable[[int], str]) -> np.ndarray:
    """Return a column of a table as float64, see `numbers`; no value is infinite or too large."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
        found = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        found = numbers(column, name, where, place)
    refuse_extreme(found, name, where, place)
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


@dataclass(frozen=True)
class Times:
    """When rows were observed.

    Attributes
    ----------
    instants, clock:
        ``datetime64[us]``, shape (n,): in UTC, and as a clock on the spot shows it.
    zone:
        Its name or offsets from UTC; empty where the source says nothing of it.
    """

    instants: np.ndarray
    clock: np.ndarray
    zone: str = ""

    def take(self, rows: np.ndarray) -> Times:
        """Return the times of some rows."""
        return Times(self.instants[rows], self.clock[rows], self.zone)


def is_coarse(step: pd.DateOffset | None, instants: np.ndarray) -> bool:
    """Return whether steps are a day or longer; without a step, whether all times are so apart."""

    if step is not None:
        monday = pd.Timestamp("2000-01-03")
        return (monday + step) - monday >= pd.Timedelta(days=1)
    between = np.diff(np.unique(instants))
    return not between.size or between.min() >= SHORTEST_DAY


def calendar_dates(clock: np.ndarray) -> np.ndarray:
    """Return the midnights at which the days of some times begin."""
    return clock.astype("datetime64[D]").astype("datetime64[us]")


def note_zone(notes: Notes, zone: str, coarse: bool) -> None:
    """Note which zone times came from and what became of them."""
    notes |= {"time_zone": zone, "times": "local dates" if coarse else "UTC"}


def offset_of(alias: str, where: str, *, is_step: bool = True) -> pd.DateOffset:
    """Return pandas' offset of an alias; a step must lead forward."""

    begin = pd.Timestamp("2000-01-01")
    try:
        offset = pd.tseries.frequencies.to_offset(alias)
        if is_step and begin + offset <= begin:
            raise ValueError
        return offset
    except (ValueError, OverflowError, TypeError, ArithmeticError):
        raise InputError(
            f"{quote(alias)} is no frequency that pandas knows",
            where,
            "give one such as h, D, W-MON, MS",
        ) from None


def nominal_times(axis: TimeAxis, count: int, freq: str | None, where: str) -> Times:
    """Return times of rows that follow each other from a start."""

    if freq is None:
        raise InputError("a time axis with 'start' needs 'freq'", where, "give 'freq'")
    try:
        start = _iso([axis.start], axis.start)
        stamps = pd.date_range(
            start.clock[0], periods=count, freq=offset_of(freq, where), unit="us"
        )
    except _Unreadable:
        raise InputError(
            f"'start' is no time: {quote(axis.start)}", where, "give one such as 2020-01-31"
        ) from None
    except (ValueError, OverflowError):
        raise InputError(
            f"{count} steps of {quote(freq)} from {quote(axis.start)} lead beyond all calendars",
            where,
            "give another 'start' or 'freq'",
        ) from None
    stamps = _shifted(stamps, axis, where).to_numpy().astype("datetime64[us]")
    return Times(stamps - (start.clock[0] - start.instants[0]), stamps, start.zone)


def _shifted(stamps: pd.DatetimeIndex, axis: TimeAxis, where: str) -> pd.DatetimeIndex:
    if axis.shift is None:
        return stamps
    try:
        return stamps + offset_of(axis.shift, where, is_step=False)
    except (ValueError, OverflowError):
        raise InputError(
            f"the shift {quote(axis.shift)} leads beyond all calendars", where, "give a smaller one"
        ) from None


class _Unreadable(Exception):
    """A cell that is no time: its position, and what is wrong with it."""


def read_times(column: pd.Series, axis: TimeAxis, where: str, row: Callable[[int], str]) -> Times:
    """Read the times of rows; `row` names the one that is no time."""

    absent = column.isna() | column.isin(MISSING)
    if absent.any():
        raise InputError(
            f"column {quote(axis.column)} has an empty time in {row(int(np.argmax(absent)))}",
            where,
            "remove rows without a time",
        )
    try:
        if pd.api.types.is_datetime64_any_dtype(column):
            stamps = pd.DatetimeIndex(column)
            zone = str(stamps.tz or "")
            times = Times(_us(stamps.tz_convert(None) if zone else stamps), _us(stamps), zone)
        elif axis.format in READERS:
            times = READERS[axis.format](column)
        else:
            times = _by_pattern(_cells(column), axis.format)
    except _Unreadable as error:
        raise InputError(
            f"column {quote(axis.column)} cannot be read as {quote(axis.format)} times: "
            f"{row(error.args[0])} holds {quote(str(column.iloc[error.args[0]]))}{error.args[1]}",
            where,
            "give their 'format', such as unix_s for seconds since 1970, or mend the row",
        ) from None
    if axis.shift is None:
        return times
    moved = (_us(_shifted(pd.DatetimeIndex(t), axis, where)) for t in (times.instants, times.clock))
    return Times(*moved, times.zone)


def _us(stamps: pd.DatetimeIndex) -> np.ndarray:
    return stamps.tz_localize(None).to_numpy().astype("datetime64[us]")


def _cells(column: pd.Series) -> list[str]:
    """Return cells as text; numbers with a fraction are no dates."""
    return [cell.strip() if isinstance(cell, str) else str(cell) for cell in column]


def _each(cells: Sequence[Any], read: Callable[[Any], Any]) -> list:
    """Read cell after cell, so that the one at fault is known."""
    found = []
    for position, cell in enumerate(cells):
        try:
            found.append(read(cell))
        except (ValueError, TypeError, OverflowError, AttributeError):
            raise _Unreadable(position, "") from None
    return found


def _iso(cells: Sequence[str], _: object = None) -> Times:
    """Read ISO 8601; offsets from UTC may differ from row to row, but all rows have one or none."""

    matches = [ISO.fullmatch(cell) for cell in cells]
    offsets = [match and match["offset"] for match in matches]
    wanted = offsets[0] is not None
    for position, match in enumerate(matches):
        if match is None:
            raise _Unreadable(position, "")
        if (match["offset"] is not None) != wanted:
            raise _Unreadable(position, ", and not all rows say their offset from UTC")
    plain = cells
    if wanted:
        plain = [cell.removesuffix(end).strip() for cell, end in zip(cells, offsets, strict=True)]
    try:
        clock = _us(pd.DatetimeIndex(pd.to_datetime(list(plain), format="ISO8601")))
    except (ValueError, OverflowError):
        one = ([cell] for cell in plain)
        clock = np.concatenate(_each(one, lambda c: _us(pd.to_datetime(c, format="ISO8601"))))
    return _with_offsets(clock, [_minutes(end) for end in offsets] if wanted else None)


def _minutes(offset: str) -> int:
    digits = re.sub(r"\D", "", offset).ljust(4, "0")
    return (-1 if offset[0] == "-" else 1) * (int(digits[:2]) * 60 + int(digits[2:]))


def _with_offsets(clock: np.ndarray, minutes: list[int] | None) -> Times:
    if minutes is None:
        return Times(clock, clock)
    names = [
        f"{'-' if m < 0 else '+'}{abs(m) // 60:02d}:{abs(m) % 60:02d}" for m in sorted(set(minutes))
    ]
    zone = "UTC" if names == ["+00:00"] else "/".join(names)
    return Times(clock - np.array(minutes, dtype="timedelta64[m]"), clock, zone)


def _by_pattern(cells: Sequence[str], pattern: str) -> Times:
    """Read times by a `strptime` pattern."""

    if "%z" not in pattern:
        try:
            return _plain(pd.DatetimeIndex(pd.to_datetime(list(cells), format=pattern)))
        except (ValueError, TypeError, OverflowError):
            stamps = _each(cells, lambda cell: pd.to_datetime(cell, format=pattern))
            return _plain(pd.DatetimeIndex(stamps))
    stamps = _each(cells, lambda cell: datetime.datetime.strptime(cell, pattern))
    clock = np.array([stamp.replace(tzinfo=None) for stamp in stamps], dtype="datetime64[us]")
    return _with_offsets(clock, [int(stamp.utcoffset().total_seconds() // 60) for stamp in stamps])


def _plain(stamps: pd.DatetimeIndex) -> Times:
    return Times(_us(stamps), _us(stamps))


def _quarters(column: pd.Series) -> Times:

    def read(cell: str) -> pd.Timestamp:
        match = re.fullmatch(r"(\d{4}) ?-?Q([1-4])", cell)
        return pd.Timestamp(int(match[1]), 3 * int(match[2]) - 2, 1)

    return _plain(pd.DatetimeIndex(_each(_cells(column), read)))


def _years(column: pd.Series) -> Times:
    def month(cell: object) -> int:
        # Months are the finest step that R's decimal years resolve without doubt.
        months = round(number_of(cell) * 12)
        if not 0 < months < 120_000:
            raise ValueError
        return months - 1970 * 12

    months = np.array(_each(column, month), dtype="datetime64[M]").astype("datetime64[us]")
    return Times(months, months)


def _since_1970(unit: str) -> Callable[[pd.Series], Times]:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]

    def whole(cell: object) -> int:
        number = int(cell) if isinstance(cell, str) else cell
        if number != int(number) or abs(number) > LAST_SECOND * per_second:
            raise ValueError
        return int(number) * 10**6 // per_second

    def read(column: pd.Series) -> Times:
        instants = np.array(_each(column, whole), dtype=np.int64).astype("datetime64[us]")
        return Times(instants, instants, "UTC")

    return read


READERS: dict[str, Callable[[Any], Times]] = {
    "iso": lambda column: _iso(_cells(column)),
    "iso_week": lambda column: _by_pattern([f"{c} 1" for c in _cells(column)], "%G W%V %u"),
    "year_quarter": _quarters,
    "year": _years,
    "decimal_year": _years,
    **{f"unix_{unit}": _since_1970(unit) for unit in ("s", "ms", "us", "ns")},
}


def stamps_of(times: Times, freq: Any, notes: Notes) -> np.ndarray:
    """Return UTC where steps are finer than a day, the local date otherwise."""
    if not times.zone:
        return times.clock
    coarse = is_coarse(freq, times.instants)
    note_zone(notes, times.zone, coarse)
    return calendar_dates(times.clock) if coarse else times.instants
