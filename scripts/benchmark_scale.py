"""Measure time and memory from 1 000 series to 100 000 of M4's lengths, with a small model."""

import tempfile
from pathlib import Path

import pandas as pd

from chronos2_attention import Chronos2VariantPipeline
from study.forecasts.chronos2 import prepare_torch
from study.jobs.devices import pick_device
from study.jobs.files import atomic_path
from study.jobs.script import rule_script
from study.speed.scale import measure_scale

with rule_script(snakemake) as log:
    params = snakemake.params
    prepare_torch(snakemake.threads, params.seed)
    pipeline = Chronos2VariantPipeline.from_pretrained(
        Path(snakemake.input.weights).parent, device_map=pick_device(snakemake.wildcards.device)
    )
    with tempfile.TemporaryDirectory() as folder:
        options = {"batch_size": params.batch_size, "seed": params.seed}
        # What is imported or made on first use would else count for the first row.
        measure_scale(pipeline, 100, Path(folder), **options)
        rows = [measure_scale(pipeline, count, Path(folder), **options) for count in params.series]
    table = pd.DataFrame(rows).assign(
        device=pipeline.describe()["device"], threads=snakemake.threads
    )
    with atomic_path(snakemake.output[0]) as path:
        table.to_csv(path, index=False)
    log.info("\n%s", table.to_string(index=False))
