"""GPUs of one machine, shared out among jobs by locks, which end with their processes."""

from __future__ import annotations

import logging
import os
import re
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from chronos2_attention.errors import InputError, explained

log = logging.getLogger("study.devices")

SECONDS_BETWEEN_REMINDERS = 60
# Locks of this process, by their files. Held as long as the process lives.
_held: dict[Path, FileLock] = {}


def lock_folder() -> Path:
    """This user's folder of locks, in TMPDIR: jobs may outlive a login, and XDG_RUNTIME_DIR not."""
    name = f"chronos2-attention-{os.getuid()}-{socket.gethostname()}"
    folder = Path(tempfile.gettempdir()) / name
    mend = "set TMPDIR to a folder on this machine that you may write to"
    with explained("no place for the locks of GPUs", folder, mend, OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        owned = not folder.is_symlink() and folder.stat().st_uid == os.getuid()
    if not owned:
        reason = "the folder for the locks of GPUs belongs to somebody else"
        raise InputError(reason, str(folder), "remove it, or set TMPDIR to a folder of your own")
    return folder


def claim_device(ids: Sequence[str], folder: Path, *, poll_seconds: float = 0.5) -> int:
    """Hold the first free of `ids` while this process lives, waiting for one; return its index."""
    if not ids:
        raise InputError("no GPU is visible", "forecast.device", "use cpu")
    paths = [folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.lock" for name in ids]
    for index, path in enumerate(paths):
        if path in _held:
            return index
    reminded = None
    while True:
        for index, path in enumerate(paths):
            # Without locks in the kernel it must fail: a mere file would outlive its process.
            lock = FileLock(path, fallback_to_soft=False)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            _held[path] = lock
            log.info("took GPU %s", ids[index])
            return index
        now = time.monotonic()
        if reminded is None or now - reminded > SECONDS_BETWEEN_REMINDERS:
            log.info("waiting for one of %d GPUs: all are held by other jobs", len(ids))
            reminded = now
        time.sleep(poll_seconds)


def gpu_ids() -> list[str]:
    """Return the UUID of each GPU that this process may see, or the name of the part (MIG)."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    if visible.startswith("MIG-"):
        return [visible.partition(",")[0]]
    count, about = torch.cuda.device_count(), torch.cuda.get_device_properties
    return [str(about(index).uuid) for index in range(count)]


def pick_device(setting: str) -> str:
    """Turn a setting into ``cpu``, or ``cuda:i`` with PyTorch's number of a GPU, and hold that."""
    import torch

    if setting == "cpu" or (setting == "auto" and not torch.cuda.is_available()):
        return "cpu"
    ids = gpu_ids() if torch.cuda.is_available() else []
    _, _, number = setting.partition(":")
    wanted = range(int(number), int(number) + 1) if number else range(len(ids))
    if not ids or wanted.stop > len(ids):
        mend = "use auto or cpu, or an existing GPU"
        raise InputError(f"no device '{setting}'", "forecast.device", mend)
    index = wanted[claim_device([ids[index] for index in wanted], lock_folder())]
    torch.cuda.set_device(index)
    return f"cuda:{index}"
