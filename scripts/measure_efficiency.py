"""Time attention variants and measure their memory, side by side in one process."""

from pathlib import Path

from chronos2_attention import Chronos2VariantPipeline
from study.config.study import load_study
from study.forecasts.batches import ForecastSettings
from study.forecasts.chronos2 import prepare_torch
from study.jobs.devices import pick_device
from study.jobs.files import atomic_path
from study.jobs.script import rule_script
from study.speed.efficiency import measure_suite

with rule_script(snakemake) as log:
    params = snakemake.params
    prepare_torch(snakemake.threads, params.seed)
    pipeline = Chronos2VariantPipeline.from_pretrained(
        Path(snakemake.input.weights).parent,
        device_map=pick_device(params.device),
        dtype=params.dtype,
        backend=params.backend,
        chunk_size=params.chunk_size,
    )
    log.info("starting with %s", pipeline.describe())
    table = measure_suite(
        pipeline,
        params.variants,
        load_study(snakemake.wildcards.study, Path(params.config_dir), params.only),
        dict(zip(params.datasets, map(Path, snakemake.input.data), strict=True)),
        ForecastSettings(params.batch_size, params.context_length, params.seed),
        perf_repeats=params.perf_repeats,
        max_series_per_task=params.max_series_per_task,
    )
    with atomic_path(snakemake.output[0]) as path:
        table.to_csv(path, index=False)
