"""Downloads: files by URL, bounds, what the environment says, and all that a server does wrong."""

from __future__ import annotations

import signal

import pytest
from hub_server import (
    CSV,
    DATA,
    FAULTS,
    NOBODY,
    Fault,
    HubServer,
    blob_sha1,
    refused,
    sha256,
    url_spec,
)

from chronos2_attention.errors import InputError
from study.data import download as network
from study.data.fetch import fetch

pytestmark = pytest.mark.usefixtures("waits")

# --- files by URL -------------------------------------------------------------------------------


def test_a_url_is_tried_again_after_transient_failures_only(csv, waits):
    csv.faults.append(Fault("one.csv", times=2, status=500))
    table, provenance = fetch(url_spec(csv.base))
    assert waits == [1, 2]
    assert table["id"].to_pylist() == ["one"]
    assert provenance["from_mirror"] == []
    assert provenance["files"]["one.csv"]["sha256"] == sha256(CSV)
    for status in (401, 403, 404, 410):
        csv.asked.clear()
        csv.faults.append(Fault("one.csv", times=1, status=status))
        refused(lambda: fetch(url_spec(csv.base)), str(status), "one.csv", "mirror=")
        assert len(csv.asked) == 1


def test_a_url_that_stays_busy_is_given_up(csv, waits):
    csv.faults.append(Fault("one.csv", status=503))
    refused(lambda: fetch(url_spec(csv.base)), "503", "mirror=")
    assert len(csv.asked) == network.ATTEMPTS
    assert waits == [1, 2, 4, 8]


def test_a_broken_url_goes_on_where_it_broke(csv):
    csv.faults.append(Fault("one.csv", times=2, cut=20))
    fetch(url_spec(csv.base))
    assert csv.asked == ["GET /one.csv", "GET /one.csv bytes=20-", "GET /one.csv bytes=40-"]
    # A server that knows no ranges sends the whole.
    csv.asked.clear()
    csv.answer = lambda path: type(HubServer.answer(csv, path))(203, {}, CSV)
    csv.faults.append(Fault("one.csv", times=1, cut=20))
    assert fetch(url_spec(csv.base))[1]["files"]["one.csv"]["sha256"] == sha256(CSV)
    assert len(csv.asked) == 2


def test_a_url_that_always_breaks_is_given_up(csv, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    csv.faults.append(Fault("one.csv", cut=0))
    refused(lambda: fetch(url_spec(csv.base)), "one.csv", "mirror=")
    assert len(csv.asked) == network.ATTEMPTS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["sha256", "git_blob_sha1"])
def test_another_file_at_a_url_is_never_taken(csv, kind, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    right = {"sha256": sha256(CSV), "git_blob_sha1": blob_sha1(CSV)}[kind]
    csv.faults.append(Fault("one.csv", flip=True))
    words = (f"one.csv has {kind.replace('_', ' ')}", f"expected {right}", f"{csv.base}/one.csv")
    refused(lambda: fetch(url_spec(csv.base, **{kind: right})), *words)
    assert csv.asked == ["GET /one.csv"] * network.FEW_ATTEMPTS
    assert list(tmp_path.iterdir()) == []
    csv.faults[0].times = 1
    assert fetch(url_spec(csv.base, **{kind: right}))[0].num_rows == 1


def test_a_rest_that_belongs_to_another_file_is_found_out(csv):
    """The file changed between a broken attempt and its continuation."""
    csv.faults += [Fault("one.csv", times=1, cut=20), Fault("one.csv", times=1, flip=True)]
    fetch(url_spec(csv.base))
    assert csv.asked == ["GET /one.csv", "GET /one.csv bytes=20-", "GET /one.csv"]


def test_a_url_without_network(tmp_path, waits):
    refused(lambda: fetch(url_spec(NOBODY)), "refused", "box/one.csv", "mirror=")
    refused(lambda: fetch(url_spec(NOBODY), mirror=tmp_path), str(tmp_path / "box" / "one.csv"))
    assert waits == [1, 1]


def test_offline_asks_no_server(csv):
    refused(lambda: fetch(url_spec(csv.base), offline=True), "not to be used")
    assert csv.asked == []


# --- everything that a server does wrong --------------------------------------------------------

PLACES = {
    "the hub's listing": "/api/",
    "HEAD of a file": "HEAD .*/resolve/",
    "a file's bytes": "GET /store/",
    "a file by URL": "one.csv",
}
SECONDS = 30
# (place, fault) -> what came of it with an empty cache, and with a full one.
OUTCOMES: dict[tuple[str, str], list[str]] = {}


@pytest.fixture
def in_time(monkeypatch):
    """Let bounds be short, and stop a test by force that runs on."""

    def stop(*_) -> None:
        raise AssertionError(f"still at it after {SECONDS} s")

    monkeypatch.setattr(network, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(network, "RATE_WINDOW_S", 0.3)
    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, earlier)


def outcome(spec) -> str:
    """Fetch; return the one line, or that what came is right."""
    try:
        table, _ = fetch(spec)
    except InputError as error:
        line = str(error)
        assert "\n" not in line
        assert len(line) < 1000
        assert "mirror=" in line or "the registry" in line
        return line
    assert table["id"].to_pylist() == (["one"] if spec.source == "url" else ["a", "b", "c"])
    return "fetched"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", PLACES)
def test_every_fault_ends_in_time(hub, tmp_path, monkeypatch, in_time, place, fault):
    """One line with an empty cache; what the cache holds, where an answer may be of another day."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    hub.files["one.csv"] = CSV
    faulty = Fault(PLACES[place], **FAULTS[fault])
    hub.faults.append(faulty)
    spec = url_spec(hub.base) if place == "a file by URL" else DATA
    seen = [outcome(spec)]
    written = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert written < 100_000
    if spec is DATA:
        hub.faults.clear()
        fetch(DATA)
        hub.faults.append(faulty)
        seen.append(outcome(DATA))
        definite = FAULTS[fault].get("status") in (401, 404) and place != "a file's bytes"
        assert seen[1] == "fetched" or (definite and "the hub " in seen[1])
    OUTCOMES[place, fault] = seen
    assert not list(tmp_path.glob("x*"))


def test_the_table_of_faults(capsys):
    """Print what the tests above saw."""
    failed = [key for key, seen in OUTCOMES.items() if seen[0] != "fetched"]
    assert len(failed) > len(OUTCOMES) / 2
    with capsys.disabled():
        print(f"\n\n{len(OUTCOMES)} faults of a server; none ran on, none left half a file:\n")
        for (place, fault), (empty, *full) in OUTCOMES.items():
            print(f"{place}: {fault}{f' (full cache: {full[0][:60]})' if full else ''}")
            print(f"    {empty[:160]}")
