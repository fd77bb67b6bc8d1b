"""Forecasts of a suite's tasks, streamed to a file window by window."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chronos2_attention import Chronos2VariantPipeline, InputError
from chronos2_attention.backends import AUTO_CHUNK_SIZE
from study.config.study import Study
from study.data.series_table import ROWS_AT_ONCE
from study.forecasts.batches import ForecastSettings, WindowBatches
from study.forecasts.files import ForecastWriter, SimilarityFile
from study.forecasts.slices import WHOLE, Piece, task_slices
from study.forecasts.windows import too_short
from study.jobs.devices import pick_device
from study.jobs.progress import Work, progress

log = logging.getLogger("study.forecasting")


def load_pipeline(
    weights: str, forecast: Mapping[str, Any], *, threads: int, **options: Any
) -> Chronos2VariantPipeline:
    """Return a checkpoint on a device, as the settings ``forecast`` say, and fix torch's own.

    Those are what results could depend on: CPU threads, seed, full float32 products on GPUs.
    `weights` is its ``model.safetensors``; `options` are for `from_pretrained`.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(forecast["seed"])
    torch.set_float32_matmul_precision("highest")
    return Chronos2VariantPipeline.from_pretrained(
        Path(weights).parent,
        device_map=pick_device(forecast["device"]),
        dtype=forecast["dtype"],
        **options,
    )


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
        "batch_size": forecast["batch_size"],
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
    """Forecast every window of every task and write as a few thousand series are done.

    Where a variant mixes series, those of one batch share their cutoff timestamp, so that none sees
    the future of another. `runs` are pipelines of one model, one a variant, each with the writer
    that receives one row a forecast; windows are read once for all. `similarities` of the series in
    each batch are for soft masks; None measures them anew.
    """
    pipeline = runs[0][0]
    levels = sorted(study.suite.quantile_levels)
    missing = [level for level in levels if level not in pipeline.quantiles]
    if missing:
        raise InputError(
            f"model '{study.model.name}' has no quantile level {missing[0]}",
            f"suite '{study.suite.name}'",
            f"use levels among {pipeline.quantiles}",
        )
    columns = [pipeline.quantiles.index(level) for level in levels]
    median = pipeline.quantiles.index(0.5)
    limit = settings.limit(pipeline)
    # Where series mix, pieces end where batches do, so that a split changes no batch.
    multiple = ROWS_AT_ONCE if any(run.variant.mixes_series for run, _ in runs) else 1
    names = " ".join(run.variant.name for run, _ in runs)
    work = Work(pipeline.model_output_patch_size)
    for task in progress(study.suite.tasks, desc=f"{study.name} {names}", unit="task"):
        path = data_paths[task.dataset]
        written = 0
        for evaluation in task_slices(task, study.suite, path, piece=piece, multiple=multiple):
            for window in WindowBatches.of(evaluation, settings.batch_size):
                lengths = window.lengths
                for run, writer in runs:
                    forecasts = _forecast(run, window, settings, similarities)
                    writer.write_window(
                        task.name,
                        window.window_index,
                        window.target,
                        window.item_ids,
                        np.minimum(lengths, limit),
                        forecasts[:, median],
                        forecasts[:, columns].transpose(0, 2, 1),
                    )
                written += len(lengths)
                work.add(lengths, window.horizon, limit)
        if not written and piece.count == 1:
            raise too_short(task.name, str(path))
    for run, _ in runs:
        log.info("ran %s: %s", run.describe(), work)


def _forecast(
    pipeline: Chronos2VariantPipeline,
    window: WindowBatches,
    settings: ForecastSettings,
    similarities: SimilarityFile | None,
) -> np.ndarray:
    """Return all quantiles of a window's n series: float32, shape (n, quantiles, horizon)."""
    series = window.series
    shape = (len(series), len(pipeline.quantiles), window.horizon)
    forecasts = np.empty(shape, dtype=np.float32)
    for batch in window.batches(pipeline.variant):
        found = pipeline.predict(
            [torch.from_numpy(series[index]) for index in batch],
            prediction_length=window.horizon,
            batch_size=window.batch_size,
            context_length=settings.context_length,
            **window.mixing(batch, pipeline.variant, similarities, settings.seed),
        )
        forecasts[batch] = torch.cat(found).numpy()
    return forecasts
