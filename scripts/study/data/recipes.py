"""From a data frame to regular series: a declarative recipe, read from the registry.

A recipe says where the time of a row stands, which columns are values, which
columns tell series apart, and what an absent row means. It is data, not code, so
that a registry can be read without trust in its author.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from chronos2_attention.errors import InputError
from study.config.datasets import Recipe, TimeAxis
from study.data.series_table import ID, TIMESTAMP, Series, conform, series_table

if TYPE_CHECKING:
    import pandas as pd

# The column in which tables taken from R keep their row names.
ROW_NAMES = "rownames"


def cook(frame: pd.DataFrame, recipe: Recipe, freq: str | None, where: str) -> list[Series]:
    """Return the regular series of a table.

    Each value column becomes an item with the one target ``target``. NaN before
    a series' first and after its last observation is cut off, so items of one
    data set may begin and end at different times; NaN in between stays.

    Parameters
    ----------
    frame:
        The table, one row an observation.
    recipe:
        What its columns mean.
    freq:
        Pandas alias of the data set's frequency; needed for `start`, `aggregate`
        and `gaps`, without it timestamps are taken as they are.
    where:
        Name of the data set and table, for messages.

    Raises
    ------
    InputError
        If a column is absent, a time cannot be read, two rows of a series share a
        timestamp, a timestamp is off the grid, or rows are absent where `gaps` is
        ``none``.
    """
    columns = _value_columns(frame, recipe, where)
    series = []
    for key, rows in _split(frame, recipe, columns, where):
        stamps = _timestamps(rows, recipe.time, freq, where)
        for column in columns or [None]:
            labels = [recipe.name, *key]
            if column is not None and (len(columns) > 1 or not any(labels)):
                labels.append(str(column).strip())
            name = "_".join(label for label in labels if label)
            values = (
                np.ones(len(rows)) if column is None else rows[column].to_numpy(dtype=np.float64)
            )
            times, observed = _on_grid(stamps, values, recipe, freq, f"{where} series {name!r}")
            known = np.flatnonzero(~np.isnan(observed))
            if not known.size:
                raise InputError(
                    f"series {name!r} holds no observation", where, "remove it from the table"
                )
            span = slice(known[0], known[-1] + 1)
            series.append(Series(name, times[span], {"target": observed[span]}))
    return series


def several_targets(
    frame: pd.DataFrame, item: str, timestamp: str, targets: tuple[str, ...], where: str
) -> Series:
    """Return one item whose targets are columns of a table in time order, as they stand."""
    _need(frame, (timestamp, *targets), where)
    stamps = _timestamps(frame, TimeAxis(column=timestamp), None, where)
    return Series(item, stamps, {name: _numbers(frame[name], name, where) for name in targets})


def _need(frame: pd.DataFrame, columns, where: str) -> None:
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        raise InputError(f"no column {absent[0]!r}", where, f"its columns: {list(frame.columns)}")


def _numbers(column: pd.Series, name: str, where: str) -> np.ndarray:
    try:
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"column {name!r} is not numeric: {error}",
            where,
            "leave cells without a number empty, or name other columns in 'values'",
        ) from None


def _value_columns(frame: pd.DataFrame, recipe: Recipe, where: str) -> list[str]:
    keys = [*recipe.id, *([recipe.time.column] if recipe.time.column else [])]
    _need(frame, keys, where)
    if recipe.columns != "*":
        _need(frame, recipe.columns, where)
        return list(recipe.columns)
    return [name for name in frame.columns if name not in {*keys, ROW_NAMES}]


def _split(
    frame: pd.DataFrame, recipe: Recipe, columns: list[str], where: str
) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    frame = frame.assign(**{name: _numbers(frame[name], name, where) for name in columns})
    if not recipe.id:
        yield (), frame
        return
    for key, rows in frame.groupby(list(recipe.id), sort=True):
        yield tuple(str(part).strip() for part in key), rows


def _timestamps(rows: pd.DataFrame, axis: TimeAxis, freq: str | None, where: str) -> np.ndarray:
    import pandas as pd

    if axis.start is not None:
        if freq is None:
            raise InputError("a time axis with 'start' needs 'freq'", where, "give 'freq'")
        try:
            start = pd.Timestamp(axis.start)
        except ValueError:
            raise InputError(
                f"'start' is no time: {axis.start!r}", where, "give one such as 2020-01-31"
            ) from None
        stamps = pd.date_range(start, periods=len(rows), freq=_offset(freq, where), unit="us")
    else:
        column = rows[axis.column]
        try:
            stamps = _parse(column, axis.format)
        except (TypeError, ValueError) as error:
            first = column.iloc[0]
            raise InputError(
                f"column {axis.column!r} cannot be read as {axis.format!r} times "
                f"(its first value: {first!r}): {str(error).partition(' You might')[0]}",
                where,
                "give their 'format'",
            ) from None
        if stamps.isna().any():
            raise InputError(
                f"column {axis.column!r} has an empty time", where, "remove rows without a time"
            )
    if axis.shift is not None:
        stamps = stamps + _offset(axis.shift, where)
    if stamps.tz is not None:
        stamps = stamps.tz_convert(None)
    return stamps.to_numpy().astype("datetime64[us]")


def _offset(alias: str, where: str) -> pd.DateOffset:
    import pandas as pd

    try:
        return pd.tseries.frequencies.to_offset(alias)
    except ValueError:
        raise InputError(
            f"{alias!r} is no frequency that pandas knows",
            where,
            "give one such as h, D, W-MON, MS",
        ) from None


def _parse(column: pd.Series, style: str) -> pd.DatetimeIndex:
    import pandas as pd

    if style == "iso":
        return pd.DatetimeIndex(pd.to_datetime(column, format="ISO8601"))
    text = column.astype(str)
    if style == "iso_week":
        return pd.DatetimeIndex(pd.to_datetime(text + " 1", format="%G W%V %u"))
    if style == "year_quarter":
        return pd.PeriodIndex(text.str.replace(" ", ""), freq="Q").to_timestamp()
    if style in ("year", "decimal_year"):
        # Months are the finest step that R's decimal years resolve without doubt.
        months = np.rint(column.to_numpy(dtype=np.float64) * 12).astype(np.int64)
        return pd.DatetimeIndex((months - 1970 * 12).astype("datetime64[M]"))
    return pd.DatetimeIndex(pd.to_datetime(text, format=style))


def _on_grid(
    stamps: np.ndarray, values: np.ndarray, recipe: Recipe, freq: str | None, where: str
) -> tuple[np.ndarray, np.ndarray]:
    import pandas as pd

    observed = pd.Series(values, index=pd.DatetimeIndex(stamps))
    if recipe.aggregate is not None:
        if freq is None:
            raise InputError("'aggregate' needs 'freq'", where, "give 'freq'")
        step = _offset("D" if freq in ("B", "C") else freq, where)
        steps = observed.groupby(observed.index.floor(step))
        # A count is the sum of ones; a step whose values are all missing stays missing.
        observed = steps.mean() if recipe.aggregate == "mean" else steps.sum(min_count=1)
    observed = observed.sort_index()
    if observed.index.has_duplicates:
        twice = observed.index[observed.index.duplicated()][0]
        raise InputError(
            f"two rows at {twice}", where, "name the columns that tell series apart in 'id'"
        )
    if freq is not None:
        grid = pd.date_range(
            observed.index[0], observed.index[-1], freq=_offset(freq, where), unit="us"
        )
        off = observed.index.difference(grid)
        if len(off):
            raise InputError(
                f"{off[0]} is not on the grid of frequency {freq!r}",
                where,
                "give the 'freq' of the rows, or an 'aggregate'",
            )
        absent = len(grid) - len(observed)
        if absent and recipe.gaps == "none":
            raise InputError(
                f"{absent} of {len(grid)} rows are absent, the first at "
                f"{grid.difference(observed.index)[0]}",
                where,
                "say what that means: gaps: missing, or gaps: zero",
            )
        observed = observed.reindex(grid, fill_value=0.0 if recipe.gaps == "zero" else np.nan)
    return observed.index.to_numpy().astype("datetime64[us]"), observed.to_numpy()


def resample_table(table: pa.Table, freq: str, aggregate: str, dataset: str) -> pa.Table:
    """Aggregate every series of a data set over the steps of a coarser grid.

    A step at either end that the data do not cover whole is left out.

    Parameters
    ----------
    table:
        In the layout of `study.data.series_table`.
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
