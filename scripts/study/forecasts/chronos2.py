"""Forecasts of a suite's tasks, streamed to a file window by window."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chronos2_attention import AttentionVariant, Chronos2VariantPipeline, InputError
from chronos2_attention.backends import AUTO_CHUNK_SIZE
from chronos2_attention.errors import quote
from chronos2_attention.similarity import SimilaritySettings
from chronos2_attention.variants import Grouped
from study.config.study import Study
from study.config.suites import Suite
from study.data.series_table import ROWS_AT_ONCE
from study.forecasts.batches import ForecastSettings, WindowBatches
from study.forecasts.files import ForecastWriter, SimilarityFile
from study.forecasts.slices import WHOLE, Piece, task_slices
from study.forecasts.windows import too_short
from study.jobs.devices import pick_device
from study.jobs.progress import Work, progress

log = logging.getLogger("study.forecasting")

# Values of context and forecast that wait for each other, so that windows share batches.
MOST_VALUES = 4_000_000


def load_pipeline(
    weights: str, forecast: Mapping[str, Any], *, threads: int, **options: Any
) -> Chronos2VariantPipeline:
    """Load a checkpoint onto a device; set threads, seed and rounding, which results depend on."""
    torch.set_num_threads(threads)
    torch.manual_seed(forecast["seed"])
    torch.set_float32_matmul_precision("high" if forecast["dtype"] == "tf32" else "highest")
    return Chronos2VariantPipeline.from_pretrained(
        Path(weights).parent,
        device_map=pick_device(forecast["device"]),
        dtype=forecast["dtype"].replace("tf32", "float32"),
        **options,
    )


def pipeline_of(job: Any) -> Chronos2VariantPipeline:
    """Return a Snakemake job's pipeline; a wildcard `device` goes before the setting."""
    params = job.params
    device = job.wildcards.get("device", params.forecast.get("device"))
    options = dict(params.get("sparse", {}))
    if (similarity := params.get("similarity")) is not None:
        options["similarity_settings"] = SimilaritySettings(**similarity)
    forecast = {**params.forecast, "device": device}
    return load_pipeline(job.input.weights, forecast, threads=job.threads, **options)


def metadata_of(
    pipeline: Chronos2VariantPipeline,
    study: Study,
    provenance: Mapping[str, Any],
    forecast: Mapping[str, Any],
    sparse: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a file of forecasts says of its run, but for the variant."""
    return {
        "study": study.name,
        "model": study.model.name,
        "weights_source": provenance["source"],
        "weights_strict": True,
        **{k: v for k, v in pipeline.describe().items() if k not in ("backend", "variant")},
        "torch_device": str(pipeline.model.device),
        "chunk_size": sparse["chunk_size"] or AUTO_CHUNK_SIZE,
        "seed": forecast["seed"],
        "threads": torch.get_num_threads(),
        "batch_size": study.suite.batch_size or forecast["batch_size"],
        **{name: version(name) for name in ("torch", "chronos-forecasting", "fev")},
        "python": platform.python_version(),
    }


def forecast_variants(
    runs: Sequence[tuple[Chronos2VariantPipeline, ForecastWriter]],
    study: Study,
    data_paths: Mapping[str, Path],
    settings: ForecastSettings,
    *,
    piece: Piece = WHOLE,
    similarities: SimilarityFile | None = None,
) -> None:
    """Forecast every window of every task and write as some million values are done.

    `runs` are pipelines of one model, one a variant, with their writers; windows are read once for
    all. `similarities` are for soft masks; None measures them anew.
    """
    pipeline = runs[0][0]
    levels = sorted(study.suite.quantile_levels)
    missing = [level for level in levels if level not in pipeline.quantiles]
    if missing:
        what = f"model '{study.model.name}' has no quantile level {missing[0]}"
        mend = f"use levels among {pipeline.quantiles}"
        raise InputError(what, f"suite '{study.suite.name}'", mend)
    columns = [pipeline.quantiles.index(level) for level in levels]
    median = pipeline.quantiles.index(0.5)
    limit = settings.limit(pipeline)
    mixing = any(run.variant.mixes_series for run, _ in runs)
    names = " ".join(run.variant.name for run, _ in runs)
    _check_columns([run.variant for run, _ in runs], study.suite)
    work = Work(pipeline.model_output_patch_size)

    def flush(windows: list[WindowBatches]) -> None:
        for run, writer in runs:
            found = forecast_windows(run, windows, settings, similarities)
            for window, forecasts in zip(windows, found, strict=True):
                for number, target in enumerate(window.targets):
                    quantiles = forecasts[:, number]
                    writer.write_window(
                        window.task_name,
                        window.window_index,
                        target,
                        window.item_ids,
                        np.minimum(window.lengths, limit),
                        quantiles[:, median],
                        quantiles[:, columns].transpose(0, 2, 1),
                    )
        windows.clear()

    waiting: list[WindowBatches] = []
    batch_size = study.suite.batch_size or settings.batch_size
    for task in progress(study.suite.tasks, desc=f"{study.name} {names}", unit="task"):
        path = data_paths[task.dataset]
        written = 0
        # Where items change each other's batches, or the numbers of each other's categories, pieces
        # end where slices do, so that a split changes nothing.
        numbered = len(task.targets) > 1 and task.covariates
        multiple = ROWS_AT_ONCE if mixing or numbered else 1
        for evaluation in task_slices(task, study.suite, path, piece=piece, multiple=multiple):
            for window in WindowBatches.of(evaluation, batch_size):
                waiting.append(window)
                written += len(window.items)
                rows = np.repeat(window.lengths, window.sizes)
                work.add(rows, window.horizon, limit)
                if sum(held.values for held in waiting) > MOST_VALUES:
                    flush(waiting)
        if not written and piece.count == 1:
            raise too_short(task.name, str(path))
    flush(waiting)
    for run, _ in runs:
        log.info("ran %s: %s", run.describe(), work)


def _check_columns(variants: Sequence[AttentionVariant], suite: Suite) -> None:
    """Refuse groups by a static column that no task has; where some have it, say which."""
    for variant in variants:
        if not isinstance(variant, Grouped):
            continue
        having = [task.name for task in suite.tasks if variant.column in task.static_columns]
        if not having:
            what = f"no task has the static column {quote(variant.column)} of {variant.name!r}"
            raise InputError(what, f"suite {suite.name!r}", "name it in 'static_columns'")
        log.info("%s groups %s; other tasks are as under full", variant.name, ", ".join(having))


def forecast_windows(
    pipeline: Chronos2VariantPipeline,
    windows: Sequence[WindowBatches],
    settings: ForecastSettings,
    similarities: SimilarityFile | None,
) -> list[np.ndarray]:
    """All quantiles of n items of each window: float32, (n, targets, quantiles, horizon)."""
    found: list[Any] = [None] * len(windows)
    options = {"context_length": settings.context_length}
    for horizon in {window.horizon for window in windows}:
        which = [index for index, window in enumerate(windows) if window.horizon == horizon]
        if pipeline.variant.mixes_series:
            blocks = [
                windows[index].blocks(pipeline.variant, similarities, settings.seed)
                for index in which
            ]
            flat = [block for of_window in blocks for _, block in of_window]
            results = iter(pipeline.predict_blocks(flat, horizon, **options))
            for index, of_window in zip(which, blocks, strict=True):
                items: list[Any] = [None] * len(windows[index].items)
                for batch, _ in of_window:
                    for at, result in zip(batch, next(results), strict=True):
                        items[at] = result
                found[index] = torch.stack(items).numpy()
            continue
        # Upstream takes contexts alone, or prepared items alone.
        for plain in (True, False):
            alike = [index for index in which if windows[index].is_plain == plain]
            inputs = [item for index in alike for item in windows[index].items]
            if not inputs:
                continue
            most = settings.batch_size
            forecasts = iter(pipeline.predict(inputs, horizon, batch_size=most, **options))
            for index in alike:
                own = list(islice(forecasts, len(windows[index].items)))
                found[index] = torch.stack(own).numpy()
    return found
