"""From a data frame to regular series: a declarative recipe, read from the registry.

A recipe says where the time of a row stands, which columns are values, which columns tell series
apart, and what an absent row means. It is data, not code, so that a registry can be read without
trust in its author.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from chronos2_attention.errors import InputError, quote
from study.config.datasets import Recipe, TimeAxis
from study.data.cells import (
    Notes,
    Times,
    is_coarse,
    nominal_times,
    note_zone,
    numbers_of,
    offset_of,
    read_times,
    stamps_of,
)
from study.data.series_table import ID, TIMESTAMP, Series, conform, series_table

# The columns in which tables taken from R, and from pandas' index, keep their row names.
ROW_NAMES = re.compile(r"rownames|__index_level_\d+__")
# Steps of a grid, of one length and of others, which pandas makes one by one.
MOST_STEPS, MOST_UNEVEN_STEPS = 5_000_000, 200_000
DAY = pd.Timedelta(days=1)
# What pandas labels by the last day of a step: months, quarters, years and weeks by their ends.
ENDS = ("ME", "QE", "YE", "BME", "BQE", "BYE", "W")


def cook(
    frame: pd.DataFrame, recipe: Recipe, freq: str | None, where: str, notes: Notes | None = None
) -> list[Series]:
    """Return the regular series of a table, one row an observation.

    Each value column becomes an item with the one target ``target``. NaN before a series' first and
    after its last observation is cut off; NaN in between stays. Times that have a zone are told in
    UTC where steps are finer than a day, and are the local date otherwise. Without `freq`, which
    `start`, `aggregate` and `gaps` need, timestamps are taken as they are. `where` names data set
    and table in messages; `notes` gets ``time_zone`` and ``rows_left_out``, those of steps that are
    not whole.

    Raises
    ------
    InputError
        If a column is absent, a row has no id, a time or a number cannot be read, two rows of a
        series share a timestamp, one is off the grid, or rows are absent where `gaps` is ``none``.
    """
    notes = {} if notes is None else notes
    columns = _value_columns(frame, recipe, where)
    if not len(frame):
        raise InputError("the table holds no observation", where, "give it rows below its header")
    groups = list(_split(frame, recipe, where))
    owners = np.empty(len(frame), dtype=object)
    for labels, rows in groups:
        owners[rows] = "_".join(labels)

    def row(position: int) -> str:
        owner = owners[position]
        return f"row {position + 1}" + (f" (series {quote(owner)})" if owner else "")

    values = {name: numbers_of(frame[name], name, where, row) for name in columns}
    if recipe.aggregate == "count":
        values = {name: (~np.isnan(cells)).astype(float) for name, cells in values.items()}
    axis = recipe.time
    times = None if axis.column is None else read_times(frame[axis.column], axis, where, row)
    series = []
    for key, rows in groups:
        own = times.take(rows) if times is not None else nominal_times(axis, len(rows), freq, where)
        for column in columns or [None]:
            labels = [recipe.name or "", *key]
            if column is not None and (len(columns) > 1 or not any(labels)):
                labels.append(str(column))
            name = "_".join(label for label in labels if label)
            cells = np.ones(len(rows)) if column is None else values[column][rows]
            stamps, observed = _on_grid(
                own, cells, recipe, freq, f"{where} series {quote(name)}", notes
            )
            known = np.flatnonzero(~np.isnan(observed))
            if not known.size:
                raise InputError(
                    f"series {quote(name)} holds no observation", where, "remove it from the table"
                )
            span = slice(known[0], known[-1] + 1)
            series.append(Series(name, stamps[span], {"target": observed[span]}))
    return series


def several_targets(
    frame: pd.DataFrame,
    item: str,
    timestamp: str,
    targets: Sequence[str],
    where: str,
    notes: Notes,
) -> Series:
    """Return one item whose targets are columns of a table in time order, as they stand."""
    _need(frame, (timestamp, *targets), where)

    def row(position: int) -> str:
        return f"row {position + 1} (series {quote(item)})"

    times = read_times(frame[timestamp], TimeAxis(column=timestamp), where, row)
    return Series(
        item,
        stamps_of(times, None, notes),
        {name: numbers_of(frame[name], name, where, row) for name in targets},
    )


def _need(frame: pd.DataFrame, columns: Sequence[str], where: str) -> None:
    names = list(frame.columns)
    for column in columns:
        if names.count(column) != 1:
            what = "no column" if column not in names else "more than one column"
            raise InputError(f"{what} {quote(column)}", where, f"its columns: {quote(names)}")


def _value_columns(frame: pd.DataFrame, recipe: Recipe, where: str) -> list[str]:
    keys = [*recipe.id, *([recipe.time.column] if recipe.time.column else [])]
    _need(frame, keys, where)
    names = list(recipe.values)
    if isinstance(recipe.values, str):
        names = [name for name in frame.columns if name not in keys]
        names = [name for name in names if not ROW_NAMES.fullmatch(str(name))]
        if "" in names:
            raise InputError(
                f"column {list(frame.columns).index('') + 1} has no name",
                where,
                "name it, or list the columns of 'values'",
            )
    _need(frame, names, where)
    return names


def _split(
    frame: pd.DataFrame, recipe: Recipe, where: str
) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Yield the ids of each series and the positions of its rows."""

    if not recipe.id:
        yield (), np.arange(len(frame))
        return
    ids = {name: _texts(frame[name], name, where) for name in recipe.id}
    places = pd.DataFrame({"row": np.arange(len(frame))})
    keys = [pd.Series(column, dtype=object) for column in ids.values()]
    for key, rows in places.groupby(keys, sort=True, dropna=False)["row"]:
        yield tuple(key), rows.to_numpy()


def _texts(column: pd.Series, name: str, where: str) -> list[str]:
    """Return ids exactly as they are written."""
    blank = column.map(lambda cell: isinstance(cell, str) and not cell.strip()).astype(bool)
    absent = np.flatnonzero(column.isna() | blank)
    if absent.size:
        raise InputError(
            f"row {absent[0] + 1} has no id in column {quote(name)}",
            where,
            "give it one, or remove the row",
        )
    for position, cell in enumerate(column):
        if isinstance(cell, bool | np.bool_) or not isinstance(cell, str | int | np.integer):
            raise InputError(
                f"column {quote(name)} holds {quote(str(cell))} in row {position + 1}, which can "
                "be written in several ways",
                where,
                "write ids as text or as whole numbers",
            )
    return [str(cell) for cell in column]


# --- the grid -----------------------------------------------------------------------------------


def _on_grid(
    times: Times,
    values: np.ndarray,
    recipe: Recipe,
    freq: str | None,
    where: str,
    notes: Notes,
) -> tuple[np.ndarray, np.ndarray]:

    step = None if freq is None else offset_of(freq, where)
    if times.zone:
        where = f"{where} (times of {times.zone})"
    if recipe.aggregate is not None:
        if freq is None:
            raise InputError("'aggregate' needs 'freq'", where, "give 'freq'")
        local = times.zone and is_coarse(step, times.instants)
        if times.zone:
            note_zone(notes, times.zone, bool(local))
        order = np.argsort(times.instants, kind="stable")
        instants = times.instants[order]
        clock = times.clock[order] if local or not times.zone else instants
        steps, left_out = whole_steps(
            {"value": values[order]},
            clock,
            instants,
            offset_of("D", where) if freq in ("B", "C") else step,
            recipe.aggregate,
            where,
            gaps=recipe.gaps,
        )
        observed = steps["value"]
        if left_out:
            notes["rows_left_out"] = notes.get("rows_left_out", 0) + left_out
    else:
        observed = pd.Series(values, index=pd.DatetimeIndex(stamps_of(times, step, notes)))
    observed = observed.sort_index()
    if observed.index.has_duplicates:
        twice = observed.index[observed.index.duplicated()][0]
        raise InputError(
            f"two rows at {twice}",
            where,
            "name the columns that tell series apart in 'id'; where clocks were set back, write "
            "times with their offset from UTC",
        )
    if step is not None:
        observed = _filled(observed, step, freq, recipe.gaps, where)
    return observed.index.to_numpy().astype("datetime64[us]"), observed.to_numpy()


def _check_steps(first: pd.Timestamp, last: pd.Timestamp, step: pd.DateOffset, where: str) -> None:
    """Refuse a grid that would not fit into memory."""
    is_even = isinstance(step, pd.tseries.offsets.Tick | pd.tseries.offsets.Day)
    most = MOST_STEPS if is_even else MOST_UNEVEN_STEPS
    monday = pd.Timestamp("2000-01-03")
    if (last - first) / most > (monday + step) - monday:
        raise InputError(
            f"more than {most} steps of {step.freqstr!r} between {first} and {last}",
            where,
            "give a coarser 'freq', or mend the times",
        )


def _filled(
    observed: pd.Series, step: pd.DateOffset, freq: str, gaps: str, where: str
) -> pd.Series:
    """Put observations on the grid from the first to the last of them."""

    first, last = observed.index[0], observed.index[-1]
    _check_steps(first, last, step, where)
    try:
        grid = pd.date_range(first, last, freq=step, unit="us")
    except (ValueError, OverflowError):
        raise InputError(
            f"no grid of {quote(freq)} from {first} to {last}", where, "give the 'freq' of the rows"
        ) from None
    off = observed.index.difference(grid)
    if len(off):
        raise InputError(
            f"{off[0]} is not on the grid of frequency {quote(freq)}",
            where,
            "give the 'freq' of the rows, or an 'aggregate'",
        )
    absent = len(grid) - len(observed)
    if absent and gaps == "none":
        raise InputError(
            f"{absent} of {len(grid)} rows are absent, the first at "
            f"{grid.difference(observed.index)[0]}",
            where,
            "say what that means: gaps: missing, or gaps: zero",
        )
    return observed.reindex(grid, fill_value=0.0 if gaps == "zero" else np.nan)


# --- coarser grids ------------------------------------------------------------------------------


def resample_table(
    table: pa.Table, freq: str, aggregate: str, dataset: str, notes: Notes | None = None
) -> pa.Table:
    """Aggregate every series of a data set over the steps of a coarser grid that it covers whole.

    A step bears the time at which it begins: ``D`` a day's midnight, ``W-MON`` a week's Monday,
    ``MS`` the first of a month; with ``ME``, ``QE`` and ``YE`` its last day. A ``mean`` is that of
    the observed values; a ``sum`` that lacks some is NaN. `notes` gets ``rows_left_out``.

    Raises
    ------
    InputError
        If a series has no regular step, its steps are not finer than the grid's, or it covers no
        step of the grid whole.
    """
    targets = table.column_names[2:]
    series = []
    for row in table.to_batches(max_chunksize=1):
        stamps = pc.list_flatten(row[TIMESTAMP]).to_numpy()
        name = row[ID][0].as_py()
        where = f"series {quote(name)} of data set {dataset!r}"
        step = offset_of(freq, where)
        gaps = np.unique(np.diff(stamps))
        if len(gaps) != 1:
            raise InputError("the time between observations varies", where, "give a regular series")
        begin = step.rollforward(pd.Timestamp(stamps[0]))
        if begin + step - begin <= pd.Timedelta(gaps[0]):
            raise InputError(
                f"its steps are not finer than {freq!r}", where, "resample to a coarser grid"
            )
        columns = {target: pc.list_flatten(row[target]).to_numpy() for target in targets}
        found, left_out = whole_steps(
            columns, stamps, stamps, step, aggregate, where, week_bears_its_end=False
        )
        if notes is not None and left_out:
            notes["rows_left_out"] = notes.get("rows_left_out", 0) + left_out
        times = found.index.to_numpy().astype("datetime64[us]")
        values = {target: found[target].to_numpy(dtype=np.float64) for target in targets}
        series.append(Series(name, times, values))
    return conform(series_table(series), dataset)


def whole_steps(
    columns: Mapping[str, np.ndarray],
    clock: np.ndarray,
    instants: np.ndarray,
    step: pd.DateOffset,
    aggregate: str,
    where: str,
    *,
    gaps: str = "none",
    week_bears_its_end: bool = True,
) -> tuple[pd.DataFrame, int]:
    """Aggregate rows over steps, by pandas' resampling, and leave out steps that are not whole.

    A step is whole if no row is absent in it. Where most steps show how often rows come (each hour,
    each month), an absent one is a longer time between two rows, also where clocks are changed.
    Where they do not (business hours, events), only the first and the last step can be told to be
    cut: they begin later, or end earlier, than every other one. `columns` are values by name;
    `clock` decides on the step of a row, `instants`, their order, is UTC. With `gaps` of ``zero``
    nothing is absent inside.

    Returns
    -------
    The values of whole steps, by the time that pandas labels each with, and the number of rows left
    out.
    """
    rule = step.rule_code.split("-")[0]
    is_week = rule == "W"
    bears_end = rule in ENDS and (week_bears_its_end or not is_week)
    sides = {} if bears_end == (rule in ENDS) else {"closed": "left", "label": "left"}
    index = pd.DatetimeIndex(clock)
    _check_steps(index.min(), index.max(), step, where)
    frame = pd.DataFrame(dict(columns), index=index)
    groups = frame.resample(step, **sides)
    counts = groups.size()
    found = groups.mean() if aggregate == "mean" else groups.sum(min_count=1)
    if aggregate != "mean" and gaps != "zero":
        found = found.where(groups.count().eq(counts, axis=0))
    labels = counts.index
    if bears_end:
        ends = labels + DAY
        begins = (labels - step) + DAY
    else:
        begins, ends = labels, labels + step
    seen = counts.to_numpy() > 0
    lead, lag, is_whole = _coverage(
        clock, instants, begins[seen].to_numpy(), ends[seen].to_numpy(), counts.to_numpy()[seen]
    )
    inner, keep = is_whole[1:-1], is_whole.copy()
    if inner.size and inner.mean() <= 0.5:
        keep[:] = True
        keep[0] = lead[0] <= lead[1:].max()
        keep[-1] = lag[-1] <= lag[:-1].max()
    elif gaps == "zero":
        keep[1:-1] = True
    if not keep.any():
        raise InputError(
            f"it covers no step of {step.freqstr!r} whole", where, "resample to a finer grid"
        )
    left_out = int(counts.to_numpy()[seen][~keep].sum())
    return found[seen][keep], left_out


def _coverage(
    clock: np.ndarray,
    instants: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    counts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each step the time before its first row and after its last, and if it is whole."""
    order = np.argsort(clock, kind="stable")  # where clocks are set back, another than of instants
    last = np.cumsum(counts) - 1
    first = last - counts + 1
    lead = (clock[order][first] - begins).astype("timedelta64[us]").astype(np.int64)
    lag = (ends - clock[order][last]).astype("timedelta64[us]").astype(np.int64)
    between = np.diff(np.unique(instants)).astype(np.int64)
    if not between.size:
        return lead, lag, np.zeros(len(counts), dtype=bool)
    usual = np.median(between)
    # Months are 28 to 31 days: what is half as long again lacks a row.
    jumps = np.diff(instants).astype(np.int64) > 1.5 * usual
    before = np.concatenate([[0], np.cumsum(jumps)])  # jumps before each row, in order of instants
    inside = before[last] == before[first]
    from_previous = np.concatenate([[False], ~jumps[first[1:] - 1]])
    to_next = np.concatenate([from_previous[1:], [False]])
    # A first row at the usual place says as much as one that follows the step before.
    inner = slice(1, -1)
    usual_lead, usual_lag = (
        (np.median(lead[inner]), np.median(lag[inner])) if len(lead) > 2 else (0.5 * usual, usual)
    )
    at_begin = lead <= usual_lead + 0.1 * usual
    at_end = lag <= usual_lag + 0.1 * usual
    return lead, lag, inside & (from_previous | at_begin) & (to_next | at_end)
