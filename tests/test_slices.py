"""A task in slices gives the forecasts and scores of the task as a whole."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos2_attention import InputError
from study.config.suites import Suite, TaskSpec
from study.evaluation.scores import gather_scores, score_files
from study.forecasts.files import KEY_COLUMNS, ForecastWriter, matrix
from study.forecasts.seasonal_naive import forecast_task
from study.forecasts.slices import Piece, features_of, read_rows, task_slices
from study.forecasts.windows import METRICS

LEVELS = (0.1, 0.5, 0.9)
METADATA = {
    "study": "s",
    "variant": "seasonal_naive",
    "model": "seasonal_naive",
    "backend": "numpy",
}
TASK = TaskSpec(name="t", dataset="d", horizon=4, seasonality=2, num_windows=2)
SUITE = Suite("s", "S", "D", "none", LEVELS, (TASK,))


@pytest.fixture(params=["long", "some too short"])
def data(tmp_path, request):
    """23 series of 14 to 36 observations, some missing, in row groups of 5.

    Or seven of them are too short for the second of two windows, or for both, side by side.
    """
    rng = np.random.default_rng(0)
    series = []
    for index in range(23):
        too_short = request.param != "long" and 8 <= index < 15
        values = rng.normal(size=3 + index % 4 if too_short else 14 + index).cumsum()
        values[rng.random(len(values)) < 0.05] = np.nan
        start = pd.Timestamp("2020-01-01")
        series.append(
            {
                "id": f"item{index:02d}",
                "timestamp": pd.date_range(start, periods=len(values), freq="D").to_list(),
                "target": values.tolist(),
            }
        )
    path = tmp_path / f"{request.param}.parquet"
    pq.write_table(pa.Table.from_pylist(series), path, row_group_size=5)
    return path


def tolerance(data):
    """fev rounds the values of a table to single precision where it drops series from it."""
    return 1e-9 if data.stem == "long" else 1e-6


def assert_same_forecasts(found, wanted, data):
    keys = [("window_index", "ascending"), ("item_id", "ascending")]
    found, wanted = found.sort_by(keys), wanted.sort_by(keys)
    lists = [name for name in wanted.column_names if name in ("predictions", *map(str, LEVELS))]
    assert found.drop(lists).equals(wanted.drop(lists))
    for name in lists:
        np.testing.assert_allclose(
            *(table[name].combine_chunks().flatten().to_numpy() for table in (found, wanted)),
            rtol=tolerance(data),
        )


def forecast(data, path, **kwargs):
    with ForecastWriter(path, LEVELS, METADATA) as writer:
        for part in task_slices(TASK, SUITE, data, **kwargs):
            forecast_task(part, writer)
    return pq.read_table(path)


@pytest.mark.parametrize("rows_at_once", [1, 4, 7, 22, 23])
def test_slices_forecast_and_score_as_the_whole(data, tmp_path, rows_at_once):
    whole = forecast(data, tmp_path / "whole.parquet")
    sliced = forecast(data, tmp_path / "sliced.parquet", rows_at_once=rows_at_once)
    assert_same_forecasts(sliced, whole, data)

    tables = []
    for name, rows in (("whole", 100), ("sliced", rows_at_once)):
        parts = task_slices(TASK, SUITE, data, rows_at_once=rows)
        scores = tmp_path / f"{name}_scores.parquet"
        tables.append(score_files(parts, (tmp_path / f"{name}.parquet", scores))[0].iloc[0])
    for column in (*METRICS, "test_error"):
        assert tables[1][column] == pytest.approx(tables[0][column], rel=tolerance(data))
    for column in ("num_forecasts", "ctx_used", "horizon", "dataset_path"):
        assert tables[1][column] == tables[0][column]
    assert list(tables[1].index) == list(tables[0].index)


def test_pieces_share_the_rows_out(data, tmp_path):
    whole = forecast(data, tmp_path / "whole.parquet")
    pieces = [
        forecast(data, tmp_path / f"{i}.parquet", piece=Piece(i, 4), rows_at_once=3)
        for i in range(4)
    ]
    assert_same_forecasts(pa.concat_tables(pieces), whole, data)
    assert all(piece.num_rows for piece in pieces)


@pytest.mark.parametrize("count", [2, 5, 40])
def test_scores_of_pieces_are_those_of_the_whole(data, tmp_path, count):
    """Also where a piece has no series, or none that is long enough."""
    forecasts = tmp_path / "f.parquet"
    forecast(data, forecasts)
    whole = score_files(task_slices(TASK, SUITE, data), (forecasts, tmp_path / "whole.parquet"))[0]
    pieces, tables = [], []
    for index in range(count):
        parts = task_slices(TASK, SUITE, data, piece=Piece(index, count))
        pieces.append(tmp_path / f"{index}.parquet")
        tables.append(tmp_path / f"{index}.csv")
        (table,) = score_files(parts, (forecasts, pieces[-1]), is_piece=True)
        table.to_csv(tables[-1], index=False)
    joined = gather_scores(pieces, tables, forecasts, tmp_path / "joined.parquet", [TASK.name])
    assert list(joined.columns) == list(whole.columns)
    for column in (*METRICS, "test_error"):
        assert joined[column].item() == pytest.approx(whole[column].item(), rel=tolerance(data))
    told = whole.columns.drop([*METRICS, "test_error", "dataset_fingerprint"])
    known = [column for column in told if str(whole[column].item()) not in ("", "nan", "None")]
    assert {"horizon", "num_forecasts", "ctx_used", "variant"} < set(known)
    for column in known:
        assert str(joined[column].item()) == str(whole[column].item()), column
    keys = [("window_index", "ascending"), ("item_id", "ascending")]
    found, wanted = (
        pq.read_table(tmp_path / f"{name}.parquet").sort_by(keys) for name in ("joined", "whole")
    )
    assert found.select(KEY_COLUMNS).equals(wanted.select(KEY_COLUMNS))
    errors = [matrix(table.column("scaled_abs_error"), "") for table in (found, wanted)]
    np.testing.assert_allclose(*errors, rtol=100 * tolerance(data))
    with pytest.raises(InputError, match="make the forecasts again"):
        gather_scores(
            pieces[: count // 2], tables[: count // 2], forecasts,
            tmp_path / "fewer.parquet", [TASK.name],
        )  # fmt: skip


@pytest.mark.parametrize("rows", [range(0, 23), range(0, 1), range(4, 6), range(5, 10)])
def test_read_rows_equals_a_slice(data, rows):
    whole = pq.read_table(data)
    found, wanted = read_rows(data, rows), whole.slice(rows.start, len(rows))
    assert found.drop(["target"]).equals(wanted.drop(["target"]))
    for a, b in zip(found["target"].to_pylist(), wanted["target"].to_pylist(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
@pytest.mark.parametrize("multiple", [1, 8])
def test_piece_rows_partition(count, multiple):
    ranges = [Piece(index, count).rows(30, multiple) for index in range(count)]
    assert [row for part in ranges for row in part] == list(range(30))
    assert all(part.start % multiple == 0 or not part for part in ranges)


def test_forecasts_of_other_items_are_refused(data, tmp_path):
    forecast(data, tmp_path / "whole.parquet")
    fewer = tmp_path / "fewer.parquet"
    pq.write_table(pq.read_table(data).slice(0, 20), fewer)
    parts = task_slices(TASK, SUITE, fewer)
    with pytest.raises(InputError, match="make the forecasts again"):
        score_files(parts, (tmp_path / "whole.parquet", tmp_path / "scores.parquet"))


# --- features -----------------------------------------------------------------------------------


def columns_of(path, ids, columns):
    stamps = list(pd.date_range("2020-01-01", periods=6, freq="D"))
    rows = [{"id": i, "timestamp": stamps, **{c: np.arange(6.0) for c in columns}} for i in ids]
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.mark.parametrize(
    ("ids", "columns", "named"),
    [
        (["a", "b"], ["oil_temp", "air_temp"], "__ALL__"),
        (["a", "b"], ["oil_temp", "air_temp", "temp"], "__ALL__"),
        (["a_oil", "b"], ["temp", "air_temp"], "__ALL__"),
        (["a_oil", "b"], ["temp", "oil_temp", "x"], ["temp", "x"]),
        (["001", "NA", "None"], ["1e5", "True", "null"], "__ALL__"),
        (["_", "a_"], ["b", "c_", "_d"], "__ALL__"),
        (["x"], ["b", "a_b"], ["b", "a_b"]),
        (["T1_OT"], ["target"], None),
    ],
)
def test_a_feature_is_the_column_that_fev_made_the_series_of(tmp_path, ids, columns, named):
    path = columns_of(tmp_path / "d.parquet", ids, columns)
    spec = tuple(named) if isinstance(named, list) else named
    task = TaskSpec("t", "d", 2, 1, generate_univariate_targets_from=spec)
    suite = Suite("s", "S", "D", "none", LEVELS, (task,))
    feature = features_of(suite, {"d": path})
    (part,) = task_slices(task, suite, path)
    seen = part.load_full_dataset()["id"]
    wanted = columns if named == "__ALL__" else named or ["t"]
    assert sorted(feature("t", item) for item in seen) == sorted(list(wanted) * len(ids))
    for item in seen:
        assert named is None or item.endswith(f"_{feature('t', item)}")
    if named is not None:
        with pytest.raises(InputError, match="'z_y' is of none of the columns"):
            feature("t", "z_y")


def test_two_columns_that_fev_names_alike_are_refused(tmp_path):
    path = columns_of(tmp_path / "d.parquet", ["a", "a_oil"], ["temp", "oil_temp"])
    task = TaskSpec("t", "d", 2, 1, generate_univariate_targets_from="__ALL__")
    with pytest.raises(InputError, match="both named 'a_oil_temp'"):
        list(task_slices(task, Suite("s", "S", "D", "none", LEVELS, (task,)), path))
