"""Time and memory of attention variants, turn about in one process, so that load meets all."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from chronos2_attention import Chronos2VariantPipeline
from chronos2_attention.backends import AUTO_CHUNK_SIZE
from study.config.study import Study
from study.evaluation.comparison import TIMED_COLUMNS, TIMING_COLUMNS
from study.forecasts.batches import ForecastSettings
from study.forecasts.slices import SampledWindow, sample_windows
from study.jobs.progress import Work, progress
from study.speed.measuring import Measured, free_memory, measured

log = logging.getLogger("study.efficiency")


def measure(
    pipeline: Chronos2VariantPipeline, window: SampledWindow, settings: ForecastSettings
) -> Measured:
    """Forecast a window and measure it; again on a GPU, with an empty cache, for the memory."""
    device = pipeline.model.device

    def forecast() -> Measured:
        with measured(device) as found:
            pipeline.predict(
                window.items,
                prediction_length=window.horizon,
                batch_size=settings.batch_size,
                context_length=settings.context_length,
            )
        return found

    first = forecast()
    if device.type != "cuda":
        return first
    free_memory(device)
    return replace(forecast(), seconds=first.seconds, rss_mb=first.rss_mb)


def measure_suite(
    pipeline: Chronos2VariantPipeline,
    variants: Sequence[str],
    study: Study,
    data_paths: Mapping[str, Path],
    settings: ForecastSettings,
    *,
    perf_repeats: int,
    max_series_per_task: int,
) -> pd.DataFrame:
    """Measure variants on a window of a sample of each task's series, in turns.

    A row a task and variant: `task_name`, `variant`, `TIMING_COLUMNS` (`inference_time_s_std` has n
    - 1; `peak_rss_mb` is the largest), `TIMED_COLUMNS`, `threads`, `study`, `model`,
    `weights_fingerprint`.
    """
    rows = []
    work = Work(pipeline.model_output_patch_size)
    limit = settings.limit(pipeline)
    for task in progress(study.suite.tasks, desc=f"{study.name} efficiency", unit="task"):
        (window,) = sample_windows(
            task,
            study.suite,
            data_paths[task.dataset],
            max_windows=1,
            max_series=max_series_per_task,
            seed=settings.seed,
        )
        # A pipeline of its own for each task tells the backends of this task.
        contenders = [pipeline.with_variant(variant) for variant in variants]
        for contender in contenders:
            measure(contender, window, settings)
        found: list[list[Measured]] = [[] for _ in contenders]
        for turn in range(perf_repeats * len(contenders)):
            which = (turn // len(contenders) + turn) % len(contenders)
            found[which].append(measure(contenders[which], window, settings))
        work.add([len(series) for series in window.series], window.horizon, limit)
        for contender, taken in zip(contenders, found, strict=True):
            about, frame = contender.describe(), pd.DataFrame([vars(one) for one in taken])
            seconds, memory = frame["seconds"], frame[["alloc_mb", "reserved_mb"]]
            rows.append(
                {
                    "task_name": task.name,
                    "variant": about["variant"],
                    "inference_time_s_median": seconds.median(),
                    "inference_time_s_mean": seconds.mean(),
                    "inference_time_s_std": seconds.std(),
                    "perf_repeats": perf_repeats,
                    "perf_series": len(window.series),
                    **memory.median().add_prefix("peak_").add_suffix("_median"),
                    **memory.max().add_prefix("peak_").add_suffix("_max"),
                    "peak_rss_mb": frame["rss_mb"].max(),
                    **{name: about[name] for name in ("device", "dtype", "backend")},
                    "chunk_size": contender.model.settings.chunk_size or AUTO_CHUNK_SIZE,
                    "threads": torch.get_num_threads(),
                    "study": study.name,
                    "model": study.model.name,
                    "weights_fingerprint": about["weights_fingerprint"],
                }
            )
    backends = sorted({name for row in rows for name in row["backend"].split("+")})
    log.info(
        "timed %s on device %s, dtype %s, backend %s, %d times each: %s",
        *(", ".join(variants), about["device"], about["dtype"], "+".join(backends)),
        *(perf_repeats + 1, work),
    )
    columns = ["task_name", "variant", *TIMING_COLUMNS, *TIMED_COLUMNS]
    return pd.DataFrame(rows)[[*columns, "threads", "study", "model", "weights_fingerprint"]]
