"""Compare a soft mask with many shuffles of its similarities, all in one process."""

from study.forecasts.batches import ForecastSettings
from study.forecasts.chronos2 import pipeline_of
from study.forecasts.files import SimilarityFile
from study.jobs.script import rule_script
from study.soft_masks.shuffles import against_shuffles

with rule_script(snakemake) as log:
    params, inputs, study = snakemake.params, snakemake.input, snakemake.params.study
    pipeline = pipeline_of(snakemake).with_variant(params.variant)
    log.info("starting %s", pipeline.describe())
    table = against_shuffles(
        pipeline,
        study,
        study.data_paths(inputs.data),
        ForecastSettings.of(params.forecast),
        inputs.scores,
        params.clusters,
        **params.shuffles,
        similarities=SimilarityFile(inputs.similarity[0]),
    )
    table.to_csv(snakemake.output[0], index=False)
    log.info("%s", table.to_string(index=False))
