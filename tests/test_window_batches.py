"""Forecasts of the workflow against upstream's own, whatever windows share a batch."""

import fev
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from chronos.chronos2 import Chronos2Pipeline

from chronos2_attention import Chronos2VariantPipeline, InputError
from study.config.models import load_model_spec
from study.config.study import Study
from study.config.suites import Suite, TaskSpec, load_suite
from study.data.fetch import write_dataset
from study.data.series_table import Series, conform, series_table
from study.evaluation.scores import score_files
from study.forecasts import chronos2
from study.forecasts.batches import ForecastSettings
from study.forecasts.files import KEY_COLUMNS, ForecastWriter, matrix, read_window
from study.forecasts.slices import Piece, sample_windows
from study.forecasts.windows import METRICS, epsilons, fev_task

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def pipelines(repo_root):
    """Upstream's pipeline and ours with the embedded weights."""
    folder = repo_root / "resources" / "models" / "nano"
    ours = Chronos2VariantPipeline.from_pretrained(folder)
    return Chronos2Pipeline.from_pretrained(folder), ours


def made(count=5, steps=80, seed=0):
    """Items with categories, missing values, past and known covariates, and a static column."""
    rng = np.random.default_rng(seed)
    days = pd.date_range("2024-01-01", periods=steps, freq="D").to_numpy()
    rows = []
    for number in range(count):
        driver = rng.normal(size=steps)
        sales = driver + rng.normal(size=steps).cumsum()
        sales[5:8] = np.nan
        clicks = sales + rng.normal(size=steps)
        clicks[rng.random(steps) < 0.1] = np.nan
        columns = {"sales": sales, "visits": rng.normal(size=steps), "driver": driver}
        columns |= {"clicks": clicks, "open": rng.random(steps) < 0.8}
        columns["weather"] = np.array(["sun", "rain", "snow"], dtype=object)[
            rng.integers(3, size=steps)
        ]
        rows.append(Series(f"i{number}", days, columns, {"shop": "ab"[number % 2]}))
    return series_table(rows)


MADE = {
    "horizon": 7,
    "seasonality": 7,
    "num_windows": 2,
    "known_dynamic_columns": ("driver", "open", "weather"),
    "past_dynamic_columns": ("clicks",),
    "static_columns": ("shop",),
}


def study_of(tasks, repo_root, **fields):
    suite = Suite("s", "T", "D", "nano", LEVELS, tuple(tasks), **fields)
    return Study("s", suite, load_model_spec("nano", repo_root / "config"))


def forecasts_of(run, study, paths, folder, settings=None):
    metadata = {"study": "s", "variant": run.variant.name, "model": "nano"}
    path = folder / f"{run.variant.name}.parquet"
    with ForecastWriter(path, LEVELS, metadata) as writer:
        settings = settings or ForecastSettings(batch_size=100)
        chronos2.forecast_variants([(run, writer)], study, paths, settings)
    return path


def agree_with_fev(pipelines, variant, spec, path, repo_root, folder):
    """Compare forecasts with `predict_fev`, and scores with fev's summary of these forecasts."""
    upstream, ours = pipelines
    study = study_of([spec], repo_root)
    task = fev_task(spec, study.suite, path)
    told = {"full": {}, "univariate": {"as_univariate": True}, "joint": {"cross_learning": True}}
    expected, _ = upstream.predict_fev(task, batch_size=100, **told[variant])
    found = forecasts_of(ours.with_variant(variant), study, {spec.dataset: path}, folder)
    for index, window in enumerate(expected):
        for target in task.target_columns:
            table = read_window(pads.dataset(found), spec.name, index, target)
            for name in ("predictions", *map(str, LEVELS)):
                wanted = np.stack(window[target].with_format("numpy")[name])
                scale = max(1.0, np.abs(wanted).max())
                np.testing.assert_allclose(matrix(table[name], ""), wanted, atol=1e-5 * scale)
    perf = score_files([task], (found, folder / "scores.parquet"))[0].iloc[0]
    summary = task.evaluation_summary(expected, model_name="upstream")
    for metric in METRICS:
        assert perf[metric] == pytest.approx(summary[metric], abs=1e-6)


@pytest.mark.parametrize("variant", ["full", "univariate", "joint"])
@pytest.mark.parametrize("targets", [("sales",), ("sales", "visits")], ids=["one", "two"])
def test_made_items_are_forecast_as_predict_fev_does(
    pipelines, repo_root, tmp_path, variant, targets
):
    path, _ = write_dataset(conform(made(), "d"), {}, tmp_path / "d.parquet")
    spec = TaskSpec("made/x", "d", target=targets if len(targets) > 1 else "sales", **MADE)
    agree_with_fev(pipelines, variant, spec, path, repo_root, tmp_path)


@pytest.mark.parametrize("variant", ["full", "univariate", "joint"])
@pytest.mark.parametrize("name", ["ETT_1H", "hospital", "uci_air_quality_1H"])
def test_real_tasks_are_forecast_as_predict_fev_does(
    pipelines, repo_root, mirror, tmp_path, name, variant
):
    spec = load_suite("fev_bench", repo_root / "config").only(f"{name}:1").tasks[0]
    if name == "ETT_1H":
        rows = []
        for item in ("ETTh1", "ETTh2"):
            frame = pd.read_csv(mirror / "ETT-small" / f"{item}.csv", parse_dates=["date"])
            stamps = frame.pop("date").to_numpy()
            rows.append(Series(item, stamps, {c: frame[c].to_numpy(float) for c in frame}))
        table = series_table(rows)
    else:
        file = {"hospital": "chronos_datasets/monash_hospital"}.get(name, f"fev_datasets/{name}")
        table = pq.read_table(mirror / "autogluon" / f"{file}.parquet").slice(0, 120)
    path, _ = write_dataset(conform(table, name), {}, tmp_path / "d.parquet")
    agree_with_fev(pipelines, variant, spec, path, repo_root, tmp_path)


@pytest.mark.parametrize(
    "variant", ["full", "joint", "soft_correlation_t3", "cluster_cosine_k2", "grouped_shop"]
)
def test_what_shares_a_batch_changes_nothing(pipelines, repo_root, tmp_path, monkeypatch, variant):
    """Windows and tasks together, or each by a call of its own."""
    one, _ = write_dataset(conform(made(), "d"), {}, tmp_path / "d.parquet")
    other = made(4, 60, 1).select(["id", "timestamp", "visits", "shop"])
    two, _ = write_dataset(conform(other, "e"), {}, tmp_path / "e.parquet")
    tasks = [
        TaskSpec("a", "d", target=("sales", "visits"), **MADE),
        TaskSpec("b", "e", 7, 1, num_windows=3, target="visits", static_columns=("shop",)),
        TaskSpec("c", "e", 20, 1, target="visits"),
    ]
    study, paths = study_of(tasks, repo_root, batch_size=8), {"d": one, "e": two}
    calls = []
    run = pipelines[1].with_variant(variant)
    inner = type(run)._predict_batch
    monkeypatch.setattr(
        type(run), "_predict_batch", lambda self, **k: calls.append(0) or inner(self, **k)
    )
    together = pq.read_table(forecasts_of(run, study, paths, tmp_path))
    passes = len(calls)
    monkeypatch.setattr(chronos2, "MOST_VALUES", 0)
    apart = pq.read_table(forecasts_of(run, study, paths, tmp_path))
    assert passes < (len(calls) - passes) / 1.5
    keys = ["task_name", "window_index", "item_id", "target"]
    assert together.select(keys) == apart.select(keys)
    for name in ("predictions", "0.1", "0.9"):
        one, other = (np.concatenate(table[name].to_pylist()) for table in (together, apart))
        assert np.abs(one - other).max() <= 1e-6 * np.abs(one).max()


def test_groups_need_a_static_column_that_some_task_has(pipelines, repo_root, tmp_path):
    path, _ = write_dataset(conform(made(), "d"), {}, tmp_path / "d.parquet")
    study = study_of([TaskSpec("a", "d", target="sales", **MADE)], repo_root)
    run = pipelines[1].with_variant("grouped_region")
    with pytest.raises(InputError, match="no task has the static column 'region'"):
        forecasts_of(run, study, {"d": path}, tmp_path)


def test_a_table_of_performance_stands_beside_published_ones(pipelines, repo_root, tmp_path):
    path, _ = write_dataset(conform(made(), "d"), {}, tmp_path / "d.parquet")
    spec = TaskSpec("a", "d", target="sales", **MADE)
    study = study_of([spec], repo_root)
    task = fev_task(spec, study.suite, path)
    tables = []
    for variant in ("full", "univariate"):
        run = pipelines[1].with_variant(variant)
        found = forecasts_of(run, study, {"d": path}, tmp_path)
        tables.append(score_files([task], (found, tmp_path / "s.parquet"))[0])
    published = task.evaluation_summary(
        pipelines[0].predict_fev(task)[0], model_name="chronos-2", inference_time_s=1.0
    )
    summaries = [pd.DataFrame([published]), *tables]
    options = {"metric_column": "SQL", "baseline_model": "chronos-2"}
    board = fev.leaderboard(summaries, **options)
    pairs = fev.pairwise_comparison(summaries, metric_column="SQL", baseline_model=None)
    assert {"chronos-2", "nano/full", "nano/univariate"} <= set(board.index)
    assert board.loc["nano/full", "skill_score"] == pytest.approx(0, abs=1e-5)
    assert len(pairs) == 9


def test_a_category_of_a_later_cutoff_changes_nothing_earlier(pipelines, repo_root, tmp_path):
    """With several targets upstream numbers categories over all items prepared together."""
    found = []
    for late in ("snow", "avalanche"):
        rows = made().to_pylist()
        for row in rows[3:]:  # end three days after the others
            row["timestamp"] = [stamp + pd.Timedelta(days=3) for stamp in row["timestamp"]]
            row["weather"] = [late if kind == "snow" else kind for kind in row["weather"]]
        table = pa.Table.from_pylist(rows, schema=made().schema)
        path, _ = write_dataset(conform(table, "d"), {}, tmp_path / "d.parquet")
        spec = TaskSpec("a", "d", target=("sales", "visits"), **MADE)
        study = study_of([spec], repo_root)
        run = pipelines[1].with_variant("joint")
        found.append(pq.read_table(forecasts_of(run, study, {"d": path}, tmp_path)))
    one, other = (table.filter(pc.less(table["item_id"], "i3")) for table in found)
    assert one.num_rows == 3 * 2 * 2
    assert one["predictions"].to_pylist() == other["predictions"].to_pylist()


def test_pieces_change_no_number_of_a_category(pipelines, repo_root, tmp_path):
    """With several targets upstream numbers categories over all items prepared together."""
    rows = made().to_pylist()
    for row in rows[:3]:  # the first piece lacks a category that sorts first
        row["weather"] = [None if kind == "rain" else kind for kind in row["weather"]]
    path, _ = write_dataset(
        conform(pa.Table.from_pylist(rows, schema=made().schema), "d"), {}, tmp_path / "d.parquet"
    )
    study = study_of([TaskSpec("a", "d", target=("sales", "visits"), **MADE)], repo_root)
    found = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        pieces = []
        for index in range(count):
            part = folder / f"{index}.parquet"
            with ForecastWriter(part, LEVELS, {}) as writer:
                chronos2.forecast_variants(
                    [(pipelines[1], writer)],
                    study,
                    {"d": path},
                    ForecastSettings(100),
                    piece=Piece(index, count),
                )
            pieces.append(pq.read_table(part))
        found.append(pa.concat_tables(pieces).sort_by([(k, "ascending") for k in KEY_COLUMNS]))
    whole, split = found
    assert whole.num_rows == 5 * 2 * 2
    assert whole.equals(split)


def test_windows_are_sampled_with_all_series_of_an_item(repo_root, tmp_path):
    path, _ = write_dataset(conform(made(), "d"), {}, tmp_path / "d.parquet")
    spec = TaskSpec("a", "d", target=("sales", "visits"), **MADE)
    suite = study_of([spec], repo_root).suite
    draw = {"max_windows": 1, "max_series": 13, "seed": 0}
    (window,) = sample_windows(spec, suite, path, **draw)
    assert [len(item["context"]) for item in window.items] == [6, 6]
    assert len(window.series) == 12


def test_metrics_are_named_as_fev_names_them(repo_root, tmp_path):
    path, _ = write_dataset(conform(made(), "d"), {}, tmp_path / "d.parquet")
    extra = ("mase", {"name": "wql", "epsilon": 2.0})
    spec = TaskSpec("a", "d", target="sales", eval_metric="sql", extra_metrics=extra, **MADE)
    task = fev_task(spec, study_of([spec], repo_root).suite, path)
    assert epsilons(task) == {"SQL": 0, "MASE": 0, "WQL": 2, "WAPE": 0}
    for wrong, told in (
        ("NOPE", "metric 'NOPE' is not available"),
        ({"epsilon": 1}, "name"),
        ({"name": "WQL", "epsilon": "x"}, "could not convert"),
        ({"name": "WQL", "e": 1}, "unexpected keyword"),
    ):
        spec = TaskSpec("a", "d", target="sales", eval_metric=wrong, **MADE)
        with pytest.raises(InputError, match=told):
            fev_task(spec, study_of([spec], repo_root).suite, path)
