"""Efficiency: who is timed when, what is kept of it, and the tables that it goes into."""

from __future__ import annotations

import itertools

import fev
import numpy as np
import pandas as pd
import pytest
from small_model import build_upstream_model
from small_study import small_study

from chronos2_attention import Chronos2VariantPipeline, InputError
from chronos2_attention.model import Chronos2VariantModel
from study.evaluation.comparison import TIMING_COLUMNS, compare_tasks, with_timings
from study.evaluation.scores import score_files
from study.forecasts.batches import ForecastSettings
from study.forecasts.chronos2 import forecast_variants
from study.forecasts.files import ForecastWriter
from study.forecasts.windows import fev_task
from study.speed import efficiency, measuring
from study.speed.measuring import Measured

VARIANTS = ["full", "sparse_r2", "sparse_r8"]
OPTIONS = {"settings": ForecastSettings(4), "perf_repeats": 3, "max_series_per_task": 3}


@pytest.fixture(scope="module")
def pipeline():
    upstream = build_upstream_model()
    model = Chronos2VariantModel(upstream.config)
    model.load_state_dict(upstream.state_dict())
    return Chronos2VariantPipeline(model.eval(), weights_fingerprint="f1")


@pytest.fixture(scope="module")
def study_and_paths(tmp_path_factory):
    return small_study(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def measured(pipeline, study_and_paths):
    return efficiency.measure_suite(pipeline, VARIANTS, *study_and_paths, **OPTIONS)


def test_a_row_a_task_and_variant(measured):
    assert measured["task_name"].tolist() == ["ragged"] * 3 + ["short"] * 3
    assert measured["variant"].tolist() == VARIANTS * 2
    assert (measured["inference_time_s_median"] > 0).all()
    assert (measured["inference_time_s_std"] >= 0).all()
    assert measured["perf_series"].tolist() == [3] * 3 + [1] * 3
    assert set(measured["perf_repeats"]) == {3}
    assert set(measured["device"]) == {"cpu"}
    assert set(measured["dtype"]) == {"float32"}
    backends = measured.set_index(["task_name", "variant"])["backend"]
    assert backends[("ragged", "full")] == "dense"
    assert backends[("short", "sparse_r2")] == "reference"
    # GPU memory is not measured on a CPU; resident memory holds at least PyTorch.
    assert measured[["peak_alloc_mb_median", "peak_reserved_mb_max"]].isna().all(axis=None)
    assert measured["peak_rss_mb"].between(50, 100_000).all()


def test_variants_take_turns_after_a_warm_up(pipeline, study_and_paths, monkeypatch):
    seen = []
    seconds = itertools.count(1)

    def fake(contender, window, settings):
        seen.append(contender.variant.name)
        return Measured(next(seconds), alloc_mb=10.0 * len(seen), reserved_mb=5.0, rss_mb=7.0)

    monkeypatch.setattr(efficiency, "measure", fake)
    table = efficiency.measure_suite(pipeline, VARIANTS, *study_and_paths, **OPTIONS)
    full, narrow, wide = VARIANTS
    turns = [full, narrow, wide, narrow, wide, full, wide, full, narrow]
    assert seen == [*VARIANTS, *turns, *VARIANTS, *turns]
    row = table.iloc[0]  # full, measured fourth, ninth and eleventh
    assert row["inference_time_s_median"] == 9
    assert row["inference_time_s_mean"] == 8
    assert row["inference_time_s_std"] == pytest.approx(np.std([4, 9, 11], ddof=1))
    assert (row["peak_alloc_mb_median"], row["peak_alloc_mb_max"]) == (90, 110)
    assert (row["peak_reserved_mb_max"], row["peak_rss_mb"]) == (5, 7)


def test_peak_of_resident_memory_sees_what_came_and_went():
    resettable = measuring.reset_peak_rss()
    before = measuring.peak_rss_mb()
    np.ones(2**25)  # 256 MiB, freed at once
    after = measuring.peak_rss_mb()
    assert after > before + 200
    if not resettable:
        pytest.skip("SKIPPED, NOT PASSED: this system cannot reset the peak")
    measuring.reset_peak_rss()
    assert measuring.peak_rss_mb() < after - 200


@pytest.fixture(scope="module")
def accuracy(pipeline, study_and_paths, tmp_path_factory):
    """Tables of accuracy of full attention and two radii, as the rules make them."""
    folder = tmp_path_factory.mktemp("accuracy")
    study, paths = study_and_paths
    tables = {}
    for variant in VARIANTS:
        run = {"study": study.name, "variant": variant, "model": "random"}
        run |= {"weights_fingerprint": "f1", "device": "elsewhere", "backend": "several"}
        with ForecastWriter(folder / "f.parquet", study.suite.quantile_levels, run) as writer:
            runs = [(pipeline.with_variant(variant), writer)]
            forecast_variants(runs, study, paths, ForecastSettings(8))
        tasks = (fev_task(task, study.suite, paths[task.dataset]) for task in study.suite.tasks)
        table = score_files(tasks, (folder / "f.parquet", folder / "s.parquet"))[0]
        table.to_csv(folder / "accuracy.csv", index=False)
        tables[variant] = pd.read_csv(folder / "accuracy.csv")
    return tables


def test_timings_join_and_leave_accuracy_alone(accuracy, measured):
    given = accuracy["sparse_r2"]
    table = with_timings(given, measured.sample(frac=1, random_state=0), "sparse_r2")
    place = table.columns.get_loc("ctx_used") + 1
    assert list(table.columns[place : place + len(TIMING_COLUMNS)]) == TIMING_COLUMNS
    rows = measured[measured["variant"] == "sparse_r2"].reset_index(drop=True)
    for column in [*TIMING_COLUMNS, "device", "backend"]:
        pd.testing.assert_series_equal(table[column], rows[column])
    kept = given.columns.difference(["device", "dtype", "backend", "chunk_size"])
    pd.testing.assert_frame_equal(table[kept], given[kept])
    untimed = with_timings(given, None, "sparse_r2")
    assert untimed[TIMING_COLUMNS].isna().all(axis=None)
    pd.testing.assert_frame_equal(untimed[given.columns], given)


def test_timings_of_something_else_are_refused(accuracy, measured):
    with pytest.raises(InputError, match="no timing of 'sparse_r3' on task 'ragged'"):
        with_timings(accuracy["full"], measured, "sparse_r3")
    with pytest.raises(InputError, match="on task 'short'"):
        with_timings(accuracy["full"], measured[measured["task_name"] == "ragged"], "full")
    with pytest.raises(InputError, match="different weights"):
        with_timings(accuracy["full"], measured.assign(weights_fingerprint="f2"), "full")


def test_a_comparison_has_times_and_speedup(accuracy, measured):
    table = compare_tasks(
        with_timings(accuracy["full"], measured, "full"),
        with_timings(accuracy["sparse_r2"], measured, "sparse_r2"),
        setting={"radius": 2},
    )
    times = measured.pivot_table(
        index="task_name", columns="variant", values="inference_time_s_median"
    )
    expected = (times["full"] / times["sparse_r2"]).loc[table["task_name"]]
    assert table["speedup"].tolist() == pytest.approx(expected.tolist())


def test_fev_reads_the_files_as_they_are(accuracy, measured, tmp_path):
    files = []
    for variant in VARIANTS:
        files.append(str(tmp_path / f"{variant}.csv"))
        with_timings(accuracy[variant], measured, variant).to_csv(files[-1], index=False)
    board = fev.leaderboard(files, baseline_model="random/full")
    assert sorted(board.index) == [f"random/{variant}" for variant in VARIANTS]
