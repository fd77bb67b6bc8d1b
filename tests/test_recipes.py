"""Series on a coarser grid, against loops over their steps."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from seen import seen

from chronos2_attention.errors import InputError
from study.config.datasets import Recipe, TimeAxis
from study.data.recipes import cook, resample_table
from study.data.series_table import Series, series_table, validate


def hours(start, count, seed=0, missing=()):
    values = np.random.default_rng(seed).normal(size=count)
    values[list(missing)] = np.nan
    stamps = pd.date_range(start, periods=count, freq="h").to_numpy().astype("datetime64[us]")
    return Series("a", stamps, {"u": values, "v": values * 2})


def by_hand(series, begin_of, length, how):
    """Collect the values of each step whose beginning `begin_of` tells, and keep whole steps."""
    steps: dict[pd.Timestamp, list[float]] = {}
    for stamp, value in zip(pd.DatetimeIndex(series.timestamps), series.targets["u"], strict=True):
        steps.setdefault(begin_of(stamp), []).append(value)
    return {
        begin: how(np.array(values))
        for begin, values in steps.items()
        if len(values) == length(begin)
    }


MONDAY = {"W-MON": lambda t: t.normalize() - pd.Timedelta(days=t.weekday())}
BEGINS = {"D": lambda t: t.normalize(), "MS": lambda t: t.normalize().replace(day=1)} | MONDAY
LENGTHS = {"D": lambda t: 24, "W-MON": lambda t: 168, "MS": lambda t: 24 * t.days_in_month}


@pytest.mark.parametrize("freq", ["D", "W-MON", "MS"])
@pytest.mark.parametrize("start", ["2021-01-04 00:00", "2021-01-01 07:00"])
def test_means_and_sums_of_whole_steps(freq, start):
    series = hours(start, 24 * 130 + 5, missing=range(30, 90))
    table = series_table([series])
    ways = {
        "mean": lambda v: np.nan if np.isnan(v).all() else np.nanmean(v),
        "sum": np.sum,
    }
    for aggregate, how in ways.items():
        found = resample_table(table, freq, aggregate, "d")
        wanted = by_hand(series, BEGINS[freq], LENGTHS[freq], how)
        assert pd.DatetimeIndex(found["timestamp"][0].as_py()).tolist() == list(wanted)
        np.testing.assert_allclose(found["u"][0].as_py(), list(wanted.values()), atol=1e-9)
        np.testing.assert_allclose(found["v"][0].as_py(), 2 * np.array(list(wanted.values())))
        assert validate(found, "d").split("-")[0] == freq.split("-")[0]


def test_series_of_different_ends_keep_their_own():
    rows = [hours("2021-01-01", 24 * 5), replace(hours("2021-02-01", 80), id="b")]
    found = resample_table(series_table(rows), "D", "mean", "d")
    assert [len(stamps) for stamps in found["timestamp"].to_pylist()] == [5, 3]


@pytest.mark.parametrize(
    ("stamps", "freq", "message"),
    [
        (["2021-01-01", "2021-01-02", "2021-01-04"], "W-MON", "varies"),
        (["2021-01-01", "2021-01-02", "2021-01-03"], "D", "not finer"),
        (["2021-01-01", "2021-01-02", "2021-01-03"], "h", "not finer"),
        (["2021-01-01", "2021-01-02", "2021-01-03"], "W-MON", "no step of 'W-MON' whole"),
    ],
)
def test_a_grid_that_does_not_fit_is_one_line(stamps, freq, message):
    times = np.array(stamps, dtype="datetime64[us]")
    table = series_table([Series("a", times, {"u": np.ones(len(times))})])
    with pytest.raises(InputError, match=rf"{message}.*series 'a' of data set 'd'"):
        resample_table(table, freq, "mean", "d")


# --- rows aggregated by a recipe ----------------------------------------------------------------

ALIASES = ["D", "2D", "W", "W-MON", "W-FRI", "MS", "ME", "QS", "QE", "QS-FEB", "YS", "YE"]


@pytest.mark.parametrize("aggregate", ["sum", "mean", "count"])
@pytest.mark.parametrize("raw", ["6h", "D"])
@pytest.mark.parametrize("freq", ALIASES)
@pytest.mark.parametrize("start", ["2015-01-01", "2015-03-17"])
def test_steps_are_those_of_pandas_without_those_that_are_not_whole(start, freq, raw, aggregate):
    stamps = pd.date_range(start, periods=2000 if raw == "D" else 7000, freq=raw)
    stamps += pd.Timedelta(0 if raw == "D" else "12h")
    values = np.random.default_rng(0).normal(size=len(stamps))
    frame = pd.DataFrame({"t": stamps.astype(str), "v": values})
    recipe = Recipe(TimeAxis(column="t"), ("v",), aggregate=aggregate)
    notes = {}
    (series,) = cook(frame, recipe, freq, "x", notes)
    # How many rows a step has where the rows go on for years before and after. Steps of several
    # days are counted from the first of them.
    long = pd.date_range(stamps[0] - 3000 * stamps.freq, stamps[-1] + 3000 * stamps.freq, freq=raw)
    long = long[long >= stamps[0].normalize()] if freq == "2D" else long
    due = pd.Series(1, long).resample(freq).sum()
    groups = pd.Series(values, stamps).resample(freq)
    whole = groups.count() == due.reindex(groups.count().index)
    wanted = getattr(groups, aggregate)()[whole]
    assert pd.DatetimeIndex(series.timestamps).equals(wanted.index.astype("datetime64[us]"))
    np.testing.assert_allclose(series.targets["target"], wanted, atol=1e-9)
    left_out = int(groups.count()[~whole].sum())
    assert notes.get("rows_left_out", 0) == left_out
    seen("aggregation", f"{raw} to {freq} by {aggregate} from {start}", f"{left_out} rows left out")


@pytest.mark.parametrize("raw", ["MS", "ME"])
@pytest.mark.parametrize("freq", ["QS", "QE", "YS", "YE"])
def test_months_are_whole_quarters_and_years_however_long_they_are(raw, freq):
    stamps = pd.date_range("2010-02-01", periods=100, freq=raw)
    frame = pd.DataFrame({"t": stamps.astype(str), "v": 1.0})
    (series,) = cook(frame, Recipe(TimeAxis(column="t"), ("v",), aggregate="count"), freq, "x")
    assert set(series.targets["target"]) == {3 if freq[0] == "Q" else 12}
    seen("aggregation", f"{raw} to {freq}", f"{len(series.timestamps)} whole steps")


HOURS = pd.date_range("2020-01-01", periods=24 * 9, freq="h")


@pytest.mark.parametrize(
    ("stamps", "gaps", "wanted"),
    [
        (HOURS, "none", [24] * 9),
        (HOURS[5:], "none", [24] * 8),
        (HOURS[5:-3], "none", [24] * 7),
        (HOURS.delete(50), "missing", [24, 24, np.nan, *[24] * 6]),
        (HOURS.delete(50), "zero", [24, 24, 23, *[24] * 6]),
        (HOURS.delete(0), "zero", [24] * 8),
        # Business hours: no day has all hours, the first and the last are cut.
        (HOURS[(HOURS.hour > 6) & (HOURS.hour < 20)], "none", [13] * 9),
        (HOURS[(HOURS.hour > 6) & (HOURS.hour < 20)][3:-2], "none", [13] * 7),
        # Events: nothing says how often they come.
        (HOURS[(HOURS.hour * HOURS.day) % 7 == 3], "missing", None),
    ],
    ids=range(9),
)
def test_what_absent_rows_mean_for_a_step(stamps, gaps, wanted):
    frame = pd.DataFrame({"t": stamps.astype(str), "v": 1.0})
    recipe = Recipe(TimeAxis(column="t"), ("v",), aggregate="count", gaps=gaps)
    (series,) = cook(frame, recipe, "D", "x")
    if wanted is not None:
        np.testing.assert_array_equal(series.targets["target"], wanted)
    seen("aggregation", f"{len(stamps)} rows to days, gaps: {gaps}", series.targets["target"])


def test_a_step_that_lacks_a_row_is_an_error_where_none_should_be_absent():
    frame = pd.DataFrame({"t": HOURS.delete(50).astype(str), "v": 1.0})
    recipe = Recipe(TimeAxis(column="t"), ("v",), aggregate="sum")
    with pytest.raises(InputError, match=r"1 of 9 rows are absent.*2020-01-03"):
        cook(frame, recipe, "D", "x")
    with pytest.raises(InputError, match="no step of 'YS-JAN' whole"):
        cook(frame, recipe, "YS", "x")


def test_a_sum_that_lacks_a_value_is_missing():
    frame = pd.DataFrame({"t": HOURS.astype(str), "v": 1.0})
    frame.loc[50, "v"] = np.nan
    for how, wanted in {"sum": np.nan, "mean": 1.0}.items():
        recipe = Recipe(TimeAxis(column="t"), ("v",), aggregate=how)
        (series,) = cook(frame, recipe, "D", "x")
        np.testing.assert_equal(series.targets["target"][2], wanted)


@pytest.mark.parametrize("freq", ["ME", "QE", "YE"])
def test_data_sets_of_a_url_may_be_resampled_to_ends_too(freq):
    series = hours("2019-11-05 03:00", 24 * 1300)
    notes = {}
    found = resample_table(series_table([series]), freq, "sum", "d", notes)
    groups = pd.Series(series.targets["u"], pd.DatetimeIndex(series.timestamps)).resample(freq)
    wanted = groups.sum()[1:-1]
    assert pd.DatetimeIndex(found["timestamp"][0].as_py()).tolist() == wanted.index.tolist()
    np.testing.assert_allclose(found["u"][0].as_py(), wanted, atol=1e-9)
    assert notes["rows_left_out"] == groups.count().iloc[[0, -1]].sum()
    seen("aggregation", f"url, hours to {freq}", f"{notes['rows_left_out']} rows left out")
