"""Suites: their files, their restriction to tasks, and what fev makes of them."""

import os
import socket
from collections import Counter

import fev
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from chronos2_attention.errors import InputError
from study.datasets import fetch, load_registry, write_dataset
from study.suites import Suite, TaskSpec, fev_task, known_suites, load_suite

GOOD = {
    "title": "T",
    "description": "D",
    "model": "nano",
    "quantile_levels": [0.1, 0.5, 0.9],
    "tasks": [{"name": "a", "horizon": 4, "seasonality": 2}],
}


def config_with(tmp_path, document, name="mine"):
    folder = tmp_path / "suites"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return tmp_path


def with_task(**fields):
    return {**GOOD, "tasks": [{**GOOD["tasks"][0], **fields}]}


# --- files --------------------------------------------------------------------------------------


def test_a_task_takes_defaults_and_its_name_as_data_set(tmp_path):
    document = {
        **GOOD,
        "defaults": {"max_context_length": 64, "num_windows": 3},
        "tasks": [
            {"name": "a", "horizon": 4, "seasonality": 2},
            {"name": "b", "dataset": "a", "horizon": 2, "seasonality": 1, "num_windows": 1},
        ],
    }
    suite = load_suite("mine", config_with(tmp_path, document))
    assert suite.tasks[0] == TaskSpec("a", "a", 4, 2, num_windows=3, max_context_length=64)
    assert suite.tasks[1] == TaskSpec("b", "a", 2, 1, num_windows=1, max_context_length=64)
    assert suite.datasets == ("a",)
    assert suite.name == "mine"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({k: v for k, v in GOOD.items() if k != "model"}, "'model' is a required property"),
        ({**GOOD, "tasks": []}, "tasks"),
        ({**GOOD, "quantile_levels": [0.5, 1.0]}, "quantile_levels[1]"),
        ({**GOOD, "windows": 3}, "windows"),
        (with_task(horizon=0), "tasks[0].horizon"),
        (with_task(horizn=3), "horizn"),
        (with_task(name="a/b"), "tasks[0].name"),
        (with_task(generate_univariate_targets_from="all"), "generate_univariate_targets_from"),
        ({**GOOD, "defaults": {"horizon": 3}}, "horizon"),
        ({**GOOD, "tasks": GOOD["tasks"] * 2}, "'a' is given twice"),
        (with_task(num_windows=2, initial_cutoff=-7), "give -8 or less"),
    ],
)
def test_a_wrong_suite_names_file_and_key(tmp_path, document, message):
    with pytest.raises(InputError) as caught:
        load_suite("mine", config_with(tmp_path, document))
    assert message in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_unknown_suite_lists_the_known(tmp_path):
    config_with(tmp_path, GOOD)
    config_with(tmp_path, GOOD, "other")
    assert known_suites(tmp_path) == ["mine", "other"]
    for name in ("nine", "../suites/mine", ""):
        with pytest.raises(InputError, match=r"unknown suite .*known: mine, other"):
            load_suite(name, tmp_path)
    with pytest.raises(InputError, match="known: none"):
        load_suite("mine", tmp_path / "empty")


def test_only_keeps_the_suites_order_and_refuses_unknown_names(repo_root):
    suite = load_suite("cbii", repo_root / "config")
    for names in ("nn5,ETTh", ["nn5", "ETTh"], " nn5 , ETTh,"):
        assert [task.name for task in suite.only(names).tasks] == ["ETTh", "nn5"]
    for names in (None, "", []):
        assert suite.only(names) == suite
    with pytest.raises(InputError, match=r"unknown task 'exchange_rates'.*exchange_rate$"):
        suite.only("ETTh,exchange_rates")


# --- the suites that ship -----------------------------------------------------------------------


def test_cbii_is_the_published_benchmark(repo_root, shared_dir):
    suite = load_suite("cbii", repo_root / "config")
    published = pd.read_csv(shared_dir / "reference" / "published_cbii_seasonal_naive.csv")
    registry = load_registry(repo_root / "config" / "datasets.yaml")
    assert suite.model == "chronos-2"
    assert [task.name for task in suite.tasks] == published["task_name"].tolist()
    for task, row in zip(suite.tasks, published.itertuples(), strict=True):
        as_fev = fev.Task(
            dataset_path="x.parquet",
            horizon=task.horizon,
            num_windows=task.num_windows,
            initial_cutoff=task.initial_cutoff,
            window_step_size=task.window_step_size,
        )
        assert (
            task.horizon,
            task.seasonality,
            task.num_windows,
            task.initial_cutoff,
            as_fev.window_step_size,
            task.min_context_length,
            task.generate_univariate_targets_from,
        ) == (
            row.horizon,
            row.seasonality,
            row.num_windows,
            row.initial_cutoff,
            row.window_step_size,
            row.min_context_length,
            None if pd.isna(row.generate_univariate_targets_from) else "__ALL__",
        )
        spec = registry[task.dataset]
        if row.dataset_path.endswith("_extra"):
            assert spec.source == "url"
        else:
            assert (spec.repo, spec.config) == (row.dataset_path, row.dataset_config)


@pytest.fixture(scope="module")
def demo(repo_root, tmp_path_factory):
    """The demo suite and its data sets, built from the package without a network."""
    suite = load_suite("demo", repo_root / "config")
    registry = load_registry(repo_root / "config" / "datasets.yaml")
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        deny_network(patch)
        for name in suite.datasets:
            write_dataset(*fetch(registry[name]), folder / f"{name}.parquet")
    return suite, folder


def as_lists(window):
    """Context and future as plain lists: the numpy format that fev sets rounds to float32."""
    past, _ = window.get_input_data()
    return past.with_format(None)[:], window.get_ground_truth().with_format(None)[:]


def deny_network(patch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    patch.setattr(socket.socket, "connect", refuse)
    patch.setattr(socket, "getaddrinfo", refuse)


def test_every_demo_task_gives_windows_that_can_be_scored(demo, monkeypatch):
    suite, folder = demo
    deny_network(monkeypatch)
    forecasts, frequencies, grouped = {}, Counter(), 0
    for spec in suite.tasks:
        task = fev_task(spec, suite, folder / f"{spec.dataset}.parquet")
        frequencies[task.freq.split("-")[0]] += 1
        forecasts[spec.name] = 0
        for window in task.iter_windows():
            past, future = as_lists(window)
            assert past["id"] == sorted(past["id"]) == future["id"]
            assert len(past["id"]) == len(task.load_full_dataset())
            for context, target in zip(past["target"], future["target"], strict=True):
                assert len(target) == spec.horizon
                assert spec.seasonality + spec.horizon <= len(context) <= 2048
                context = np.asarray(context)
                season = np.abs(context[spec.seasonality :] - context[: -spec.seasonality])
                assert np.nanmean(season) > 0
                assert not np.isnan(target).all()
            forecasts[spec.name] += len(past["id"])
        grouped += len(past["id"]) > 1
    assert len(suite.tasks) >= 14
    assert grouped >= 6
    assert set(frequencies) == {"30min", "h", "D", "B", "W", "MS", "QS", "YS"}
    assert 1000 <= sum(forecasts.values()) <= 2500
    assert min(forecasts.values()) >= 8


def test_fev_scores_its_own_forecasts_of_a_demo_task(demo):
    """The whole way: windows, a forecast, and fev's MASE against one computed by hand."""
    suite, folder = demo
    spec = suite.task("prices")  # series that end at different dates, with gaps cut off
    task = fev_task(spec, suite, folder / "prices.parquet")
    predictions, ratios = [], []
    for window in task.iter_windows():
        past, future = as_lists(window)
        rows = []
        for context, target in zip(past["target"], future["target"], strict=True):
            context, target = np.asarray(context), np.asarray(target)
            point = np.full(spec.horizon, context[-1])
            rows.append({"predictions": point, **{str(q): point for q in suite.quantile_levels}})
            ratios.append(np.abs(target - point) / np.nanmean(np.abs(np.diff(context))))
        predictions.append(rows)
    summary = task.evaluation_summary(predictions, model_name="last")
    per_window = np.split(np.asarray(ratios), spec.num_windows)
    expected = np.mean([np.nanmean(window) for window in per_window])
    assert summary["MASE"] == pytest.approx(expected, rel=1e-9)
    assert summary["task_name"] == "prices"
    assert "WQL" in summary


def test_series_of_one_window_may_have_different_cutoffs(demo):
    """The data hold the trap that batches must avoid: attention across cutoffs leaks."""
    suite, folder = demo
    window = fev_task(suite.task("prices"), suite, folder / "prices.parquet").get_window(0)
    past, _ = as_lists(window)
    assert len({stamps[-1] for stamps in past["timestamp"]}) > 1


# --- fev ----------------------------------------------------------------------------------------

SUITE = Suite("s", "T", "D", "nano", (0.5,), (TaskSpec("t", "t", 2, 1),))


def write(path, first):
    stamps = pd.date_range("2020-01-01", periods=8).to_pydatetime().tolist()
    values = [float(first + i) for i in range(8)]
    table = pa.table({"id": ["a"], "timestamp": [stamps], "u": [values], "v": [values]})
    pq.write_table(table, path)


def test_univariate_targets_are_made_of_columns(tmp_path):
    path = tmp_path / "t.parquet"
    write(path, 0)
    every = TaskSpec("t", "t", 2, 1, generate_univariate_targets_from="__ALL__")
    assert fev_task(every, SUITE, path).load_full_dataset()["id"][:].tolist() == ["a_u", "a_v"]
    one = TaskSpec("t", "t", 2, 1, generate_univariate_targets_from=("v",))
    assert fev_task(one, SUITE, path).load_full_dataset()["id"][:].tolist() == ["a_v"]
    direct = TaskSpec("t", "t", 2, 1, target="u")
    assert fev_task(direct, SUITE, path).load_full_dataset()["u"][0][0] == 0


def test_a_replaced_file_is_read_anew_though_its_time_is_kept(tmp_path):
    path, task = tmp_path / "t.parquet", TaskSpec("t", "t", 2, 1, target="u")
    for first in (0, 5):
        write(path, first)
        os.utime(path, (1e9, 1e9))
        assert fev_task(task, SUITE, path).load_full_dataset()["u"][0][0] == first


def test_loading_leaves_the_users_cache_alone(tmp_path, monkeypatch):
    import datasets

    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    write(tmp_path / "t.parquet", 0)
    task = fev_task(TaskSpec("t", "t", 2, 1, target="u"), SUITE, tmp_path / "t.parquet")
    assert cache == datasets.config.HF_DATASETS_CACHE
    assert not cache.exists()
    past, _ = task.get_window(0).get_input_data()  # the data outlive the cache they came through
    assert past["u"][0].tolist() == [0, 1, 2, 3, 4, 5]


def test_what_fev_refuses_is_one_line(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(InputError, match=r"task 't' has no data.*t\.parquet"):
        fev_task(SUITE.tasks[0], SUITE, path)
    write(path, 0)
    with pytest.raises(InputError, match=r"'t'.*columns are missing.*t\.parquet") as caught:
        fev_task(SUITE.tasks[0], SUITE, path)
    assert "\n" not in str(caught.value)
    path.write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"fev cannot load task 't'"):
        fev_task(SUITE.tasks[0], SUITE, path)
