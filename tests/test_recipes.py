"""Series on a coarser grid, against loops over their steps."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from chronos2_attention.errors import InputError
from study.data.recipes import resample_table
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
