"""Measure what the probe of attention costs beside a forward pass, on random weights."""

from study.forecasts.chronos2 import pipeline_of
from study.jobs.script import rule_script
from study.speed.engine import benchmark_probe

SIZES = {"batch_size": 4, "num_patches": 512, "num_future": 4}

with rule_script(snakemake) as log:
    params = snakemake.params
    pipeline = pipeline_of(snakemake)
    table = benchmark_probe(
        pipeline.model, **SIZES, repeats=params.repeats, seed=params.forecast["seed"]
    )
    table.to_csv(snakemake.output[0], index=False)
    log.info("\n%s", table.T.to_string(header=False))
