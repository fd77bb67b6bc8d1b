"""Measure how similar the series of each batch are, on their contexts."""

from chronos2_attention.similarity import SimilaritySettings
from study.config.models import seen_by_model
from study.forecasts.batches import write_similarities
from study.forecasts.files import SIMILARITY_TYPES, RowWriter
from study.jobs.script import rule_script

with rule_script(snakemake):
    params, measure, study = snakemake.params, snakemake.wildcards.measure, snakemake.params.study
    limit = seen_by_model(snakemake.input.model, params.batches["context_length"])
    batches = {"batch_size": params.batches["batch_size"], "context_length": limit}
    metadata = {"study": study.name, "measure": measure, **params.similarity, **batches}
    with RowWriter(snakemake.output[0], SIMILARITY_TYPES, metadata) as writer:
        write_similarities(
            study.suite,
            study.data_paths(snakemake.input.data),
            writer,
            measure,
            SimilaritySettings(**params.similarity),
            **batches,
        )
