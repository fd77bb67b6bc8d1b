"""Forecast one piece of a study under attention variants: quantiles and median per series."""

from contextlib import ExitStack
from pathlib import Path

from chronos2_attention.architecture import read_json
from study.forecasts.batches import ForecastSettings
from study.forecasts.chronos2 import forecast_variants, metadata_of, pipeline_of
from study.forecasts.files import ForecastWriter, SimilarityFile
from study.forecasts.slices import Piece
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    params, inputs, study = snakemake.params, snakemake.input, snakemake.params.study
    pipeline = pipeline_of(snakemake)
    metadata = metadata_of(
        pipeline, study, read_json(Path(inputs.model)), params.forecast, params.sparse
    )
    log.info("starting %s with %s", params.variants, metadata)
    with ExitStack() as stack:
        runs = []
        for name, path in zip(params.variants, snakemake.output, strict=True):
            run = pipeline.with_variant(name)
            told = {**metadata, "variant": name, "leaking": run.variant.leaking}
            writer = ForecastWriter(path, study.suite.quantile_levels, told)
            runs.append((run, stack.enter_context(writer)))
        forecast_variants(
            runs,
            study,
            study.data_paths(inputs.data),
            ForecastSettings.of(params.forecast),
            piece=Piece.parse(snakemake.wildcards.get("scatteritem", "1-of-1")),
            similarities=SimilarityFile(inputs.similarity[0]) if inputs.similarity else None,
        )
        for run, writer in runs:
            writer.add_metadata({"backend": run.describe()["backend"]})
