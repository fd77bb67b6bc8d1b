"""Time and peak memory (MiB) of a block of code, on any device, for all that is measured here."""

from __future__ import annotations

import ctypes
import gc
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

MB = 2**20


@dataclass
class Measured:
    """What a block took: seconds on the wall, of all threads, and of a GPU by its own clock.

    `alloc_mb` and `reserved_mb` are GPU memory of tensors, and held for them (NaN on a CPU);
    `rss_mb` of the process; `above_mb` is above what was held before: of tensors on a GPU, else of
    the process.
    """

    seconds: float = nan
    cpu_seconds: float = nan
    device_seconds: float = nan
    alloc_mb: float = nan
    reserved_mb: float = nan
    rss_mb: float = nan
    above_mb: float = nan


@contextmanager
def measured(device: torch.device | str) -> Iterator[Measured]:
    """Measure a block, whose figures are there once it has ended."""
    device, found = torch.device(device), Measured()
    reset_peak_rss()
    before = peak_rss_mb()
    if on_gpu := device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) / MB
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
    wall, cpu = time.perf_counter(), time.process_time()
    yield found
    if on_gpu:
        end.record()
        torch.cuda.synchronize(device)
    found.seconds = found.device_seconds = time.perf_counter() - wall
    found.cpu_seconds = time.process_time() - cpu
    peak = found.rss_mb = peak_rss_mb()
    if on_gpu:
        found.device_seconds = start.elapsed_time(end) / 1000  # ms
        peak = found.alloc_mb = torch.cuda.max_memory_allocated(device) / MB
        found.reserved_mb = torch.cuda.max_memory_reserved(device) / MB
    found.above_mb = peak - before


def free_memory(device: torch.device | str) -> None:
    """Give free memory back to the device or the system, or it counts as held."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    elif Path("/proc/self/status").exists():
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
        if trim is not None:
            trim(0)


def peak_tensor_mb(call: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """Run a call slowly; return its result, and tensor memory (MiB) above what was held before."""
    if device.type == "cuda":
        with measured(device) as found:
            result = call()
        return result, found.above_mb
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
    """Return the peak of resident memory since the last reset, or since the start."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024  # kB
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB


# Dense TFLOP/s of NVIDIA's data sheets, by a part of torch's name of the card; the first that fits.
PUBLISHED_TFLOPS = {
    "B200": {"bfloat16": 2250, "tf32": 1100, "float32": 75},
    "H200": {"bfloat16": 989, "tf32": 494, "float32": 67},
    "H100 PCIe": {"bfloat16": 756, "tf32": 378, "float32": 51},
    "H100 NVL": {"bfloat16": 835, "tf32": 417, "float32": 60},
    "H100": {"bfloat16": 989, "tf32": 494, "float32": 67},
    "A100": {"bfloat16": 312, "tf32": 156, "float32": 19.5},
    "L40S": {"bfloat16": 362, "tf32": 183, "float32": 91.6},
}


def published_peak(device: str, precision: str) -> float:
    """Return the published floating-point operations a second of a card; NaN where unknown."""
    found = (peaks for card, peaks in PUBLISHED_TFLOPS.items() if card in device)
    return next(found, {}).get(precision, nan) * 1e12


def device_name(device: torch.device | str) -> str:
    """Return the model of a GPU, or of the processor."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):  # not Linux: the platform's name has to do
        return platform.processor() or platform.machine()
