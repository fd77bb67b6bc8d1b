"""From a data frame to regular series, by a recipe of the registry, which is data and not code."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from chronos2_attention.errors import InputError, quote
from study.config.datasets import Recipe, TimeAxis, UrlDataset
from study.data.cells import (
    Notes,
    Times,
    need_columns,
    nominal_times,
    number_of,
    numbers_of,
    offset_of,
    read_times,
    stamps_of,
    texts,
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
    """Return the regular series of a table, one row an observation, without NaN at their ends.

    Each value column becomes an item with the one target ``target``, unless the recipe keeps
    columns. `where` names data set and table; `notes` gets ``time_zone`` and ``rows_left_out``.
    """
    notes = {} if notes is None else notes
    columns = _value_columns(frame, recipe, where)
    if not len(frame):
        raise InputError("the table holds no observation", where, "give it rows below its header")
    ids = [texts(frame[name], name, where) for name in recipe.id]
    keys = list(zip(*ids, strict=True)) if ids else [()] * len(frame)
    groups: dict[tuple[str, ...], list[int]] = {}
    for position, key in enumerate(keys):
        groups.setdefault(key, []).append(position)

    def row(position: int) -> str:
        owner = "_".join(keys[position])
        return f"row {position + 1}" + (f" (series {quote(owner)})" if owner else "")

    values = {name: numbers_of(frame[name], name, where, row) for name in columns}
    if recipe.aggregate == "count":
        values = {name: (~np.isnan(cells)).astype(float) for name, cells in values.items()}
    values = values or {"": np.ones(len(frame))}
    labels_of = {}
    for name in recipe.covariates:
        values[name], labels_of[name] = _covariate(frame[name], name, where, row)
    if recipe.aggregate and any(labels is not None for labels in labels_of.values()):
        what = f"a covariate of labels among {quote(list(labels_of))} has no {recipe.aggregate}"
        raise InputError(what, where, "write it as numbers, or leave 'aggregate' out")
    axis = recipe.time
    times = None if axis.column is None else read_times(frame[axis.column], axis, where, row)
    series = []
    for key, rows in sorted(groups.items()):
        if times is None:
            own = nominal_times(axis, len(rows), freq, where)
        else:
            own = Times(times.instants[rows], times.clock[rows], times.zone)
        label = [recipe.name or "", *key]
        together = [("", list(values))] if recipe.keeps_columns else [(c, [c]) for c in values]
        for column, names in together:
            labels = list(label)
            if column and (len(columns) > 1 or not any(labels)):
                labels.append(str(column))
            name = "_".join(filter(None, labels)) or ("all" if recipe.keeps_columns else "")
            place = f"{where} series {quote(name)}"
            grid = {}
            for c in names:
                gaps = "missing" if c in labels_of and recipe.gaps == "zero" else recipe.gaps
                how = replace(recipe, gaps=gaps)
                grid[c] = _on_grid(own, values[c][rows], how, freq, place, notes)
            found = pd.DataFrame(grid)
            seen = found[[c for c in names if c not in labels_of]].notna().any(axis=1)
            if not seen.any():
                raise InputError("it holds no observation", place, "remove it from the table")
            found = found[seen.idxmax() : seen[::-1].idxmax()]
            stamps = found.index.to_numpy().astype("datetime64[us]")
            cells = {c: _labelled(found[c].to_numpy(), labels_of.get(c)) for c in names}
            static = {c: _static(frame[c].iloc[rows], c, place) for c in recipe.static}
            cells = cells if recipe.keeps_columns else {"target": cells[column]}
            series.append(Series(name, stamps, cells, static))
    return series


def _covariate(
    column: pd.Series, name: str, where: str, row: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return numbers, or numbers of labels (NaN where missing) and the labels."""
    known = [cell for cell in column if cell is not None and cell == cell and str(cell) != ""]
    truths = {str(cell).lower() for cell in known} <= {"true", "false"}
    if not truths:
        try:
            return numbers_of(column, name, where, row), None
        except InputError:
            if any(_is_number(cell) for cell in known):
                raise  # numbers but for a slip
    of = {c: str(c).lower() == "true" if truths else str(c) for c in known}
    labels = np.array(sorted(set(of.values())), dtype=object)
    number = {label: float(at) for at, label in enumerate(labels)}
    cells = [number[of[cell]] if cell in of else np.nan for cell in column]
    return np.array(cells, dtype=np.float64), labels


def _is_number(cell: object) -> bool:
    try:
        return not np.isnan(number_of(cell))
    except ValueError:
        return False


def _labelled(cells: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Return the labels of numbers, None where missing; numbers of no labels as they are."""
    if labels is None:
        return cells
    found = np.array([None] * len(cells), dtype=object)
    there = ~np.isnan(cells)
    found[there] = labels[cells[there].astype(int)]
    return found


def _static(column: pd.Series, name: str, where: str) -> object:
    """Return the one value of an item, None if it has none."""
    values = list(dict.fromkeys(c for c in column if c is not None and c == c and str(c) != ""))
    if len(values) > 1:
        what = f"static column {quote(name)} has {quote(values[0])} and {quote(values[1])}"
        raise InputError(what, where, "give one value an item, or name it in 'covariates'")
    value = values[0] if values else None
    return value.item() if isinstance(value, np.generic) else value


def several_targets(
    frame: pd.DataFrame, item: str, spec: UrlDataset, where: str, notes: Notes
) -> Series:
    """Return one item whose targets are columns of a table in time order, as they stand."""
    need_columns(list(frame.columns), (spec.timestamp, *spec.targets), where)

    def row(position: int) -> str:
        return f"row {position + 1} (series {quote(item)})"

    times = read_times(frame[spec.timestamp], TimeAxis(column=spec.timestamp), where, row)
    targets = {name: numbers_of(frame[name], name, where, row) for name in spec.targets}
    return Series(item, stamps_of(times, None, notes), targets)


def _value_columns(frame: pd.DataFrame, recipe: Recipe, where: str) -> list[str]:
    names = list(frame.columns)
    keys = [*recipe.id, *([recipe.time.column] if recipe.time.column else [])]
    keys += [*recipe.covariates, *recipe.static]
    values = list(recipe.values)
    if isinstance(recipe.values, str):
        values = [n for n in names if n not in keys and not ROW_NAMES.fullmatch(str(n))]
        if "" in values:
            what = f"column {names.index('') + 1} has no name"
            raise InputError(what, where, "name it, or list the columns of 'values'")
    need_columns(names, (*keys, *values), where)
    return values


def _on_grid(
    times: Times, values: np.ndarray, recipe: Recipe, freq: str | None, where: str, notes: Notes
) -> pd.Series:
    step = None if freq is None else offset_of(freq, where)
    if times.zone:
        where = f"{where} (times of {times.zone})"
    if recipe.aggregate is not None:
        if freq is None:
            raise InputError("'aggregate' needs 'freq'", where, "give 'freq'")
        order = np.argsort(times.instants, kind="stable")
        observed = whole_steps(
            {"value": values[order]},
            Times(times.instants[order], stamps_of(times, step, notes, floor=False)[order]),
            offset_of("D", where) if freq in ("B", "C") else step,
            recipe.aggregate,
            where,
            notes,
            gaps=recipe.gaps,
        )["value"]
    else:
        observed = pd.Series(values, pd.DatetimeIndex(stamps_of(times, step, notes))).sort_index()
    if observed.index.has_duplicates:
        twice = observed.index[observed.index.duplicated()][0]
        mend = "name the columns that tell series apart in 'id'; where clocks were set back, write "
        raise InputError(f"two rows at {twice}", where, f"{mend}times with their offset from UTC")
    return observed if step is None else _filled(observed, step, recipe.gaps, where)


def _check_steps(first: pd.Timestamp, last: pd.Timestamp, step: pd.DateOffset, where: str) -> None:
    """Refuse a grid that would not fit into memory."""
    is_even = isinstance(step, pd.tseries.offsets.Tick | pd.tseries.offsets.Day)
    most = MOST_STEPS if is_even else MOST_UNEVEN_STEPS
    monday = pd.Timestamp("2000-01-03")
    if (last - first) / most > (monday + step) - monday:
        what = f"more than {most} steps of {step.freqstr!r} between {first} and {last}"
        raise InputError(what, where, "give a coarser 'freq', or mend the times")


def _filled(observed: pd.Series, step: pd.DateOffset, gaps: str, where: str) -> pd.Series:
    """Put observations on the grid from the first to the last of them."""
    first, last = observed.index[0], observed.index[-1]
    _check_steps(first, last, step, where)
    mend = "give the 'freq' of the rows, or an 'aggregate'"
    try:
        grid = pd.date_range(first, last, freq=step, unit="us")
    except (ValueError, OverflowError):
        what = f"no grid of {step.freqstr!r} from {first} to {last}"
        raise InputError(what, where, mend) from None
    off = observed.index.difference(grid)
    if len(off):
        what = f"{off[0]} is not on the grid of frequency {step.freqstr!r}"
        raise InputError(what, where, mend)
    absent = len(grid) - len(observed)
    if absent and gaps == "none":
        hole = grid.difference(observed.index)[0]
        what = f"{absent} of {len(grid)} rows are absent, the first at {hole}"
        raise InputError(what, where, "say what that means: gaps: missing, or gaps: zero")
    return observed.reindex(grid, fill_value=0.0 if gaps == "zero" else np.nan)


def resample_table(
    table: pa.Table, freq: str, aggregate: str, dataset: str, notes: Notes | None = None
) -> pa.Table:
    """Aggregate every series of a data set over the steps of a coarser grid that it covers whole.

    A step bears the time at which it begins, with ``ME``, ``QE``, ``YE`` its last day. A ``mean``
    is that of the observed values; a ``sum`` that lacks some is NaN.
    """
    series = []
    for row in table.to_batches(max_chunksize=1):
        name = row[ID][0].as_py()
        where = f"series {quote(name)} of data set {dataset!r}"
        cells = {n: pc.list_flatten(row[n]).to_numpy() for n in table.column_names[1:]}
        stamps = cells.pop(TIMESTAMP)
        step = offset_of(freq, where)
        gaps = np.unique(np.diff(stamps))
        if len(gaps) != 1:
            raise InputError("the time between observations varies", where, "give a regular series")
        begin = step.rollforward(pd.Timestamp(stamps[0]))
        if begin + step - begin <= pd.Timedelta(gaps[0]):
            what = f"its steps are not finer than {freq!r}"
            raise InputError(what, where, "resample to a coarser grid")
        found = whole_steps(
            cells, Times(stamps, stamps), step, aggregate, where, notes, week_bears_its_end=False
        )
        values = {target: found[target].to_numpy() for target in found}
        series.append(Series(name, found.index.to_numpy(), values))
    return conform(series_table(series), dataset)


def whole_steps(
    columns: Mapping[str, np.ndarray],
    times: Times,
    step: pd.DateOffset,
    aggregate: str,
    where: str,
    notes: Notes | None,
    *,
    gaps: str = "none",
    week_bears_its_end: bool = True,
) -> pd.DataFrame:
    """Aggregate rows over steps, by pandas' resampling, and leave out steps that lack a row.

    An absent row is a longer time between two; where rows are too irregular to tell, only a first
    and a last step may be cut: they begin later, or end earlier, than every other. The clock
    decides on a row's step, the instants are in order; ``zero`` `gaps` lack nothing inside.
    """
    rule = step.rule_code.split("-")[0]
    week_turned = rule == "W" and not week_bears_its_end
    sides = {"closed": "left", "label": "left"} if week_turned else {}
    index = pd.DatetimeIndex(times.clock)
    _check_steps(index.min(), index.max(), step, where)
    frame = pd.DataFrame(dict(columns), index=index)
    groups = frame.resample(step, **sides)
    counts = groups.size()
    found = groups.mean() if aggregate == "mean" else groups.sum(min_count=1)
    if aggregate != "mean" and gaps != "zero":
        found = found.where(groups.count().eq(counts, axis=0))
    seen = counts.to_numpy() > 0
    found, counts = found[seen], counts[seen]
    if rule in ENDS and not week_turned:
        ends = counts.index + DAY
        begins = counts.index - step + DAY
    else:
        begins, ends = counts.index, counts.index + step
    lead, lag, is_whole = _coverage(times, begins, ends, counts.to_numpy())
    inner, keep = is_whole[1:-1], is_whole.copy()
    if inner.size and inner.mean() <= 0.5:
        keep[:] = True
        keep[0] = lead[0] <= lead[1:].max()
        keep[-1] = lag[-1] <= lag[:-1].max()
    elif gaps == "zero":
        keep[1:-1] = True
    if not keep.any():
        what = f"it covers no step of {step.freqstr!r} whole"
        raise InputError(what, where, "resample to a finer grid")
    if notes is not None and not keep.all():
        notes["rows_left_out"] = notes.get("rows_left_out", 0) + int(counts[~keep].sum())
    return found[keep]


def _coverage(
    times: Times, begins: pd.DatetimeIndex, ends: pd.DatetimeIndex, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each step the time before its first row and after its last, and if it is whole."""
    clock = np.sort(times.clock)  # where clocks are set back, of another order than the instants
    last = np.cumsum(counts) - 1
    first = last - counts + 1
    lead = (clock[first] - begins.to_numpy()).astype("timedelta64[us]").astype(np.int64)
    lag = (ends.to_numpy() - clock[last]).astype("timedelta64[us]").astype(np.int64)
    between = np.diff(np.unique(times.instants)).astype(np.int64)
    if not between.size:
        return lead, lag, np.zeros(len(counts), dtype=bool)
    usual = np.median(between)
    # Months are 28 to 31 days: what is half as long again lacks a row.
    jumps = np.diff(times.instants).astype(np.int64) > 1.5 * usual
    before = np.concatenate([[0], np.cumsum(jumps)])  # jumps before each row, in order of instants
    inside = before[last] == before[first]
    from_previous = np.concatenate([[False], ~jumps[first[1:] - 1]])
    to_next = np.concatenate([from_previous[1:], [False]])
    # A first row at the usual place says as much as one that follows the step before.
    usual_lead = np.median(lead[1:-1]) if len(lead) > 2 else 0.5 * usual
    usual_lag = np.median(lag[1:-1]) if len(lag) > 2 else usual
    at_begin = lead <= usual_lead + 0.1 * usual
    at_end = lag <= usual_lag + 0.1 * usual
    return lead, lag, inside & (from_previous | at_begin) & (to_next | at_end)
