"""Concurrent processes share out GPUs: real processes, and names that stand in for GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import pytest
import torch

from chronos2_attention import InputError
from study.jobs import devices

# Takes a device, says which, and holds it until standard input is closed.
HOLDER = """
import sys
from pathlib import Path
from study.jobs.devices import claim_device

ids = sys.argv[2].split(",")
print(ids[claim_device(ids, Path(sys.argv[1]), poll_seconds=0.02)], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path, repo_root):
    """Start a process that takes one of the devices named; kill what is left at the end."""
    started = []

    def start(ids: str) -> subprocess.Popen:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", HOLDER, str(tmp_path), ids],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(repo_root / "scripts")},
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def taken(process: subprocess.Popen) -> str:
    """Wait for a process to have a device; return its name."""
    return process.stdout.readline().strip()


def waits(process: subprocess.Popen, seconds: float = 1.0) -> bool:
    """Say whether a process still has no device after some time."""
    os.set_blocking(process.stdout.fileno(), False)
    time.sleep(seconds)
    line = process.stdout.readline()
    os.set_blocking(process.stdout.fileno(), True)
    return process.poll() is None and not line


def test_devices_are_taken_in_order(start):
    assert [taken(start("a,b,c")) for _ in range(3)] == ["a", "b", "c"]


def test_processes_started_at_once_hold_different_devices(start):
    names = ["gpu0", "gpu1", "gpu2", "gpu3"]
    processes = [start(",".join(names)) for _ in names]
    assert sorted(taken(process) for process in processes) == names


def test_one_more_than_there_are_devices_waits_until_one_ends(start):
    first, second = start("a,b"), start("a,b")
    held = {taken(first): first, taken(second): second}
    third = start("a,b")
    assert waits(third)
    held["b"].stdin.close()
    assert taken(third) == "b"


def test_a_killed_process_frees_its_device(start):
    first = start("a")
    assert taken(first) == "a"
    second = start("a")
    assert waits(second)
    os.kill(first.pid, signal.SIGKILL)
    assert taken(second) == "a"


def test_one_named_device_is_waited_for_while_another_is_free(start):
    first = start("b")
    assert taken(first) == "b"
    assert waits(start("b"))
    assert taken(start("a,b")) == "a"


def test_a_process_gets_the_device_that_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_held", {})
    assert devices.claim_device(["a", "b"], tmp_path) == 0
    assert devices.claim_device(["a", "b"], tmp_path) == 0
    assert devices.claim_device(["b", "a"], tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.lock"]
    release()


def release() -> None:
    """Give back what this process holds, as its end would."""
    while devices._held:
        devices._held.popitem()[1].release()


@pytest.fixture
def fake_gpus(monkeypatch, tmp_path):
    """Let PyTorch report some GPUs, by UUID; locks lie in a folder of the test."""

    def fake_gpus(*uuids: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(uuids))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(uuids))
        monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=uuids[index])
        )

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(devices, "_held", {})
    yield fake_gpus
    release()


def test_settings_become_devices(fake_gpus):
    fake_gpus("one", "two")
    assert devices.pick_device("cpu") == "cpu"
    assert devices.pick_device("cuda:1") == "cuda:1"
    # This process holds the second already: it does not take another.
    assert devices.pick_device("auto") == devices.pick_device("cuda") == "cuda:1"


def test_a_gpu_is_known_by_its_uuid_whatever_its_number(fake_gpus, tmp_path):
    folder = f"chronos2-attention-{os.getuid()}-{devices.socket.gethostname()}"
    fake_gpus("one", "two")
    assert devices.pick_device("auto") == "cuda:0"
    assert (tmp_path / folder / "one.lock").exists()
    # A scheduler that shows only the second makes it number 0.
    release()
    fake_gpus("two")
    assert devices.pick_device("auto") == "cuda:0"
    assert (tmp_path / folder / "two.lock").exists()


def test_a_part_of_a_gpu_is_known_by_its_own_name(fake_gpus, tmp_path, monkeypatch):
    fake_gpus("whole")
    for part in ("MIG-one", "MIG-two"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{part},MIG-three")
        assert devices.gpu_ids() == [part]
        assert devices.pick_device("auto") == "cuda:0"
    assert {path.name for path in devices.lock_folder().iterdir()} == {
        "MIG-one.lock",
        "MIG-two.lock",
    }


def test_locks_outlive_a_logout(fake_gpus, tmp_path, monkeypatch):
    session = tmp_path / "session"
    session.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    assert devices.lock_folder().parent == tmp_path


@pytest.mark.parametrize("setting", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there_is_an_error(fake_gpus, setting):
    fake_gpus()
    with pytest.raises(InputError, match=f"no device '{setting}'; in forecast.device"):
        devices.pick_device(setting)


def test_auto_without_a_gpu_is_the_cpu(fake_gpus):
    fake_gpus()
    assert devices.pick_device("auto") == "cpu"


def test_a_folder_of_somebody_else_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    folder = f"chronos2-attention-{os.getuid()}-{devices.socket.gethostname()}"
    (tmp_path / folder).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="belongs to somebody else"):
        devices.lock_folder()
