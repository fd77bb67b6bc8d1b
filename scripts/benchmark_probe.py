"""Measure what the probe of attention costs beside a forward pass, on random weights."""

from pathlib import Path

from chronos2_attention import Chronos2VariantPipeline
from study.forecasts.chronos2 import prepare_torch
from study.jobs.devices import pick_device
from study.jobs.files import atomic_path
from study.jobs.script import rule_script
from study.speed.probe import benchmark_probe

with rule_script(snakemake) as log:
    params = snakemake.params
    prepare_torch(snakemake.threads, params.seed)
    pipeline = Chronos2VariantPipeline.from_pretrained(
        Path(snakemake.input.weights).parent,
        device_map=pick_device(snakemake.wildcards.device),
        dtype=params.dtype,
    )
    table = benchmark_probe(
        pipeline.model,
        batch_size=params.batch_size,
        num_patches=params.num_patches,
        num_future=params.num_future,
        repeats=params.repeats,
        seed=params.seed,
    )
    with atomic_path(snakemake.output[0]) as path:
        table.to_csv(path, index=False)
    log.info("\n%s", table.T.to_string(header=False))
