"""Time attention variants and measure their memory, side by side in one process."""

from study.forecasts.batches import ForecastSettings
from study.forecasts.chronos2 import pipeline_of
from study.jobs.script import rule_script
from study.speed.efficiency import measure_suite

with rule_script(snakemake) as log:
    params, study = snakemake.params, snakemake.params.study
    pipeline = pipeline_of(snakemake)
    log.info("starting with %s", pipeline.describe())
    table = measure_suite(
        pipeline,
        params.variants,
        study,
        study.data_paths(snakemake.input.data),
        ForecastSettings.of(params.forecast),
        **params.efficiency,
    )
    table.to_csv(snakemake.output[0], index=False)
