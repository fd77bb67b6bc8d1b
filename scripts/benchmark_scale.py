"""Measure time and memory from 1 000 series to 100 000 of M4's lengths, with a small model."""

import tempfile
from pathlib import Path

import pandas as pd

from study.forecasts.chronos2 import pipeline_of
from study.jobs.script import rule_script
from study.speed.scale import measure_scale

with rule_script(snakemake) as log:
    params = snakemake.params
    pipeline = pipeline_of(snakemake)
    with tempfile.TemporaryDirectory() as folder:
        options = {name: params.forecast[name] for name in ("batch_size", "seed")}
        # What is imported or made on first use would else count for the first row.
        measure_scale(pipeline, 100, Path(folder), **options)
        rows = [measure_scale(pipeline, count, Path(folder), **options) for count in params.scale]
    table = pd.DataFrame(rows).assign(
        device=pipeline.describe()["device"], threads=snakemake.threads
    )
    table.to_csv(snakemake.output[0], index=False)
    log.info("\n%s", table.to_string(index=False))
