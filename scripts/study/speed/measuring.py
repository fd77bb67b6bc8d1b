"""Peak memory: of tensors, by the allocator's own record, and of the process."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

MB = 2**20

Result = TypeVar("Result")


def peak_tensor_mb(call: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """Run a call and return its result with the peak of tensor memory that it took.

    On a GPU that is the caching allocator's peak. On a CPU every allocation and release of PyTorch
    is added up from the profiler's record; resident memory would also show what the C library
    keeps back, and the process itself. Work space of the mathematical library is in neither.

    Parameters
    ----------
    call:
        Run once; slower than without, so time it elsewhere.
    device:
        Whose memory counts.

    Returns
    -------
    The result, and MiB above what was held before the call.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = call()
        torch.cuda.synchronize(device)
        return result, (torch.cuda.max_memory_allocated(device) - before) / MB
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        result = call()
    held = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]" and event.device_type() == DeviceType.CPU:
            held += event.nbytes()
            peak = max(peak, held)
    return result, peak / MB


def reset_peak_rss() -> bool:
    """Let the kernel count the peak of resident memory anew; False where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_rss_mb() -> float:
    """Return the peak of resident memory (MiB) since the last reset, or since the start."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024  # kB
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB
