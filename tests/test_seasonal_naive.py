"""Seasonal Naive against a plain loop, and against the figures published with fev."""

from __future__ import annotations

import fev
import numpy as np
import pandas as pd
import pyarrow.dataset as pads
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.config.suites import TaskSpec
from study.data.series_table import quiet_frequencies
from study.evaluation.scores import score_files
from study.forecasts.files import ForecastWriter, read_metadata, read_window
from study.forecasts.seasonal_naive import fill_gaps, forecast_task, seasonal_naive
from study.jobs.files import atomic_path

LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
PUBLISHED_HERE = [
    "exchange_rate",
    "monash_hospital",
    "monash_m3_quarterly",
    "monash_m3_yearly",
    "monash_tourism_quarterly",
]


def loop_fill(series: list[float]) -> list[float]:
    frame = pd.Series(series, dtype=float)
    return frame.ffill().bfill().fillna(0.0).tolist()


def loop_forecast(series: list[float], horizon: int, seasonality: int) -> list[float]:
    history = loop_fill(series)
    if len(history) < seasonality:
        return [float(np.mean(history))] * horizon
    for _ in range(horizon):
        history.append(history[-seasonality])
    return history[-horizon:]


values_or_gap = st.one_of(st.floats(-1e6, 1e6), st.just(float("nan")))
panels = st.lists(st.lists(values_or_gap, min_size=1, max_size=20), min_size=1, max_size=6)


def flat(panel: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([np.array(s, float) for s in panel]), np.array([len(s) for s in panel])


@settings(deadline=None)
@given(panels)
def test_gaps_are_filled_within_each_series(panel):
    expected = np.concatenate([loop_fill(s) for s in panel])
    np.testing.assert_array_equal(fill_gaps(*flat(panel)), expected)


@settings(deadline=None)
@given(panels, st.integers(1, 15), st.integers(1, 8))
def test_forecast_equals_a_plain_loop(panel, horizon, seasonality):
    point = seasonal_naive(*flat(panel), horizon=horizon, seasonality=seasonality)
    expected = np.array([loop_forecast(s, horizon, seasonality) for s in panel])
    assert point.shape == (len(panel), horizon)
    np.testing.assert_allclose(point, expected, rtol=1e-12, atol=1e-9)


def test_file_of_forecasts(tmp_path):
    stamps = list(pd.date_range("2020-01-01", periods=20, freq="D"))
    data = tmp_path / "data.parquet"
    pd.DataFrame(
        {
            "id": ["b", "a"],
            "timestamp": [stamps, stamps[:15]],
            "target": [np.arange(20.0), np.arange(15.0) * 10],
        }
    ).to_parquet(data)
    task = fev.Task(
        dataset_path=str(data),
        horizon=3,
        num_windows=2,
        seasonality=2,
        extra_metrics=["WQL"],
        quantile_levels=[0.1, 0.9],
        task_name="tiny",
    )
    with quiet_frequencies():
        task.load_full_dataset(num_proc=0)
    with ForecastWriter(tmp_path / "f.parquet", [0.1, 0.9], {"variant": "v"}) as writer:
        forecast_task(task, writer)
    table = read_window(pads.dataset(tmp_path / "f.parquet"), "tiny", 1, "target")
    assert table.column_names == [
        *("task_name", "window_index", "item_id", "target", "context_length"),
        *("predictions", "0.1", "0.9"),
    ]
    assert table.column("item_id").to_pylist() == ["a", "b"]
    assert table.column("context_length").to_pylist() == [12, 17]
    assert table.column("predictions").to_pylist() == [[100.0, 110.0, 100.0], [15.0, 16.0, 15.0]]
    assert table.column("0.1").to_pylist() == table.column("0.9").to_pylist()
    assert read_metadata(tmp_path / "f.parquet") == {"variant": "v"}


def check_against_published(task: TaskSpec, data, repo_root, tmp_path) -> None:
    published = pd.read_csv(repo_root / "config/reference/published_cbii_seasonal_naive.csv")
    figure = published.set_index("task_name").loc[task.name]
    evaluation = fev.Task(
        dataset_path=str(data),
        horizon=task.horizon,
        initial_cutoff=task.initial_cutoff,
        seasonality=task.seasonality,
        extra_metrics=["WQL"],
        quantile_levels=LEVELS,
        generate_univariate_targets_from=task.generate_univariate_targets_from,
        task_name=task.name,
    )
    with quiet_frequencies():
        evaluation.load_full_dataset(num_proc=0)
    metadata = {"study": "cbii", "variant": "seasonal_naive", "model": "seasonal_naive"}
    forecasts = tmp_path / "f.parquet"
    with atomic_path(forecasts) as path, ForecastWriter(path, LEVELS, metadata) as writer:
        forecast_task(evaluation, writer)
    row = score_files([evaluation], (forecasts, tmp_path / "s.parquet"))[0].iloc[0]
    assert row["MASE"] == pytest.approx(figure["MASE"], rel=1e-6)
    assert row["WQL"] == pytest.approx(figure["WQL"], rel=1e-6)


@pytest.mark.parametrize("name", PUBLISHED_HERE)
def test_equals_the_published_figures(name, mirror, repo_root, tmp_path):
    published = pd.read_csv(repo_root / "config/reference/published_cbii_seasonal_naive.csv")
    row = published.set_index("task_name").loc[name]
    task = TaskSpec(
        name=name,
        dataset=name,
        horizon=int(row["horizon"]),
        seasonality=int(row["seasonality"]),
        initial_cutoff=int(row["initial_cutoff"]),
    )
    data = mirror / "autogluon" / "chronos_datasets" / f"{name}.parquet"
    check_against_published(task, data, repo_root, tmp_path)


def test_equals_the_published_figures_on_etth(mirror, repo_root, tmp_path):
    rows = []
    for name in ("ETTh1", "ETTh2"):
        frame = pd.read_csv(mirror / "ETT-small" / f"{name}.csv")
        columns = {c: frame[c].to_numpy() for c in frame.columns.drop("date")}
        rows.append({"id": name, "timestamp": list(pd.to_datetime(frame["date"])), **columns})
    data = tmp_path / "ETTh.parquet"
    pd.DataFrame(rows).to_parquet(data)
    task = TaskSpec(
        name="ETTh",
        dataset="ETTh",
        horizon=24,
        seasonality=24,
        initial_cutoff=-24,
        generate_univariate_targets_from="__ALL__",
    )
    check_against_published(task, data, repo_root, tmp_path)
