"""Measure how much of the group attention crosses groups, per task, window and layer."""

from pathlib import Path

from chronos2_attention import AttentionVariant, Chronos2VariantPipeline
from chronos2_attention.similarity import SimilaritySettings
from study.attention.group_mass import measure_group_mass
from study.config.study import load_study
from study.forecasts.batches import ForecastSettings
from study.forecasts.chronos2 import prepare_torch
from study.forecasts.similarity_files import SimilarityFile
from study.jobs.devices import pick_device
from study.jobs.files import atomic_path
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    params, inputs = snakemake.params, snakemake.input
    prepare_torch(snakemake.threads, params.seed)
    study = load_study(snakemake.wildcards.study, Path(params.config_dir), params.only)
    pipeline = Chronos2VariantPipeline.from_pretrained(
        Path(inputs.weights).parent,
        device_map=pick_device(params.device),
        dtype=params.dtype,
        backend=params.backend,
        chunk_size=params.chunk_size,
        similarity_settings=SimilaritySettings(**params.similarity_settings),
    )
    log.info("starting %s with %s", params.variants, pipeline.describe())
    table = measure_group_mass(
        pipeline,
        [AttentionVariant.parse(name) for name in params.variants],
        study,
        dict(zip(params.datasets, map(Path, inputs.data), strict=True)),
        ForecastSettings(params.batch_size, params.context_length, params.seed),
        windows_per_task=params.windows_per_task,
        similarities=SimilarityFile(inputs.similarity[0]) if inputs.similarity else None,
    )
    for name, output in zip(params.variants, snakemake.output, strict=True):
        rows = table[table["variant"] == name]
        with atomic_path(output) as path:
            rows.to_csv(path, index=False)
        log.info("%s: mean cross-group mass %.4f", name, rows["cross_group_mass"].mean())
