"""Time upstream, our dense engine and every sparse backend on random weights, side by side."""

from pathlib import Path

import torch

from chronos2_attention import Chronos2VariantPipeline
from study.forecasts.chronos2 import prepare_torch
from study.jobs.devices import pick_device
from study.jobs.files import atomic_path
from study.jobs.script import rule_script
from study.speed.engine import RAGGED, dense_regime, ragged_regime, run_benchmark

with rule_script(snakemake) as log:
    params, inputs = snakemake.params, snakemake.input
    prepare_torch(snakemake.threads, params.seed)
    pipeline = Chronos2VariantPipeline.from_pretrained(
        Path(inputs.weights).parent,
        device_map=pick_device(snakemake.wildcards.device),
        dtype=getattr(torch, params.dtype),
    )
    name = snakemake.wildcards.regime
    if name in RAGGED:
        regime = ragged_regime(
            name, inputs.short, inputs.long, params.seed, num_short=240, num_long=12
        )
    else:
        regime = dense_regime(name, params.seed)
    table = run_benchmark(
        pipeline,
        regime,
        radii=params.radii,
        backends=params.backends,
        backend_radii=params.backend_radii,
        repeats=params.repeats,
        seconds=params.seconds,
        seed=params.seed,
    )
    with atomic_path(snakemake.output[0]) as path:
        table.to_csv(path, index=False)
    columns = ["regime", "method", "radius", "backend_ran", "seconds_median"]
    shown = [
        *columns,
        "ratio_to_upstream",
        "paired_ratio_to_full",
        "memory_ratio_to_full",
        "max_rel_difference",
    ]
    log.info("\n%s", table[shown].to_string(index=False))
