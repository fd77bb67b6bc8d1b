"""Measure how much attention stays within each radius, per head, layer and window of a study."""

from study.attention.time_mass import mean_over, probe_suite, summarise
from study.forecasts.batches import ForecastSettings
from study.forecasts.chronos2 import pipeline_of
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    params, output, study = snakemake.params, snakemake.output, snakemake.params.study
    pipeline = pipeline_of(snakemake)
    log.info("starting with %s", pipeline.describe())
    heads = probe_suite(
        pipeline,
        study,
        study.data_paths(snakemake.input.data),
        ForecastSettings.of(params.forecast),
        **params.mass,
    )
    per_window = mean_over(heads)
    heads.to_parquet(output.heads, index=False)
    mean_over(heads, keep=["layer"]).to_parquet(output.layers, index=False)
    per_window.to_csv(output.per_window, index=False)
    summarise(per_window).to_csv(output.summary, index=False)
