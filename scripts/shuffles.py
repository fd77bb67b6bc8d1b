"""Compare soft masks of a measure with many shuffles of their similarities, in one process."""

import pandas as pd

from study.evaluation.clusters import forecast_errors
from study.forecasts.batches import ForecastSettings
from study.forecasts.chronos2 import pipeline_of
from study.forecasts.files import SimilarityFile
from study.jobs.script import rule_script
from study.soft_masks.shuffles import COLUMNS, against_shuffles, may_gain

with rule_script(snakemake) as log:
    params, inputs, study = snakemake.params, snakemake.input, snakemake.params.study
    pipeline = pipeline_of(snakemake)
    log.info("starting %s with %s", params.variants, pipeline.describe())
    full = forecast_errors(inputs.scores)
    tables = [
        against_shuffles(
            pipeline.with_variant(variant),
            study,
            study.data_paths(inputs.data),
            ForecastSettings.of(params.forecast),
            inputs.scores,
            params.clusters,
            **params.shuffles,
            similarities=SimilarityFile(inputs.similarity[0]),
        )
        for variant, scores in zip(params.variants, inputs.masks, strict=True)
        if may_gain(full, forecast_errors(scores), study.suite.pairs, params.clusters)
    ]
    table = pd.concat(tables or [pd.DataFrame(columns=COLUMNS)], ignore_index=True)
    table.to_csv(snakemake.output[0], index=False)
    log.info("%s", table.groupby("variant", sort=False)["log_ratio"].describe().to_string())
