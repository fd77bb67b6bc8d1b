"""Forecast one piece of a study under attention variants: quantiles and median per series."""

import platform
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from chronos2_attention import Chronos2VariantPipeline
from chronos2_attention.backends import AUTO_CHUNK_SIZE
from chronos2_attention.similarity import SimilaritySettings
from study.config.study import load_study
from study.data.checkpoints import read_provenance
from study.forecasts.batches import ForecastSettings
from study.forecasts.chronos2 import forecast_variants, prepare_torch
from study.forecasts.files import ForecastWriter
from study.forecasts.similarity_files import SimilarityFile
from study.forecasts.slices import Piece
from study.jobs.devices import pick_device
from study.jobs.files import atomic_path
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    params, wildcards = snakemake.params, snakemake.wildcards
    prepare_torch(snakemake.threads, params.seed)
    study = load_study(wildcards.study, Path(params.config_dir), params.only)
    provenance = read_provenance(snakemake.input.model)
    pipeline = Chronos2VariantPipeline.from_pretrained(
        Path(snakemake.input.weights).parent,
        device_map=pick_device(params.device),
        dtype=params.dtype,
        backend=params.backend,
        chunk_size=params.chunk_size,
        similarity_settings=SimilaritySettings(**params.similarity_settings),
    )
    metadata = {
        "study": study.name,
        "model": study.model.name,
        "weights_source": provenance["source"],
        "weights_strict": True,
        **{k: v for k, v in pipeline.describe().items() if k not in ("backend", "variant")},
        "torch_device": str(pipeline.model.device),
        "chunk_size": params.chunk_size or AUTO_CHUNK_SIZE,
        "seed": params.seed,
        "threads": snakemake.threads,
        "batch_size": params.batch_size,
        **{name: version(name) for name in ("torch", "chronos-forecasting", "fev")},
        "python": platform.python_version(),
    }
    log.info("starting %s with %s", params.variants, metadata)
    similarity = snakemake.input.get("similarity")
    with ExitStack() as stack:
        runs = []
        for name, output in zip(params.variants, snakemake.output, strict=True):
            run = pipeline.with_variant(name)
            told = {**metadata, "variant": name, "leaking": run.variant.leaking}
            path = stack.enter_context(atomic_path(output))
            levels = study.suite.quantile_levels
            runs.append((run, stack.enter_context(ForecastWriter(path, levels, told))))
        forecast_variants(
            runs,
            study,
            dict(zip(params.datasets, map(Path, snakemake.input.data), strict=True)),
            ForecastSettings(params.batch_size, params.context_length, params.seed),
            piece=Piece.parse(wildcards.scatteritem),
            similarities=SimilarityFile(similarity[0]) if similarity else None,
        )
        for run, writer in runs:
            writer.add_metadata({"backend": run.describe()["backend"]})
