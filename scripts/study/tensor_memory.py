"""Peak memory of tensors during a call, by the allocator's own record."""

from __future__ import annotations

from collections.abc import Callable
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
