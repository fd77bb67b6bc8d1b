"""Data with several targets, covariates and static columns, from the file to fev's window."""

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from chronos2_attention.errors import InputError
from study.config.datasets import HubDataset, LocalDataset, find_spec, load_registry
from study.config.suites import Suite, TaskSpec, load_suite
from study.data.fetch import fetch, write_dataset
from study.data.series_table import Series, conform, series_table
from study.evaluation.scores import score_files
from study.forecasts.files import ForecastWriter
from study.forecasts.seasonal_naive import forecast_task
from study.forecasts.windows import fev_task, windows_of

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
CSV = """shop,day,sales,visits,promotion,weather,holiday,region
b,2020-01-01,1,10,0,sun,False,north
b,2020-01-02,2,,1,rain,False,north
b,2020-01-03,3,30,0,,True,north
b,2020-01-05,5,50,0,sun,False,north
a,2020-01-01,,1,0.5,rain,False,south
a,2020-01-02,7,2,,sun,,south
a,2020-01-03,8,3,0,sun,False,south
a,2020-01-04,9,4,1,rain,True,south
"""
RECIPE = {
    "id": ["shop"],
    "values": ["sales", "visits"],
    "covariates": ["promotion", "weather", "holiday"],
    "static": ["region"],
    "time": {"column": "day"},
    "gaps": "missing",
}


def local(tmp_path, text=CSV, freq="D", **recipe):
    (tmp_path / "shops.csv").write_text(text)
    entry = {"source": "local", "path": str(tmp_path / "shops.csv"), "freq": freq}
    entry["recipe"] = RECIPE | recipe
    registry = tmp_path / "datasets.yaml"
    registry.write_text(yaml.safe_dump({"datasets": {"shops": entry}}))
    return fetch(find_spec(load_registry(registry), "shops"))


def task_on(path, **fields):
    task = TaskSpec(**{"name": "t/x", "dataset": "d", "horizon": 1, "seasonality": 1} | fields)
    suite = Suite("s", "T", "D", "nano", LEVELS, (task,))
    return fev_task(task, suite, path)


def test_one_entry_of_the_registry_brings_covariates(tmp_path):
    table, provenance = local(tmp_path)
    one, other = table.to_pylist()
    assert (one["id"], one["region"], other["id"], other["region"]) == ("a", "south", "b", "north")
    assert one["sales"][1:] == [7, 8, 9]
    assert one["promotion"][0] == 0.5
    assert pd.isna(one["promotion"][1])
    assert one["weather"] == ["rain", "sun", "sun", "rain"]
    assert one["holiday"] == [False, None, False, True]
    assert other["weather"] == ["sun", "rain", None, None, "sun"]  # the fourth day is absent
    assert pd.isna(other["visits"][[1, 3][0]])
    path, _ = write_dataset(table, provenance, tmp_path / "d.parquet")
    task = task_on(
        path,
        target=("sales", "visits"),
        known_dynamic_columns=("promotion", "weather", "holiday"),
        static_columns=("region",),
    )
    ((_, window, past),) = windows_of(task)
    _, future = window.get_input_data()
    past, future = past.data.table.to_pylist(), future.data.table.to_pylist()
    assert past[1]["weather"] == ["sun", "rain", None, None]
    assert future[1]["weather"] == ["sun"]
    assert "sales" not in future[0]
    assert past[0]["region"] == "south"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("2,,1,rain", "2,,x,rain"), "row 2 (series 'b') has 'x'"),
        (lambda text: text.replace("30,0,,True,north", "30,0,,True,south"), "'north' and 'south'"),
        (lambda text: text.replace("weather", "wetter"), "no column 'weather'"),
    ],
)
def test_wrong_covariates_are_said_in_a_line(tmp_path, change, message):
    with pytest.raises(InputError) as caught:
        local(tmp_path, change(CSV))
    assert message in str(caught.value)
    with pytest.raises(InputError, match=r"covariate of labels .* has no sum"):
        local(tmp_path, aggregate="sum")


def test_fev_says_which_column_a_task_lacks(tmp_path):
    path, _ = write_dataset(*local(tmp_path), tmp_path / "d.parquet")
    with pytest.raises(InputError, match=r"fev cannot load task 't/x'.*price"):
        task_on(path, target="sales", known_dynamic_columns=("price",))
    with pytest.raises(InputError, match="fev has no task 't/x'"):
        task_on(path, target="sales", eval_metric="MAZE")


# --- Seasonal Naive as published for fev-bench ----------------------------------------------------


def seasonal_naive_of(task, folder):
    """Return fev's summary of the project's Seasonal Naive."""
    metadata = {"study": "s", "variant": "seasonal_naive", "model": "none"}
    with ForecastWriter(folder / "f.parquet", LEVELS, metadata) as writer:
        forecast_task(task, writer)
    return score_files([task], (folder / "f.parquet", folder / "s.parquet"))[0].iloc[0]


def of_suite(repo_root, name):
    suite = load_suite("fev_bench", repo_root / "config")
    return suite.task(name), suite


def test_ett_by_seasonal_naive_is_as_published(repo_root, mirror, tmp_path):
    task, suite = of_suite(repo_root, "ETT_1H")
    rows = []
    for name in ("ETTh1", "ETTh2"):
        frame = pd.read_csv(mirror / "ETT-small" / f"{name}.csv", parse_dates=["date"])
        stamps = frame.pop("date").to_numpy()
        rows.append(Series(name, stamps, {c: frame[c].to_numpy(float) for c in frame}))
    path, _ = write_dataset(conform(series_table(rows), "ETT_1H"), {}, tmp_path / "d.parquet")
    found = seasonal_naive_of(fev_task(task, suite, path), tmp_path)
    assert found["MASE"] == pytest.approx(1.3227159, abs=1e-6)
    assert found["WAPE"] == pytest.approx(0.2864225, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "file", "figures"),
    [
        ("hospital", "chronos_datasets/monash_hospital", {"MASE": 1.0188067}),
        ("uci_air_quality_1H", "fev_datasets/uci_air_quality_1H", {"MASE": 1.4424742}),
        ("uci_air_quality_1H", "fev_datasets/uci_air_quality_1H", {"WAPE": 0.4562693}),
    ],
)
def test_seasonal_naive_is_as_published(repo_root, mirror, tmp_path, name, file, figures):
    task, suite = of_suite(repo_root, name)
    table = conform(pq.read_table(mirror / "autogluon" / f"{file}.parquet"), name)
    path, _ = write_dataset(table, {}, tmp_path / "d.parquet")
    found = seasonal_naive_of(fev_task(task, suite, path), tmp_path)
    for metric, figure in figures.items():
        assert found[metric] == pytest.approx(figure, abs=1e-6)


@pytest.mark.parametrize("step", [1, "1D"])
def test_cutoffs_may_be_dates(tmp_path, step):
    path, _ = write_dataset(*local(tmp_path), tmp_path / "d.parquet")
    dates = {"num_windows": 2, "initial_cutoff": "2020-01-02", "window_step_size": step}
    task = task_on(path, target="visits", **dates)
    found = seasonal_naive_of(task, tmp_path)
    ends = [past.data.table.to_pylist()[0]["timestamp"][-1] for _, _, past in windows_of(task)]
    assert [str(end)[:10] for end in ends] == ["2020-01-02", "2020-01-03"]
    assert found["MASE"] > 0


def test_labels_of_the_hub_may_look_like_numbers(tmp_path):
    path = tmp_path / "a" / "b" / "c.parquet"
    path.parent.mkdir(parents=True)
    table, _ = local(tmp_path)
    days = [[str(day) for day in range(len(row))] for row in table["timestamp"].to_pylist()]
    pq.write_table(table.append_column("weekday", [days]), path)
    found, _ = fetch(HubDataset("d", repo="a/b", config="c"), mirror=tmp_path)
    assert found["weekday"].to_pylist() == days
    with pytest.raises(InputError, match="'weekday' holds numbers written as text"):
        fetch(LocalDataset("d", path=str(path)))
