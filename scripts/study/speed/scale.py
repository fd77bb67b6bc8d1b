"""Time and memory of forecasting against the number of series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chronos2_attention import Chronos2VariantPipeline
from study.config.models import ModelSpec
from study.config.study import Study
from study.config.suites import Suite, TaskSpec
from study.data.series_table import ROWS_AT_ONCE
from study.evaluation.scores import score_files
from study.forecasts.batches import ForecastSettings
from study.forecasts.chronos2 import forecast_variants
from study.forecasts.files import ForecastWriter
from study.forecasts.slices import task_slices
from study.speed.measuring import measured

# Lengths of the M4 competition's training series: share of the 100 000 series, and the least,
# median and largest length (Makridakis, Spiliotis, Assimakopoulos 2020, their table of the data).
M4_LENGTHS = [
    (0.23000, 13, 29, 835),
    (0.24000, 16, 88, 866),
    (0.48000, 42, 202, 2794),
    (0.00359, 80, 934, 2597),
    (0.04227, 93, 2940, 9919),
    (0.00414, 700, 960, 960),
]
LEVELS = (0.1, 0.5, 0.9)
HORIZON = 8


def m4_lengths(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw series lengths, (count,), log-uniform on either side of each M4 frequency's median."""
    shares = np.array([row[0] for row in M4_LENGTHS])
    kind = rng.choice(len(shares), count, p=shares / shares.sum())
    low, median, high = np.log(np.array([row[1:] for row in M4_LENGTHS], dtype=float)).T[:, kind]
    u = rng.random(count)
    below = low + 2 * u * (median - low)
    above = median + (2 * u - 1) * (high - median)
    return np.rint(np.exp(np.where(u < 0.5, below, above))).astype(int)


def write_series(path: Path, count: int, seed: int) -> None:
    """Write random walks with M4's lengths in the workflow's layout, a slice at a time."""
    rng = np.random.default_rng(seed)
    lists = {"timestamp": pa.list_(pa.timestamp("us")), "target": pa.list_(pa.float64())}
    schema = pa.schema({"id": pa.string(), **lists})
    day = 86_400_000_000
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for first in range(0, count, ROWS_AT_ONCE):
            rows = min(ROWS_AT_ONCE, count - first)
            lengths = m4_lengths(rows, rng) + HORIZON
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            values = rng.normal(size=offsets[-1]).cumsum()
            steps = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
            stamps = pa.array(steps * day).cast(pa.timestamp("us"))
            ids = pa.array([f"{first + row:09d}" for row in range(rows)])
            columns = [ids, *(pa.ListArray.from_arrays(offsets, x) for x in (stamps, values))]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=ROWS_AT_ONCE)


def measure_scale(
    pipeline: Chronos2VariantPipeline, count: int, folder: Path, *, batch_size: int, seed: int
) -> dict[str, float]:
    """Forecast and score `count` series of M4's lengths; CPU seconds are of all threads, MiB."""
    path = folder / f"{count}.parquet"
    write_series(path, count, seed)
    task = TaskSpec(name="m4", dataset="m4", horizon=HORIZON, seasonality=1)
    suite = Suite("scale", "Scale", "random walks", "none", LEVELS, (task,))
    study = Study("scale", suite, ModelSpec("random", "random weights", "random"))
    metadata = {"study": "scale", "variant": pipeline.variant.name, "model": "random"}
    forecasts = folder / f"{count}_forecasts.parquet"

    device, settings = pipeline.model.device, ForecastSettings(batch_size)
    with measured(device) as forecasting, ForecastWriter(forecasts, LEVELS, metadata) as writer:
        forecast_variants([(pipeline, writer)], study, {"m4": path}, settings)
    with measured(device) as scoring:
        score_files(task_slices(task, suite, path), (forecasts, folder / f"{count}_scores.parquet"))

    limit = pipeline.model_context_length
    tokens = 0
    for batch in pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE, columns=["target"]):
        lengths = np.asarray(batch["target"].value_lengths()) - HORIZON
        tokens += int((-(-np.minimum(lengths, limit) // 16) + 2).sum())
    cpu = forecasting.cpu_seconds + scoring.cpu_seconds
    row = {"series": count, "tokens": tokens}
    for what, taken in (("forecast", forecasting), ("score", scoring)):
        row[f"{what}_seconds"] = taken.seconds
        row[f"{what}_cpu_seconds"] = taken.cpu_seconds
        row[f"{what}_peak_rss_mb"] = taken.rss_mb
    return row | {"cpu_seconds_per_1000_series": 1000 * cpu / count}
