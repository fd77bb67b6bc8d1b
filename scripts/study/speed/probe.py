"""What the probe of attention costs, beside the forward pass that it spells out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from chronos2_attention.attention_mass import probe_batch
from chronos2_attention.model import Chronos2VariantModel
from study.jobs.progress import progress
from study.speed.engine import run_columns, upstream_model
from study.speed.measuring import MB, Measured, free_memory, measured

RADII = [2, 4, 8, 16, 32, 64, 128]


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
    # Spelled out, as the probe spells out the softmax.
    upstream = upstream_model(model, "eager")
    methods: dict[str, Callable[[], object]] = {
        "forward": lambda: upstream(context, num_output_patches=num_future),
        "weights": lambda: upstream.encode(
            context=context, num_output_patches=num_future, output_attentions=True
        ),
        "probe": lambda: probe_batch(model, context, num_output_patches=num_future).lift(RADII),
    }
    found: dict[str, list[Measured]] = {name: [] for name in methods}
    for repeat in progress(range(repeats + 1), desc="benchmark of the probe", unit="repeat"):
        for name, method in methods.items():
            free_memory(model.device)
            with measured(model.device) as taken:
                result = method()
            del result
            if repeat:
                found[name].append(taken)
    tokens = num_patches + 1 + num_future
    config = model.config
    weights = config.num_layers * batch_size * config.num_heads * tokens**2
    weights_mb = weights * torch.finfo(model.dtype).bits / 8 / MB
    seconds = pd.DataFrame({n: [one.seconds for one in taken] for n, taken in found.items()})
    memory = np.array([max(one.above_mb for one in taken) for taken in found.values()])
    median = seconds.median().to_numpy()
    return pd.DataFrame(
        {
            "method": list(methods),
            "tokens": tokens,
            "batch_size": batch_size,
            "layers": config.num_layers,
            "seconds_median": median,
            "seconds_min": seconds.min().to_numpy(),
            "seconds_max": seconds.max().to_numpy(),
            "repeats": repeats,
            "ratio_to_forward": median / median[0],
            "peak_memory_mb": memory,
            "all_weights_mb": weights_mb,
            "ratio_to_all_weights": memory / weights_mb,
            "device": str(model.device),
            **run_columns(model.dtype),
        }
    )
