"""Forecast one piece of a study under one attention variant, quantiles and median per series."""

import platform
from importlib.metadata import version
from pathlib import Path

from chronos2_attention import Chronos2VariantPipeline
from chronos2_attention.backends import AUTO_CHUNK_SIZE
from study.devices import pick_device
from study.files import atomic_path
from study.forecast_files import ForecastWriter
from study.forecasting import forecast_suite, prepare_torch
from study.models import read_provenance
from study.runtime import rule_script
from study.slices import Piece
from study.studies import load_study

with rule_script(snakemake) as log:
    params, wildcards = snakemake.params, snakemake.wildcards
    prepare_torch(snakemake.threads, params.seed)
    study = load_study(wildcards.study, Path(params.config_dir), params.only)
    provenance = read_provenance(snakemake.input.model)
    pipeline = Chronos2VariantPipeline.from_pretrained(
        Path(snakemake.input.weights).parent,
        variant=wildcards.variant,
        device_map=pick_device(params.device),
        dtype=params.dtype,
        backend=params.backend,
        chunk_size=params.chunk_size,
    )
    metadata = {
        "study": study.name,
        "model": study.model.name,
        "weights_source": provenance["source"],
        "weights_strict": True,
        **{key: text for key, text in pipeline.describe().items() if key != "backend"},
        "torch_device": str(pipeline.model.device),
        "chunk_size": params.chunk_size or AUTO_CHUNK_SIZE,
        "seed": params.seed,
        "threads": snakemake.threads,
        "batch_size": params.batch_size,
        **{name: version(name) for name in ("torch", "chronos-forecasting", "fev")},
        "python": platform.python_version(),
    }
    log.info("starting with %s", metadata)
    with (
        atomic_path(snakemake.output[0]) as path,
        ForecastWriter(path, study.suite.quantile_levels, metadata) as writer,
    ):
        forecast_suite(
            pipeline,
            study,
            dict(zip(params.datasets, map(Path, snakemake.input.data), strict=True)),
            writer,
            batch_size=params.batch_size,
            context_length=params.context_length,
            piece=Piece.parse(wildcards.scatteritem),
        )
        writer.add_metadata({"backend": pipeline.describe()["backend"]})
