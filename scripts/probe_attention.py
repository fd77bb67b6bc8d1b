"""Measure how much attention stays within each radius, per head, layer and window of a study."""

from pathlib import Path

from chronos2_attention import Chronos2VariantPipeline
from study.attention.time_mass import mean_over, probe_suite, summarise
from study.config.study import load_study
from study.forecasts.batches import ForecastSettings
from study.forecasts.chronos2 import prepare_torch
from study.jobs.devices import pick_device
from study.jobs.files import atomic_path
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    params, output = snakemake.params, snakemake.output
    prepare_torch(snakemake.threads, params.seed)
    pipeline = Chronos2VariantPipeline.from_pretrained(
        Path(snakemake.input.weights).parent,
        device_map=pick_device(params.device),
        dtype=params.dtype,
    )
    log.info("starting with %s", pipeline.describe())
    heads = probe_suite(
        pipeline,
        load_study(snakemake.wildcards.study, Path(params.config_dir), params.only),
        dict(zip(params.datasets, map(Path, snakemake.input.data), strict=True)),
        ForecastSettings(params.batch_size, params.context_length, params.seed),
        radii=params.radii,
        max_windows_per_task=params.max_windows_per_task,
        max_series_per_window=params.max_series_per_window,
        exclude_reg_query=params.exclude_reg_query,
    )
    per_window = mean_over(heads)
    with (
        atomic_path(output.heads) as heads_path,
        atomic_path(output.layers) as layers_path,
        atomic_path(output.per_window) as per_window_path,
        atomic_path(output.summary) as summary_path,
    ):
        heads.to_parquet(heads_path, index=False)
        mean_over(heads, keep=["layer"]).to_parquet(layers_path, index=False)
        per_window.to_csv(per_window_path, index=False)
        summarise(per_window).to_csv(summary_path, index=False)
