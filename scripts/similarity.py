"""Measure how similar the series of each batch are, on their contexts."""

from pathlib import Path

from chronos2_attention.similarity import SimilaritySettings
from study.config.models import seen_by_model
from study.config.study import load_study
from study.forecasts.batches import write_similarities
from study.forecasts.similarity_files import SimilarityWriter
from study.jobs.files import atomic_path
from study.jobs.script import rule_script

with rule_script(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    study = load_study(wildcards.study, Path(params.config_dir), params.only)
    settings = SimilaritySettings(**params.settings)
    context_length = seen_by_model(snakemake.input.model, params.context_length)
    metadata = {
        "study": study.name,
        "measure": wildcards.measure,
        **params.settings,
        "batch_size": params.batch_size,
        "context_length": context_length,
    }
    with (
        atomic_path(snakemake.output[0]) as path,
        SimilarityWriter(path, metadata) as writer,
    ):
        write_similarities(
            study.suite,
            dict(zip(params.datasets, map(Path, snakemake.input.data), strict=True)),
            writer,
            wildcards.measure,
            settings,
            batch_size=params.batch_size,
            context_length=context_length,
        )
