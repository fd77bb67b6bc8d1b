"""The file of similarities: the batches of a forecast, on the contexts that the model sees."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from chronos2_attention.errors import InputError
from chronos2_attention.similarity import MEASURES, SimilaritySettings, similarity
from study.config.models import seen_by_model
from study.config.suites import Suite, TaskSpec
from study.forecasts.batches import write_similarities
from study.forecasts.files import SIMILARITY_TYPES, RowWriter, SimilarityFile

HORIZON, WINDOWS, BATCH_SIZE, CONTEXT = 5, 3, 4, 60
SUITE = Suite(
    "s", "S", "made up", "none", (0.5,), (TaskSpec("t", "d", HORIZON, 1, num_windows=WINDOWS),)
)


@pytest.fixture(scope="module")
def series():
    """Eleven series with gaps that end on two dates; one has no first window, one no context."""
    rng = np.random.default_rng(3)
    rows = {}
    for index in range(11):
        length = {5: 12, 8: 7}.get(index, 40 + 10 * index)
        values = rng.normal(size=length).cumsum()
        values[rng.random(length) < 0.1] = np.nan
        end = pd.Timestamp("2021-03-01" if index % 3 else "2021-02-01")
        rows[f"item{index:02d}"] = pd.Series(
            values, index=pd.date_range(end=end, periods=length, freq="D")
        )
    return rows


@pytest.fixture(scope="module")
def data(series, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "d.parquet"
    rows = [
        {"id": name, "timestamp": list(one.index), "target": one.to_numpy()}
        for name, one in series.items()
    ]
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def path(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("similarity") / "s_distance.parquet"
    with RowWriter(
        path, SIMILARITY_TYPES, {"study": "s", "measure": "distance", "no_evidence": None}
    ) as file:
        write_similarities(
            SUITE,
            {"d": data},
            file,
            "distance",
            SimilaritySettings(),
            batch_size=BATCH_SIZE,
            context_length=CONTEXT,
        )
    return path


def test_each_batch_holds_the_similarities_of_its_contexts(path, series):
    rows = pd.read_parquet(path)
    assert list(rows.columns) == ["task_name", "window_index", "batch", "item_id", "similarity"]
    assert set(rows["task_name"]) == {"t"}
    with SimilarityFile(path) as file:
        for window in range(WINDOWS):
            cut = HORIZON * (WINDOWS - window)
            contexts = {name: one.iloc[:-cut] for name, one in series.items() if len(one) > cut}
            of_window = rows[rows["window_index"] == window]
            assert sorted(of_window["item_id"]) == sorted(contexts)
            for _, batch in of_window.groupby("batch"):
                ids = batch["item_id"].to_list()
                assert len(ids) <= BATCH_SIZE
                assert len({contexts[name].index[-1] for name in ids}) == 1
                assert ids == sorted(ids)
                seen = [contexts[name].to_numpy(np.float32)[-CONTEXT:] for name in ids]
                found = file.batch("t", window, ids)
                np.testing.assert_array_equal(found, similarity(seen, "distance"))
                np.testing.assert_array_equal(found, np.stack(batch["similarity"].to_list()))
            # Batches are full but for the last of a cutoff.
            sizes = of_window.groupby("batch").size().tolist()
            cutoffs = {contexts[name].index[-1] for name in contexts}
            assert sum(size < BATCH_SIZE for size in sizes) <= len(cutoffs)
    assert rows.groupby("window_index").size().tolist() == [9, 10, 11]


def test_similarities_see_no_more_context_than_the_model(path, series):
    """A wider context would give other values, so the limit is at work above."""
    with SimilarityFile(path) as file:
        rows = pd.read_parquet(path).query("window_index == 0")
        number = rows.loc[rows["item_id"] == "item07", "batch"].item()
        ids = rows.loc[rows["batch"] == number, "item_id"].to_list()
        whole = [series[name].to_numpy(np.float32)[: -HORIZON * WINDOWS] for name in ids]
        assert max(map(len, whole)) > CONTEXT
        assert np.abs(file.batch("t", 0, ids) - similarity(whole, "distance")).max() > 1e-3


def test_a_row_group_is_a_batch_and_settings_are_kept(path):
    rows = pd.read_parquet(path)
    file = pq.ParquetFile(path)
    sizes = rows.groupby(["task_name", "window_index", "batch"]).size().tolist()
    groups = range(file.num_row_groups)
    assert [file.metadata.row_group(group).num_rows for group in groups] == sizes
    metadata = SimilarityFile(path).metadata
    assert (metadata["study"], metadata["measure"]) == ("s", "distance")


def test_other_batches_are_refused(path):
    with SimilarityFile(path) as file:
        ids = pd.read_parquet(path).query("window_index == 1 and batch == 0")["item_id"].to_list()
        assert file.batch("t", 1, ids).shape == (len(ids), len(ids))
        others = [("t", 1, ids[:-1]), ("t", 1, ids[::-1]), ("t", 7, ids), ("u", 1, ids)]
        for task, window, items in (*others, ("t", 1, [*ids, "item99"])):
            with pytest.raises(InputError, match=r"no similarities .*s_distance\.parquet"):
                file.batch(task, window, items)


def test_data_in_slices_give_the_same_batches_of_other_numbers(data, path, tmp_path, monkeypatch):
    """Where a slice ends a batch ends, but each series keeps its window and its neighbours."""
    import study.forecasts.batches as module

    whole_slices = module.task_slices
    monkeypatch.setattr(
        module,
        "task_slices",
        lambda task, suite, file: whole_slices(task, suite, file, rows_at_once=4),
    )
    sliced = tmp_path / "sliced.parquet"
    settings = SimilaritySettings()
    with RowWriter(sliced, SIMILARITY_TYPES, {}) as file:
        write_similarities(
            SUITE, {"d": data}, file, "cosine", settings, batch_size=100, context_length=CONTEXT
        )
    rows = pd.read_parquet(sliced)
    for window, of_window in rows.groupby("window_index"):
        numbers = of_window["batch"].drop_duplicates().tolist()
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 2
        for _, batch in of_window.groupby("batch"):
            with SimilarityFile(sliced) as file:
                found = file.batch("t", window, batch["item_id"].to_list())
            np.testing.assert_array_equal(np.diag(found), 1.0)


def test_the_model_limits_the_context(repo_root):
    config = repo_root / "resources" / "models" / "nano" / "config.json"
    assert seen_by_model(config, None) == 2048
    assert seen_by_model(config, 512) == 512
    with pytest.raises(InputError, match=r"4096 observations .*at most 2048"):
        seen_by_model(config, 4096)


@pytest.mark.parametrize("measure", MEASURES)
def test_writing_twice_gives_the_same_bytes(data, measure, tmp_path):
    written = []
    for name in ("a", "b"):
        with RowWriter(tmp_path / name, SIMILARITY_TYPES, {"measure": measure}) as file:
            write_similarities(
                SUITE,
                {"d": data},
                file,
                measure,
                SimilaritySettings(),
                batch_size=BATCH_SIZE,
                context_length=CONTEXT,
            )
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


def test_what_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        SimilarityFile(tmp_path / "x.parquet")
