"""Scores against fev's own metrics, on series with gaps, constants and several windows."""

from __future__ import annotations

import fev
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from chronos2_attention.errors import InputError
from study.data.series_table import quiet_frequencies
from study.evaluation.scores import (
    RUN_COLUMNS,
    aggregate_scores,
    run_of,
    score_files,
    seasonal_error,
)
from study.forecasts.files import ForecastWriter, matrix
from study.forecasts.windows import METRICS, lagged_differences

LEVELS = [0.1, 0.25, 0.5, 0.9]
RUN = {
    "study": "s@m",
    "variant": "sparse_r8",
    "model": "m",
    "weights_fingerprint": "abc",
    "device": "cpu",
    "dtype": "float32",
    "backend": "reference",
}


def make_task(folder, name, *, targets=("target",), windows=3, seasonality=4, epsilon=0.0):
    """A task on random series: one with gaps, one constant, one of another length."""
    generator = np.random.default_rng(len(name))
    rows = []
    for index, length in enumerate([60, 60, 45, 80]):
        row = {
            "id": f"i{9 - index}",
            "timestamp": list(pd.date_range("2020-01-01", periods=length, freq="D")),
        }
        for target in targets:
            values = generator.normal(size=length).cumsum() * 10.0**index
            if index == 1:
                values[:] = 3.0
            if index == 2:
                values[generator.random(length) < 0.3] = np.nan
            row[target] = values
        rows.append(row)
    path = folder / f"{name}.parquet"
    pd.DataFrame(rows).to_parquet(path)
    task = fev.Task(
        dataset_path=str(path),
        horizon=5,
        num_windows=windows,
        seasonality=seasonality,
        eval_metric={"name": "SQL", "epsilon": epsilon},
        extra_metrics=[{"name": name, "epsilon": epsilon} for name in ("MASE", "WAPE", "WQL")],
        quantile_levels=LEVELS,
        target=list(targets) if len(targets) > 1 else targets[0],
        task_name=name,
    )
    with quiet_frequencies():
        task.load_full_dataset(num_proc=0)
    return task


def write_forecasts(path, tasks, *, run=RUN, reverse=False, levels=LEVELS, spoil=None):
    """Random forecasts; also returned as fev takes them."""
    generator = np.random.default_rng(1)
    given = {}
    with ForecastWriter(path, levels, run) as writer:
        for task in tasks:
            for index, window in enumerate(task.iter_windows()):
                past, _ = window.get_input_data()
                given.setdefault(task.task_name, []).append({})
                ids = list(past[task.id_column])
                lengths = np.array([len(x) for x in past[task.timestamp_column]])
                for target in task.target_columns:
                    quantiles = np.sort(
                        generator.normal(size=(len(ids), task.horizon, len(levels))) * 20, axis=-1
                    )
                    point = quantiles[:, :, len(levels) // 2] + 0.5
                    if spoil is not None:
                        point[0, 0] = spoil
                    given[task.task_name][-1][target] = [
                        {
                            "predictions": list(point[i]),
                            **{str(q): list(quantiles[i, :, k]) for k, q in enumerate(levels)},
                        }
                        for i in range(len(ids))
                    ]
                    order = slice(None, None, -1 if reverse else 1)
                    writer.write_window(
                        task.task_name,
                        index,
                        target,
                        ids[order],
                        lengths[order],
                        point[order],
                        quantiles[order],
                    )
    return given


@pytest.fixture
def tasks(tmp_path):
    return [
        make_task(tmp_path, "one"),
        make_task(tmp_path, "naive_scale", windows=1, seasonality=1),
        make_task(tmp_path, "two_targets", targets=("x", "y"), windows=2),
        make_task(tmp_path, "least_divisor", targets=("x", "y"), epsilon=30.0),
    ]


@pytest.mark.parametrize("reverse", [False, True])
def test_equal_to_fev_per_task(tasks, tmp_path, reverse):
    forecasts, scores = tmp_path / "f.parquet", tmp_path / "s.parquet"
    given = write_forecasts(forecasts, tasks, reverse=reverse)
    perf = score_files(tasks, (forecasts, scores))[0].set_index("task_name")
    mine = aggregate_scores(scores).set_index("task_name")
    assert list(mine.index) == list(perf.index) == [t.task_name for t in tasks]
    for task in tasks:
        summary = task.evaluation_summary(given[task.task_name], model_name="m/sparse_r8")
        for metric in METRICS:
            assert mine.loc[task.task_name, metric] == pytest.approx(summary[metric], rel=1e-9)
            assert perf.loc[task.task_name, metric] == summary[metric]
        assert perf.loc[task.task_name, "num_forecasts"] == summary["num_forecasts"]
        assert set(summary) <= {"task_name", *perf.columns}


def test_file_of_scores(tasks, tmp_path):
    forecasts, scores = tmp_path / "f.parquet", tmp_path / "s.parquet"
    write_forecasts(forecasts, tasks)
    score_files(tasks, (forecasts, scores))
    table = pq.read_table(scores)
    assert table.column_names == [
        *("task_name", "window_index", "item_id", "target"),
        *("scaled_abs_error", "scaled_quantile_loss", "abs_error", "truth"),
        *("ql_0.1", "ql_0.25", "ql_0.5", "ql_0.9"),
        *("seasonal_error", "wape_epsilon", "wql_epsilon"),
    ]
    assert table.num_rows == 3 * 4 + 4 + 2 * 2 * 4 + 3 * 2 * 4
    assert pq.read_schema(scores).metadata[b"weights_fingerprint"] == b"abc"
    is_constant = np.array(table.column("item_id").to_pylist()) == "i8"
    is_constant &= np.array(table.column("task_name").to_pylist()) != "least_divisor"
    constant = table.filter(is_constant)
    assert np.isnan(matrix(constant.column("scaled_abs_error"), "")).all()
    assert np.isfinite(matrix(constant.column("abs_error"), "")).all()
    assert matrix(constant.column("truth"), "")[0, 0] == 3.0
    assert set(constant.column("seasonal_error").to_pylist()) == {0.0}
    scaled, error, scale = (
        table.column(name) for name in ("scaled_abs_error", "abs_error", "seasonal_error")
    )
    first = (scaled[0].as_py()[0], error[0].as_py()[0], scale[0].as_py())
    assert first[0] == pytest.approx(first[1] / first[2])
    # Each row group holds one window and target, so that a reader needs one at a time.
    assert pq.ParquetFile(scores).num_row_groups == 3 + 1 + 4 + 6


def test_perf_is_read_by_fev(tasks, tmp_path):
    files = []
    for variant in ("full", "sparse_r8", "seasonal_naive"):
        run = {**RUN, "variant": variant}
        forecasts = tmp_path / f"{variant}.parquet"
        write_forecasts(forecasts, tasks[:2], run=run)
        files.append(str(tmp_path / f"{variant}.csv"))
        perf = score_files(tasks[:2], (forecasts, tmp_path / "s.parquet"))[0]
        perf.to_csv(files[-1], index=False)
    board = fev.leaderboard(files, baseline_model="seasonal_naive")
    assert set(board.index) == {
        "m/full",
        "m/sparse_r8",
        "seasonal_naive",
    }
    pairs = fev.pairwise_comparison(files)
    assert len(pairs) == 9
    perf = pd.read_csv(files[1])
    assert set(RUN_COLUMNS) <= set(perf.columns)
    assert perf["ctx_used"].tolist() == [75, 75]
    assert run_of(perf) == {**RUN}


def test_seasonal_error_equals_a_plain_loop():
    generator = np.random.default_rng(0)
    series = [generator.normal(size=n) for n in (1, 3, 10, 25)]
    series[3][[2, 7]] = np.nan
    found = seasonal_error(np.concatenate(series), np.array([len(s) for s in series]), 3)
    for value, one in zip(found, series, strict=True):
        steps = [abs(one[t] - one[t - 3]) for t in range(3, len(one))]
        steps = [s for s in steps if not np.isnan(s)]
        assert np.isnan(value) if not steps else value == pytest.approx(np.mean(steps))


def test_differences_stay_within_a_series():
    differences, series = lagged_differences(np.array([1.0, 2, 4, 100, 300]), np.array([3, 2]), 1)
    assert differences.tolist() == [1, 2, 200]
    assert series.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spoil": np.nan}, "NaN or Inf"),
        ({"levels": [0.1, 0.5]}, "the suite changed"),
        ({"run": {**RUN, "variant": ""}}, "no metadata"),
    ],
)
def test_unusable_forecasts_are_named(tasks, tmp_path, change, message):
    write_forecasts(tmp_path / "f.parquet", tasks[:1], **change)
    with pytest.raises(InputError, match=message):
        score_files(tasks[:1], (tmp_path / "f.parquet", tmp_path / "s.parquet"))


def test_missing_task_and_changed_items(tasks, tmp_path):
    write_forecasts(tmp_path / "f.parquet", tasks[:1])
    with pytest.raises(InputError, match="no forecast of task 'naive_scale'"):
        score_files(tasks[:2], (tmp_path / "f.parquet", tmp_path / "s.parquet"))
    frame = pd.read_parquet(tmp_path / "one.parquet")
    frame["id"] = ["i9", "i8", "i7", "other"]
    frame.to_parquet(tmp_path / "changed.parquet")
    changed = fev.Task(**{**tasks[0].to_dict(), "dataset_path": str(tmp_path / "changed.parquet")})
    with quiet_frequencies():
        changed.load_full_dataset(num_proc=0)
    with pytest.raises(InputError, match="1 items without one"):
        score_files([changed], (tmp_path / "f.parquet", tmp_path / "s.parquet"))
