"""Downloads: files by URL, bounds, what the environment says, and all that a server does wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace

import huggingface_hub
import pytest
from hub_server import (
    CSV,
    DATA,
    FAULTS,
    FIRST,
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
    monkeypatch.setattr(network, "LIMITS", network.Limits(max_gb=1e-3))
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
    if not OUTCOMES:
        pytest.skip("the tests above were not asked for")
    failed = [key for key, seen in OUTCOMES.items() if seen[0] != "fetched"]
    assert len(failed) > len(OUTCOMES) / 2
    with capsys.disabled():
        print(f"\n\n{len(OUTCOMES)} faults of a server; none ran on, none left half a file:\n")
        for (place, fault), (empty, *full) in OUTCOMES.items():
            print(f"{place}: {fault}{f' (full cache: {full[0][:60]})' if full else ''}")
            print(f"    {empty[:160]}")


# --- bounds -------------------------------------------------------------------------------------

BOUNDS = {
    "rate": ({"manner": "slow body"}, {"min_kb_per_s": 2}, "less than 2 kB a second", "min_kb"),
    "time": ({"manner": "slow body"}, {"max_minutes": 0.003}, "0.003 minutes", "max_minutes"),
    "size": ({"manner": "without end"}, {"max_gb": 1e-4}, "more than 0.0001 GB", "max_gb"),
    "stated size": ({}, {"max_gb": 1e-9}, "more than 1e-09 GB", "max_gb"),
}


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("pattern", ["GET /store/", "one.csv"])
def test_bounds_are_set_by_the_configuration(
    hub, tmp_path, monkeypatch, in_time, waits, name, pattern
):
    """Each of the three, for the hub's client as for a file by URL; and no byte stays."""
    fault, limits, why, mend = BOUNDS[name]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(network, "LIMITS", network.Limits(**{"min_kb_per_s": 0, **limits}))
    hub.files["one.csv"] = CSV
    hub.faults.append(Fault(pattern, **fault))
    spec = url_spec(hub.base) if pattern == "one.csv" else DATA
    refused(lambda: fetch(spec), why, f"network.{mend}")
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".parquet", ".incomplete")]
    assert sum(waits) <= 1


def test_an_endless_body_stops_at_what_the_disk_has_room_for(hub, monkeypatch, in_time):
    usage = namedtuple("Usage", "total used free")(10**9, 10**9 - 50_000, 50_000)
    monkeypatch.setattr(network.shutil, "disk_usage", lambda folder: usage)
    hub.files["one.csv"] = CSV
    hub.faults += [Fault("one.csv", manner="without end")]
    refused(lambda: fetch(url_spec(hub.base)), "than there is room for", "free space there")


@pytest.mark.parametrize("pattern", ["GET /store/", "one.csv"])
def test_a_body_that_breaks_and_never_ends_is_bounded_as_a_whole(
    hub, tmp_path, monkeypatch, in_time, pattern
):
    """Every attempt goes on from where the last one broke, beyond any end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr(network, "LIMITS", network.Limits(max_gb=3e-6))
    hub.files["one.csv"] = hub.repositories[0].files[FIRST] = bytes(10**6)
    hub.faults.append(Fault(pattern, cut=1400, headers={"Content-Length": "2000"}))
    spec = url_spec(hub.base) if pattern == "one.csv" else DATA
    refused(lambda: fetch(spec), "more than 3e-06 GB", "network.max_gb")
    assert sum("bytes=" in line for line in hub.asked) == 2


def test_a_file_that_the_hub_keeps_in_chunks_comes_over_http(hub):
    """The backend for such files would know no bounds."""
    xet = {"X-Xet-Hash": "a" * 64, "X-Xet-Refresh-Route": f"{hub.base}/xet", "Link": ""}
    hub.faults.append(Fault("HEAD .*/resolve/", headers=xet))
    assert fetch(DATA)[0]["id"].to_pylist() == ["a", "b", "c"]
    assert not any("/xet" in line for line in hub.asked)


def test_waiting_ends_however_long_a_server_wants_it(csv, waits):
    csv.faults.append(Fault("one.csv", status=429, headers={"Retry-After": "86400"}))
    refused(lambda: fetch(url_spec(csv.base)), "429")
    assert sum(waits) <= network.ALL_PAUSES_S


# --- the environment ----------------------------------------------------------------------------

SECRET = "hf_secret"
ENVIRONMENT = {
    "SOCKS without its package": ("ALL_PROXY", "socks5://127.0.0.1:1080", "socksio"),
    "SOCKS in small letters": ("all_proxy", f"socks5h://u:{SECRET}@127.0.0.1:1080", "socksio"),
    "scheme of no proxy": ("HTTPS_PROXY", f"ftp://u:{SECRET}@127.0.0.1", "scheme"),
    "scheme alone": ("http_proxy", "http://", "no host"),
    "port of letters": ("HTTP_PROXY", "http://127.0.0.1:many", "port"),
    "port too large": ("HTTP_PROXY", "127.0.0.1:99999999", "port"),
    "exception with brackets": ("NO_PROXY", "[::1]:x", "NO_PROXY"),
    "exception with a port of letters": ("no_proxy", "example.org:x", "Invalid port"),
    "certificates that are absent": ("SSL_CERT_FILE", "/none/ca.pem", "No such file"),
    "folder of certificates that is absent": ("SSL_CERT_DIR", "/none/certificates", "No such"),
    "certificates of requests": ("REQUESTS_CA_BUNDLE", "/none/ca.pem", "No such file"),
    "certificates that are none": ("SSL_CERT_FILE", __file__, "cannot be used"),
    "log of keys in no folder": ("SSLKEYLOGFILE", "/none/keys.log", "No such file"),
    "endpoint without scheme": ("HF_ENDPOINT", "huggingface.co", "https://"),
    "endpoint of another scheme": ("HF_ENDPOINT", "ftp://huggingface.co", "https://"),
    "endpoint with a port of letters": ("HF_ENDPOINT", "https://huggingface.co:x", "port"),
    "endpoint without host": ("HF_ENDPOINT", f"https://u:{SECRET}@", "no host"),
    "endpoint with a control character": ("HF_ENDPOINT", "https://a\x01b", "cannot be used"),
    "token beyond ASCII": ("HF_TOKEN", f"{SECRET}é", "no header holds"),
    "token with a blank": ("HF_TOKEN", f"{SECRET} x", "no header holds"),
    "token with a control character": (
        "HUGGING_FACE_HUB_TOKEN",
        f"{SECRET}\x01",
        "no header holds",
    ),
}


def test_a_stored_token_that_cannot_be_sent_is_named(hub, tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "token"
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(path))
    for token in (f"{SECRET} x".encode(), b"\xff\xfe"):
        path.write_bytes(token)
        assert SECRET not in refused(lambda: fetch(DATA), f"the token in {path}")


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_a_variable_that_cannot_be_used_is_named(hub, monkeypatch, waits, name):
    variable, value, words = ENVIRONMENT[name]
    for other in (*network.PROXIES, *network.CERTIFICATES, "NO_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(other, raising=False)
        monkeypatch.delenv(other.lower(), raising=False)
    fetch(DATA)
    monkeypatch.setenv(variable, value)
    hub.faults.clear()
    asked = len(hub.asked)
    assert fetch(DATA)[0]["id"].to_pylist() == ["a", "b", "c"]  # of the cache
    missing = replace(DATA, config="other")
    line = refused(lambda: fetch(missing), variable, words, "mirror=")
    assert SECRET not in line
    if not variable.startswith(("HF_", "HUGGING")):
        line = refused(lambda: fetch(url_spec(hub.base)), variable, words, "mirror=")
        assert SECRET not in line
    assert len(hub.asked) == asked
    assert waits == []


def test_a_proxy_out_of_reach_is_named(hub, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://u:{SECRET}@127.0.0.1:9")
    line = refused(lambda: fetch(DATA), "refused", "check http_proxy")
    assert SECRET not in line


def test_addresses_keep_their_secrets(csv, caplog):
    spec = url_spec(csv.base.replace("://", f"://u:{SECRET}@"))
    signed = replace(spec.files[0], url=f"{spec.files[0].url}?signature={SECRET}")
    csv.faults.append(Fault("one.csv", status=503))
    line = refused(lambda: fetch(replace(spec, files=(signed,))), "503", "/one.csv")
    assert SECRET not in line + caplog.text
    csv.faults.clear()
    assert SECRET not in str(fetch(replace(spec, files=(signed,)))[1])


# --- this machine's files -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free space there, or set"),
        (errno.EDQUOT, "free space there, or set"),
        (errno.EFBIG, "ulimit -f"),
        (errno.ENAMETOOLONG, "set TMPDIR to another folder"),
    ],
)
def test_a_file_that_cannot_be_written_is_no_fault_of_the_network(
    csv, monkeypatch, waits, number, words
):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number), "/somewhere/one.csv")

    monkeypatch.setattr(network, "_download", fail)
    line = refused(lambda: fetch(url_spec(csv.base)), "cannot write /somewhere/one.csv", words)
    assert os.strerror(number) in line
    assert "TMPDIR" in line
    assert waits == []


def test_a_limit_on_the_size_of_files_is_named(hub, tmp_path):
    """Set for real, in a process of its own, for the cache and for a file by URL."""
    code = """
import resource, sys
from pathlib import Path
from hub_server import DATA, url_spec
from study.data.fetch import fetch
resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))
for spec in (DATA, url_spec(sys.argv[1])):
    try:
        fetch(spec)
    except Exception as error:
        print(type(error).__name__, error)
"""
    hub.files["one.csv"] = CSV
    paths = os.pathsep.join(sys.path)
    home = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.base, "PYTHONPATH": paths}
    command = [sys.executable, "-c", code, hub.base]
    done = subprocess.run(
        command, env={**os.environ, **home}, capture_output=True, text=True, check=True, timeout=120
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stdout
    for line, folder in zip(lines, ("HF_HOME", "TMPDIR"), strict=True):
        assert line.startswith("InputError")
        assert "File too large" in line
        assert f"ulimit -f), or set {folder}" in line
