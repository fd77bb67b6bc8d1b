"""What the probe of attention costs, beside the forward pass that it spells out."""

from __future__ import annotations

import copy
import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from chronos.chronos2 import Chronos2Model

from chronos2_attention.attention_mass import probe_batch
from chronos2_attention.model import Chronos2VariantModel
from study.jobs.progress import progress
from study.speed.measuring import MB, peak_rss_mb, reset_peak_rss

RADII = [2, 4, 8, 16, 32, 64, 128]


def eager_model(model: Chronos2VariantModel) -> Chronos2Model:
    """Return upstream's model on the very tensors of ours, with its softmax spelled out."""
    config = copy.deepcopy(model.config)
    config._attn_implementation = "eager"
    with torch.device(model.device):
        upstream = Chronos2Model(config)
    upstream.load_state_dict(model.state_dict(), assign=True)
    return upstream.to(model.dtype).eval()


@torch.no_grad()
def benchmark_probe(
    model: Chronos2VariantModel,
    *,
    batch_size: int,
    num_patches: int,
    num_future: int,
    repeats: int,
    seed: int,
) -> pd.DataFrame:
    """Time the probe and measure its memory, turn about with upstream's forward pass.

    Series are random walks; a sequence has a REG token besides its `num_patches` and `num_future`.
    The first of the repeats is not measured.

    One row a method: ``forward`` is upstream's forward pass with eager attention, ``weights`` the
    same with the attention weights of all layers kept, ``probe`` the mass at all of `RADII`.
    Seconds (median, least, most) and their ratio to ``forward``; peak memory in MiB above what was
    held before, and its ratio to `all_weights_mb`, the size of the time-attention weights of all
    layers.
    """
    generator = torch.Generator().manual_seed(seed)
    patch_size = model.chronos_config.input_patch_size
    context = torch.randn(batch_size, num_patches * patch_size, generator=generator).cumsum(-1)
    context = context.to(model.device)
    upstream = eager_model(model)
    methods: dict[str, Callable[[], object]] = {
        "forward": lambda: upstream(context, num_output_patches=num_future),
        "weights": lambda: upstream.encode(
            context=context, num_output_patches=num_future, output_attentions=True
        ),
        "probe": lambda: probe_batch(model, context, num_output_patches=num_future).lift(RADII),
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for repeat in progress(range(repeats + 1), desc="benchmark of the probe", unit="repeat"):
        for name, method in methods.items():
            found = _measure(method, model.device)
            if repeat:
                measured[name].append(found)
    tokens = num_patches + 1 + num_future
    config = model.config
    weights = config.num_layers * batch_size * config.num_heads * tokens**2
    weights_mb = weights * torch.finfo(model.dtype).bits / 8 / MB
    forward = statistics.median(seconds for seconds, _ in measured["forward"])
    rows = []
    for name, found in measured.items():
        seconds = [seconds for seconds, _ in found]
        memory = max(peak for _, peak in found)
        rows.append(
            {
                "method": name,
                "tokens": tokens,
                "batch_size": batch_size,
                "layers": config.num_layers,
                "seconds_median": statistics.median(seconds),
                "seconds_min": min(seconds),
                "seconds_max": max(seconds),
                "repeats": repeats,
                "ratio_to_forward": statistics.median(seconds) / forward,
                "peak_memory_mb": memory,
                "all_weights_mb": weights_mb,
                "ratio_to_all_weights": memory / weights_mb,
                "device": str(model.device),
                "dtype": str(model.dtype).removeprefix("torch."),
                "threads": torch.get_num_threads(),
            }
        )
    return pd.DataFrame(rows)


def _measure(method: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Return seconds, and the peak of memory above that before the call, in MiB."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device) / MB
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _return_free_memory()
        reset_peak_rss()
        before = peak_rss_mb()
    start = time.perf_counter()
    result = method()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    on_gpu = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(device) / MB if on_gpu else peak_rss_mb()
    del result
    return seconds, peak - before


def _return_free_memory() -> None:
    """Give what the C library holds free back to the system, or resident memory counts it twice."""
    if Path("/proc/self/status").exists():
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
        if trim is not None:
            trim(0)
