"""Measure how much of the group attention crosses groups, per task, window and layer."""

from chronos2_attention import AttentionVariant
from study.attention.group_mass import measure_group_mass
from study.forecasts.batches import ForecastSettings
from study.forecasts.chronos2 import pipeline_of
from study.forecasts.files import SimilarityFile
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    params, inputs, study = snakemake.params, snakemake.input, snakemake.params.study
    pipeline = pipeline_of(snakemake)
    log.info("starting %s with %s", params.variants, pipeline.describe())
    table = measure_group_mass(
        pipeline,
        [AttentionVariant.parse(name) for name in params.variants],
        study,
        study.data_paths(inputs.data),
        ForecastSettings.of(params.forecast),
        windows_per_task=params.windows_per_task,
        similarities=SimilarityFile(inputs.similarity[0]) if inputs.similarity else None,
    )
    for name, output in zip(params.variants, snakemake.output, strict=True):
        rows = table[table["variant"] == name]
        rows.to_csv(output, index=False)
        log.info("%s: mean cross-group mass %.4f", name, rows["cross_group_mass"].mean())
