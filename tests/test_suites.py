"""Suites: their files, their restriction to tasks, and what fev makes of them."""

import os
import socket
from collections import Counter
from dataclasses import replace

import fev
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from chronos2_attention.errors import InputError
from study.config.datasets import find_spec, load_registry
from study.config.settings import settle
from study.config.suites import Suite, TaskSpec, known_suites, load_suite
from study.data.fetch import fetch, write_dataset
from study.forecasts.slices import features_of, task_slices
from study.forecasts.windows import context_of, fev_task

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
        ({k: v for k, v in GOOD.items() if k != "model"}, "key 'model' is missing"),
        ({**GOOD, "tasks": []}, "tasks"),
        ({**GOOD, "quantile_levels": [0.5, 1.0]}, "quantile_levels[1]"),
        ({**GOOD, "windows": 3}, "windows"),
        (with_task(horizon=0), "tasks[0].horizon"),
        (with_task(horizn=3), "horizn"),
        (with_task(name="/b", dataset="b"), "tasks[0].name"),
        (with_task(name="a/b"), "tasks[0].dataset"),  # whose name a file bears
        (with_task(target=["x", "y"], generate_univariate_targets_from=["x"]), "univariate"),
        (with_task(target=["x", "y"], known_dynamic_columns=["y"]), "column 'y' twice"),
        (with_task(window_step_size="1D"), "needs a date"),
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


@pytest.mark.parametrize("name", ["fev_bench", "fev_bench_mini"])
def test_the_published_benchmark_is_a_suite_with_its_definitions(repo_root, name):
    suite = load_suite(name, repo_root / "config")
    table = pd.read_csv(repo_root / "config/reference" / suite.published)
    table = table[table["in_mini"]] if name.endswith("mini") else table
    assert [task.name for task in suite.tasks] == table["task_name"].tolist()
    for task, (_, row) in zip(suite.tasks, table.iterrows(), strict=True):
        for field in ("target", "known_dynamic_columns", "past_dynamic_columns", "static_columns"):
            cell = yaml.safe_load(row[field])
            assert getattr(task, field) == (tuple(cell) if isinstance(cell, list) else cell)
        assert str(task.initial_cutoff) == row["initial_cutoff"]
        assert (task.horizon, task.num_windows) == (row["horizon"], row["num_windows"])
        assert task.dataset == f"autogluon--fev_datasets--{row['dataset_config']}"
    assert suite.batch_size == 100


def test_a_benchmark_of_fev_is_a_suite_by_one_line(tmp_path, repo_root):
    tasks = [
        {"dataset_path": "autogluon/fev_datasets", "dataset_config": "ETT_1H", "horizon": 168}
        | {"target": ["OT", "HUFL"], "seasonality": 24, "num_windows": 2, "task_name": "one/two"},
        {"dataset_path": "somewhere/sales.parquet", "known_dynamic_columns": ["promotion"]}
        | {"eval_metric": {"name": "WAPE", "epsilon": 1.0}, "initial_cutoff": "2020-02-01"},
    ]
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump({"tasks": tasks}))
    ours = load_suite("mine", config_with(tmp_path, {"benchmark": "../tasks.yaml"}))
    theirs = fev.Benchmark.from_yaml(str(tmp_path / "tasks.yaml")).tasks
    for task, theirs_ in zip(ours.tasks, theirs, strict=True):
        assert task.horizon == theirs_.horizon
        assert sorted(task.targets) == theirs_.target_columns
        assert list(task.known_dynamic_columns) == theirs_.known_dynamic_columns
    assert ours.datasets == ("autogluon--fev_datasets--ETT_1H", "sales")
    spec = find_spec(load_registry(repo_root / "config/datasets.yaml"), ours.datasets[0])
    assert (spec.repo, spec.config) == ("autogluon/fev_datasets", "ETT_1H")
    assert ours.tasks[1].initial_cutoff == "2020-02-01"


def test_tasks_of_one_data_set_and_without_levels_are_told_apart(tmp_path):
    tasks = [{"dataset_config": "a", "horizon": h, "quantile_levels": []} for h in (3, 5)]
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump({"tasks": tasks}))
    suite = load_suite("mine", config_with(tmp_path, {"benchmark": "../tasks.yaml"}))
    assert [task.name for task in suite.tasks] == ["a/3", "a/5"]
    assert suite.datasets == ("autogluon--fev_datasets--a",)
    assert suite.quantile_levels[4] == 0.5


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("t.yaml", "tasks: [{dataset_config: a, id_column: sku}]", "'sku' should be 'id'"),
        ("t.yaml", "tasks: [{dataset_config: a, horizn: 3}]", "horizn"),
        ("t.yaml", "tasks: []", "tasks"),
        ("t.yaml", "tasks: [{dataset_config: 5}]", "tasks[0].dataset_config"),
        ("t.yaml", "tasks: [{dataset_path: [a]}]", "tasks[0].dataset_path"),
        ("t.yaml", "tasks: [{dataset_config: a, quantile_levels: 5}]", "quantile_levels"),
        ("t.csv", "task_name,horizon\n", "no task to take"),
        ("t.csv", "dataset_config,horizon\na,x\n", "'x' should be a whole number"),
        ("t.csv", None, "no table of tasks"),
    ],
)
def test_a_wrong_benchmark_names_its_file(tmp_path, file, content, message):
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(InputError) as caught:
        load_suite("mine", config_with(tmp_path, {"benchmark": f"../{file}"}))
    assert message in str(caught.value)
    assert file in str(caught.value)


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


def test_only_gives_tasks_their_windows(repo_root):
    suite = load_suite("ett", repo_root / "config")
    own = {task.name: task.num_windows for task in suite.tasks}

    def windows(names):
        return {task.name: task.num_windows for task in suite.only(names).tasks}

    assert windows("ETTh1:50") == {"ETTh1": 50}
    assert windows(["ETTh1:50", "ETTh2"]) == {"ETTh1": 50, "ETTh2": own["ETTh2"]}
    assert windows("*:3") == dict.fromkeys(own, 3)
    assert windows("ETTh1:50,ETTh2,*:3") == {"ETTh1": 50, "ETTh2": 3}
    for word in ("ETTh1:", "ETTh1:0", "*:-1", "ETTh1:x", "*:1.5", "*"):
        if word == "*":
            assert suite.only(word) == suite
            continue
        with pytest.raises(InputError, match=r"is no number of windows.*'ett'"):
            suite.only(word)
    with pytest.raises(InputError, match=r"'ETTh': initial_cutoff -24 leaves no room for 2"):
        load_suite("cbii", repo_root / "config").only("*:2")


def test_the_setting_num_windows_becomes_part_of_only(repo_root):
    config = yaml.safe_load((repo_root / "config" / "config.yaml").read_text(encoding="utf-8"))
    for only, expected in (
        (None, ["*:7"]),
        ("a,b", ["a", "b", "*:7"]),
        (["a"], ["a", "*:7"]),
    ):
        given = {**config, "only": only, "num_windows": 7}
        settle(given)
        assert given["only"] == expected
    settle(config)
    assert config["only"] is None
    with pytest.raises(InputError, match="num_windows"):
        settle({**config, "num_windows": 0})


@pytest.mark.parametrize("fields", [{}, {"window_step_size": 3}, {"initial_cutoff": 30}])
@pytest.mark.parametrize("min_context_length", [1, 5])
def test_windows_fit_exactly_up_to_the_longest_series(tmp_path, fields, min_context_length):
    """What `check_length` lets pass is what fev can cut windows of."""
    path = tmp_path / "t.parquet"
    longest = 67
    rows = [
        {
            "id": str(length),
            "timestamp": list(pd.date_range("2020-01-01", periods=length, freq="D")),
            "target": np.arange(length, dtype=float),
        }
        for length in (20, longest)
    ]
    pd.DataFrame(rows).to_parquet(path)
    task = TaskSpec("t", "t", 4, 1, min_context_length=min_context_length, **fields)

    def contexts(number):
        spec = replace(task, num_windows=number)
        (part,) = task_slices(spec, SUITE, path)
        return [context_of(window) for window in part.iter_windows(num_proc=0)]

    most = 1
    while replace(task, num_windows=most + 1).steps_needed <= longest:
        most += 1
    assert most > 5
    assert all(past is not None for past in contexts(most))
    with pytest.raises(InputError, match=rf"longest series has {longest}.*num_windows={most} or"):
        contexts(most + 1)
    with pytest.raises(InputError, match=rf"num_windows={most} or less"):
        contexts(most + 9)


def test_series_too_short_for_a_fixed_cutoff(tmp_path):
    task = TaskSpec("t", "t", 4, 1, num_windows=2, initial_cutoff=-30)
    task.check_length(31, "here")
    with pytest.raises(InputError, match=r"need 31 steps .* has 30.*give it longer series"):
        task.check_length(30, "here")


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


def test_pairs_are_tasks_unless_a_suite_says_series(repo_root, tmp_path):
    found = {name: load_suite(name, repo_root / "config").pairs for name in ("cbii", "demo")}
    assert set(found.values()) == {"task"}
    for name in ("ett", "m4_hourly"):
        assert load_suite(name, repo_root / "config").pairs == "series"
        assert load_suite(name, repo_root / "config").model == "chronos-2"
    with pytest.raises(InputError, match="pairs"):
        load_suite("mine", config_with(tmp_path, {**GOOD, "pairs": "window"}))


def test_the_series_of_a_transformer_share_every_cutoff(repo_root, mirror, tmp_path):
    """Seven sensors a task, of whole days and weeks, with context enough to be scored."""
    suite = load_suite("ett", repo_root / "config")
    registry = load_registry(repo_root / "config" / "datasets.yaml")
    raw = pd.read_csv(mirror / "ETT-small" / "ETTh2.csv", index_col="date", parse_dates=True)
    steps = {
        "ETTh2": raw,
        "ETTh2_daily": raw[:"2018-06-25"].groupby(lambda t: t.normalize()).mean(),
        "ETTh2_weekly": raw["2016-07-04":"2018-06-24"]
        .groupby(lambda t: t.normalize() - pd.Timedelta(days=t.weekday()))
        .mean(),
    }
    for name, values in steps.items():
        task = suite.task(name)
        path = tmp_path / f"{task.dataset}.parquet"
        write_dataset(*fetch(registry[task.dataset], mirror=mirror), path)
        feature = features_of(replace(suite, tasks=(task,)), {task.dataset: path})
        (part,) = task_slices(task, suite, path)
        windows = list(part.iter_windows(num_proc=0))
        assert len(windows) == task.num_windows >= 10
        for index in (0, len(windows) - 1):
            past, future = as_lists(windows[index])
            assert [feature(task.name, item) for item in past["id"]] == sorted(raw.columns)
            assert len({stamps[-1] for stamps in past["timestamp"]}) == 1
            cut = len(values) - task.horizon * (task.num_windows - index)
            for name, context, target in zip(
                past["id"], past["target"], future["target"], strict=True
            ):
                column = values[feature(task.name, name)].to_numpy()
                np.testing.assert_allclose(context, column[:cut])
                np.testing.assert_allclose(target, column[cut : cut + task.horizon])
                assert cut > 2 * task.seasonality


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
