"""Data and weights over the network: the hub's protocol and plain URLs, and all that goes wrong."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from hub_server import (
    COMMIT,
    CSV,
    DATA,
    FIRST,
    NOBODY,
    SECOND,
    Fault,
    blob_sha1,
    refused,
    sha256,
    shard,
)

from study.config.datasets import load_registry
from study.config.models import ModelSpec, load_model_spec
from study.data import download as network
from study.data.checkpoints import fetch_model
from study.data.fetch import fetch

OTHER_COMMIT = "f" * 40
CHECKPOINT_FILES = ("config.json", "model.safetensors")
MODEL = ModelSpec("tiny", "Tiny", "hub", repo="group/tiny", revision=COMMIT)
pytestmark = pytest.mark.usefixtures("waits")


def get_model(folder: Path, spec: ModelSpec = MODEL, mirror: Path | None = None) -> dict:
    return fetch_model(spec, folder / "model", repo_root=folder, mirror=mirror)


def cached(tmp_path: Path, pattern: str) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob(pattern) if path.is_file()]


# --- what arrives -------------------------------------------------------------------------------


def test_a_configurations_files_are_fetched_and_the_commit_recorded(hub):
    table, provenance = fetch(DATA)
    assert table["id"].to_pylist() == ["a", "b", "c"]
    assert table.column_names == ["id", "timestamp", "target", "category"]
    assert (provenance["revision"], provenance["revision_requested"]) == (COMMIT, "main")
    stored = hub.repositories[0].files
    assert provenance["files"] == {
        name: {"sha256": sha256(stored[name]), "hub_checksum": f"sha256:{sha256(stored[name])}"}
        for name in (FIRST, SECOND)
    }
    assert not provenance["from_mirror"]
    touched = "\n".join(line for line in hub.asked if "/resolve/" in line)
    assert not re.search(r"sets\.py|other/|old/|README", touched)


@pytest.mark.parametrize(
    "says",
    [
        {"data_files": "data/hourly/*.parquet"},
        {"data_files": "data/hourly/**"},
        {"data_files": ["data/hourly/0.parquet", "data/hourly/1.parquet"]},
        {"data_files": {"train": "data/hourly/*", "test": "data/test.parquet"}},
        {
            "data_files": [
                {"split": "train", "path": ["./data/hourly/0.parquet", "data/**/1.parquet"]},
                {"split": "test", "path": "data/test.parquet"},
            ]
        },
        {"data_dir": "data/hourly"},
        {"data_dir": "data", "data_files": "hourly/*.parquet"},
    ],
)
def test_data_files_are_those_that_the_card_names(hub, tmp_path, says):
    spec = replace(DATA, config="hourly")
    card = {"configs": [{"config_name": "daily", "data_files": FIRST}]}
    card["configs"].append({"config_name": spec.config, **says})
    files = {
        "README.md": f"---\n{yaml.safe_dump(card)}---\n# Sets\n".encode(),
        "data/hourly/0.parquet": shard("x"),
        "data/hourly/1.parquet": shard("y"),
        "data/hourly/notes.txt": b"not data",
        "data/test.parquet": shard("z"),
    }
    hub.repositories[0].files.update(files)
    table, provenance = fetch(spec)
    assert table["id"].to_pylist() == ["x", "y"]
    assert list(provenance["files"]) == ["data/hourly/0.parquet", "data/hourly/1.parquet"]
    assert fetch(spec, offline=True)[1] == provenance
    for name, body in files.items():
        path = tmp_path / "mirror" / spec.repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    assert fetch(spec, mirror=tmp_path / "mirror")[0].equals(table)


@pytest.mark.parametrize(
    "card",
    [
        b"# No front matter",
        b"---\nconfigs: [{config_name: daily, data_files: a.parquet}]\n---\n",
        b"---\nconfigs: [{config_name: hourly, data_files: ../../a.parquet}]\n---\n",
        b"---\nconfigs: [{config_name: hourly, data_files: 5}]\n---\n",
        b"---\nconfigs: {a: [\n---\n",
        b"\xff\xfe",
    ],
)
def test_a_card_that_names_no_files_is_no_help(hub, card):
    hub.repositories[0].files["README.md"] = card
    refused(lambda: fetch(replace(DATA, config="hourly")), "no file hourly/*.parquet", "group/sets")


def test_weights_are_fetched_at_the_pin_and_nothing_else(hub, tmp_path):
    provenance = get_model(tmp_path)
    stored = hub.repositories[1].files
    config, weights = stored["config.json"], stored["model.safetensors"]
    assert (provenance["source"], provenance["repo"]) == ("hub", "group/tiny")
    assert provenance["revision"] == provenance["revision_requested"] == COMMIT
    assert provenance["hub_checksums"] == {
        "config.json": f"git:{blob_sha1(config)}",
        "model.safetensors": f"sha256:{sha256(weights)}",
    }
    assert provenance["sha256"]["model.safetensors"] == sha256(weights)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "config.json",
        "model.safetensors",
    }
    assert not any(".bin" in line or ".py" in line for line in hub.asked)


def test_the_cache_serves_where_the_hub_is_out_of_reach(hub, tmp_path, monkeypatch):
    table, provenance = fetch(DATA)
    weights = get_model(tmp_path)
    hub.asked.clear()
    assert fetch(DATA, offline=True)[1] == provenance
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fetch(DATA)[1] == provenance
    assert get_model(tmp_path) == weights
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert hub.asked == []
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    again, same = fetch(DATA)
    assert again.equals(table)
    assert same == provenance
    assert get_model(tmp_path) == weights
    # ... but half a data set does not.
    cached(tmp_path, "train-00001-of-00002.parquet")[0].unlink()
    refused(lambda: fetch(DATA, offline=True), "'m'", "1 of 2 Parquet files", "mirror=")


def test_a_damaged_file_of_the_cache_is_fetched_again_or_named(hub, tmp_path, monkeypatch):
    fetch(DATA)
    blob = cached(tmp_path, "train-00001-of-00002.parquet")[0].resolve()
    blob.write_bytes(b"rotten")
    refused(lambda: fetch(DATA, offline=True), "damaged", str(blob), "delete")
    assert fetch(DATA)[0]["id"].to_pylist() == ["a", "b", "c"]
    assert sha256(blob.read_bytes()) == blob.name


def test_nothing_outside_the_cache_is_deleted(hub, tmp_path):
    """A cached file that links out of the cache, and is not what the hub has, stays."""
    fetch(DATA)
    mine = tmp_path / "mine" / "precious.parquet"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    pointer = next((tmp_path / "cache").rglob("train-00001-of-00002.parquet"))
    blob = pointer.resolve()
    for link in (pointer, blob):
        link.unlink()
        link.symlink_to(mine)
        assert fetch(DATA)[0]["id"].to_pylist() == ["a", "b", "c"]
        assert mine.read_bytes() == b"mine"
        assert pointer.resolve() == blob
    # All blobs lie elsewhere: that file is named.
    blob.parent.rename(tmp_path / "elsewhere")
    blob.parent.symlink_to(tmp_path / "elsewhere")
    blob.write_bytes(b"rotten")
    refused(lambda: fetch(DATA), "expected", f"delete {blob}, to which a link leads")
    assert (tmp_path / "elsewhere" / blob.name).read_bytes() == b"rotten"


def test_the_mirror_is_asked_first_in_either_layout(hub, tmp_path):
    mirror = tmp_path / "mirror"
    folder = mirror / "group" / "sets"
    (folder / "m").mkdir(parents=True)
    (mirror / "group" / "sets" / FIRST).write_bytes(shard("x"))
    refused(lambda: fetch(DATA, mirror=mirror), "'m'", "1 of 2", str(folder / "m"))
    (mirror / "group" / "sets" / SECOND).write_bytes(shard("w"))
    table, provenance = fetch(DATA, mirror=mirror)
    assert table["id"].to_pylist() == ["w", "x"]
    assert (provenance["from_mirror"], provenance["revision"]) == (True, None)
    (folder / "m.parquet").write_bytes(shard("one"))
    assert fetch(DATA, mirror=mirror)[0]["id"].to_pylist() == ["one"]
    (folder / "m.parquet").write_bytes(b"not parquet")
    refused(lambda: fetch(DATA, mirror=mirror), "cannot be read as Parquet", "m.parquet")
    assert hub.asked == []


def test_what_the_readme_downloads_elsewhere_is_a_mirror_here(
    server, tmp_path, checkpoint_dir, repo_root, monkeypatch
):
    """The `hf download` lines of the docs on a machine with a network, then none."""
    readme = (repo_root / "docs/cluster.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^hf download .*$", readme, flags=re.M)
    assert len(commands) == 2
    model = load_model_spec("chronos-2", repo_root / "config")
    data = load_registry(repo_root / "config" / "datasets.yaml")["exchange_rate"]
    files = {name: (checkpoint_dir / name).read_bytes() for name in CHECKPOINT_FILES}
    server.add("model", model.repo, model.revision, {**files, "model.bin": b"a pickle"})
    name = "exchange_rate/train-00000-of-00001.parquet"
    server.add("dataset", data.repo, COMMIT, {name: shard("b", "a"), "m4/x.parquet": shard("c")})
    mirror = tmp_path / "mirror"
    client = {"HF_ENDPOINT": server.base, "HF_HOME": str(tmp_path / "elsewhere")}
    for command in commands:
        program, *words = shlex.split(command.replace("MIRROR", str(mirror)))
        done = subprocess.run(
            [Path(sys.executable).with_name(program), *words],
            env={**os.environ, **client},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout
    assert not any(re.search("model.bin|m4/", line) for line in server.asked if "/resolve/" in line)
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    table, provenance = fetch(data, mirror=mirror)
    assert table["id"].to_pylist() == ["a", "b"]
    assert provenance["from_mirror"]
    weights = get_model(tmp_path, model, mirror)
    assert (weights["from_mirror"], weights["revision"]) == (True, None)
    assert weights["revision_requested"] == model.revision
    assert weights["sha256"]["model.safetensors"] == sha256(files["model.safetensors"])


# --- faults of the hub --------------------------------------------------------------------------


def test_404_repository(hub, tmp_path):
    refused(lambda: fetch(replace(DATA, repo="group/none")), "no dataset group/none", "mirror=")
    spec = replace(MODEL, repo="group/none")
    refused(lambda: get_model(tmp_path, spec), "'tiny'", "no model group/none", "mirror=")
    assert len(hub.asked) == 2  # an answer that will not change is asked for once


def test_404_revision(hub, tmp_path):
    refused(lambda: fetch(replace(DATA, revision="v9")), "no revision 'v9'")
    spec = replace(MODEL, revision=OTHER_COMMIT)
    refused(lambda: get_model(tmp_path, spec), f"no revision '{OTHER_COMMIT}'")


def test_404_file(hub, tmp_path):
    refused(lambda: fetch(replace(DATA, config="n")), "no file n/*.parquet", "m", "other")
    del hub.repositories[1].files["model.safetensors"]
    refused(lambda: get_model(tmp_path), "no file model.safetensors", "pytorch_model.bin")


def test_a_file_that_is_listed_and_gone(hub, waits):
    hub.faults.append(Fault(SECOND, status=404, headers={"X-Error-Code": "EntryNotFound"}))
    refused(lambda: fetch(DATA), "'m'", "has it not")
    assert waits == []


def test_401_gated(hub, tmp_path):
    for repo in hub.repositories:
        repo.gated = True
    refused(lambda: fetch(DATA), "accepted its terms", "HF_TOKEN")
    refused(lambda: get_model(tmp_path), "accepted its terms", "HF_TOKEN")


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("where", ["/api/", "HEAD .*/resolve/", "GET /store/"])
def test_a_busy_hub_is_asked_again_after_growing_waits(hub, waits, status, where):
    hub.faults.append(Fault(where, times=2, status=status))
    table, _ = fetch(DATA)
    assert table["id"].to_pylist() == ["a", "b", "c"]
    assert len(waits) >= 2 or "HEAD" in where
    assert waits == sorted(waits)


def test_a_hub_that_stays_busy_is_given_up(hub, waits, tmp_path):
    hub.faults.append(Fault("/api/", status=500))
    refused(lambda: get_model(tmp_path), "500", "mirror=", "HF_HOME")
    assert waits == [1, 2, 4, 8]
    assert len(hub.asked) == network.ATTEMPTS


def test_retry_after_is_obeyed_within_bounds(hub, waits):
    hub.faults.append(Fault("/api/", times=1, status=429, headers={"Retry-After": "7"}))
    hub.faults.append(Fault("/api/", times=1, status=429, headers={"Retry-After": "86400"}))
    fetch(DATA)
    assert waits == [7, network.LONGEST_PAUSE_S]


def test_a_broken_download_goes_on_where_it_broke(hub, tmp_path, monkeypatch):
    weights = hub.repositories[1].files["model.safetensors"]
    # The client keeps what arrived in whole chunks, of 10 MB outside this test.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 500)
    hub.faults.append(Fault("GET /store/", times=2, cut=1000))
    provenance = get_model(tmp_path)
    assert provenance["sha256"]["model.safetensors"] == sha256(weights)
    ranges = [line.split()[2] for line in hub.asked if line.count(" ") == 2]
    assert ranges == ["bytes=1000-", "bytes=2000-"]


def test_a_download_that_never_ends_is_given_up_and_leaves_nothing(hub, tmp_path):
    hub.faults.append(Fault("GET /store/", cut=0))
    refused(lambda: get_model(tmp_path), "'tiny'", "mirror=")
    assert cached(tmp_path, "*.safetensors") == []
    assert cached(tmp_path, "*.incomplete") == []


@pytest.mark.parametrize("what", ["data", "weights", "config"])
def test_another_file_than_stated_is_never_taken(hub, tmp_path, what):
    pattern = "/resolve/.*config.json" if what == "config" else "GET /store/"
    hub.faults.append(Fault(pattern, flip=True))
    if what == "data":
        refused(lambda: fetch(DATA), "train-00000-of-00002.parquet has sha256", "expected")
        assert cached(tmp_path, "*.parquet") == []
    else:
        kind = "sha256" if what == "weights" else "git blob sha1"
        refused(lambda: get_model(tmp_path), f"has {kind}", "expected")
        blobs = [path.name for path in cached(tmp_path, "*") if path.parent.name == "blobs"]
        assert len(blobs) == (1 if what == "weights" else 0)  # the good one
    hub.faults.clear()
    assert fetch(DATA)[0]["id"].to_pylist() == ["a", "b", "c"]
    assert get_model(tmp_path)["revision"] == COMMIT


def test_a_file_damaged_once_on_its_way_is_fetched_again(hub):
    hub.faults.append(Fault("GET /store/", times=1, flip=True))
    assert fetch(DATA)[0]["id"].to_pylist() == ["a", "b", "c"]


def test_another_commit_than_the_pin_is_refused(hub, tmp_path):
    spec = replace(MODEL, revision=OTHER_COMMIT)
    hub.repositories[1].commit, honest = OTHER_COMMIT, hub.information
    hub.information = lambda repo, revision: honest(replace(repo, commit=COMMIT), COMMIT)
    refused(lambda: get_model(tmp_path, spec), OTHER_COMMIT, f"answers with {COMMIT}")


def test_another_server_than_the_hub(hub, tmp_path, monkeypatch):
    hub.files["api/models/group/tiny/revision/" + COMMIT] = b"<html>Please log in</html>"
    refused(lambda: get_model(tmp_path), "does not answer as the hub does", "HF_ENDPOINT")


def test_no_network_names_mirror_and_cache(hub, tmp_path, waits, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    words = ("refused", "mirror=", "HF_HOME", str(tmp_path / "cache"))
    path = tmp_path / "group" / "sets" / "m.parquet"
    refused(lambda: fetch(DATA, mirror=tmp_path), str(path), *words)
    refused(lambda: get_model(tmp_path), "group/tiny", *words)
    refused(lambda: get_model(tmp_path, mirror=tmp_path), str(tmp_path / "group" / "tiny"), *words)
    assert waits == [1, 1, 1]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refused(lambda: get_model(tmp_path), "HF_HUB_OFFLINE is set", "mirror=", "HF_HOME")


def test_a_silent_hub_ends_in_time(hub, monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(network, "TIMEOUT_S", 0.3)
        began = time.perf_counter()
        refused(lambda: fetch(DATA), "timed out")
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_is_full_or_closed_is_named(hub, tmp_path, monkeypatch, waits, number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number), str(tmp_path / "cache"))

    monkeypatch.setattr("study.data.hub.hf_hub_download", fail)
    words = ("cannot write", os.strerror(number), str(tmp_path / "cache"), "HF_HOME")
    refused(lambda: fetch(DATA), *words)
    assert waits == []


# --- the rules ----------------------------------------------------------------------------------


@pytest.mark.workflow
def test_the_rules_fetch_weights_and_data_over_the_network(hub, csv, repo_root, tmp_path):
    """The workflow itself, its registry pointed at the server: files, sidecars, and a failure."""
    copy = tmp_path / "workflow"
    for part in ("workflow", "scripts", "config", "envs"):
        shutil.copytree(repo_root / part, copy / part, ignore=shutil.ignore_patterns("*.pyc"))
    entry = {"title": "Tiny", "source": "hub", "repo": "group/tiny", "revision": COMMIT}
    (copy / "config/models/tiny.yaml").write_text(yaml.safe_dump(entry))
    url = {
        "source": "url",
        "folder": "box",
        "timestamp": "date",
        "targets": ["y", "z"],
        "files": [
            {"item": "one", "file": "one.csv", "url": f"{csv.base}/one.csv", "sha256": sha256(CSV)}
        ],
    }
    sets = {"source": "hub", "repo": "group/sets"}
    registry = {"m": {**sets, "config": "m"}, "gone": {**sets, "config": "gone"}, "box": url}
    (copy / "config/datasets.yaml").write_text(yaml.safe_dump({"datasets": registry}))
    hub.faults += [Fault("/api/models", times=1, status=500), Fault("GET /store/", 1, cut=100)]
    good = ["models/tiny.json", "data/m.parquet", "data/box.parquet"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--cores", "1", "--keep-going"),
            *("--snakefile", str(copy / "workflow/Snakefile"), "--directory", str(tmp_path)),
            *("--config", "run=demo@tiny", "--"),
            *(f"results/{name}" for name in [*good, "data/gone.parquet"]),
        ],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.base},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    errors = {
        line.partition(" ERROR ")[2] for line in done.stdout.splitlines() if " ERROR " in line
    }
    assert len(errors) == 1, done.stdout
    assert "'gone'" in errors.pop()
    results = tmp_path / "results"
    assert not list(results.glob("data/*gone*"))
    assert not list(results.glob("**/.*"))

    stored = hub.repositories[1].files
    model = json.loads((results / "models/tiny.json").read_text())
    assert (model["source"], model["revision"]) == ("hub", COMMIT)
    assert model["sha256"]["model.safetensors"] == sha256(stored["model.safetensors"])
    assert (results / "models/tiny/config.json").read_bytes() == stored["config.json"]
    data = json.loads((results / "data/m.json").read_text())
    assert (data["source"], data["revision"], data["series"]) == ("hub", COMMIT, 3)
    assert data["parquet_sha256"] == sha256((results / "data/m.parquet").read_bytes())
    assert set(data["files"]) == {FIRST, SECOND}
    box = json.loads((results / "data/box.json").read_text())
    assert (box["source"], box["files"]["one.csv"]["sha256"]) == ("url", sha256(CSV))
