"""Made-up forecasts of a known quality, for tests of the statistics of soft masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from study.forecasts.files import KEY_TYPES, LISTS, SIMILARITY_TYPES, ForecastWriter, RowWriter
from study.soft_masks.pairs import Baseline, TaskForecasts, soft_pairs

LEVELS = [0.1, 0.5, 0.9]
TASKS = {f"task{index:02d}": 6 + 2 * index for index in range(12)}  # name and horizon
ITEMS, WINDOWS = 5, 3


def forecasts(path: np.ndarray, truth: np.ndarray, scale: np.ndarray) -> TaskForecasts:
    width = scale[:, None] * np.ones_like(path)
    error = np.abs(truth - path)
    return TaskForecasts(
        path,
        path - width,
        path + width,
        error / scale[:, None],
        losses(truth, path, width).mean((0, 2)),
    )


def losses(truth: np.ndarray, path: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Quantile losses at `LEVELS`, (levels, n, horizon)."""
    pairs = zip(LEVELS, (path - width, path, path + width), strict=True)
    return np.array([2 * np.abs((truth - x) * ((truth <= x) - q)) for q, x in pairs])


def make_baseline(seed: int = 0, roughness: float = 0.0, level: float = 1.0) -> Baseline:
    """Straight truth; the baseline errs by a level of its own per forecast, and by noise."""
    rng = np.random.default_rng(seed)
    keys, made, truths, scales = {}, {}, {}, {}
    for task, horizon in TASKS.items():
        n = ITEMS * WINDOWS
        keys[task] = pd.DataFrame(
            {
                "task_name": task,
                "window_index": np.repeat(np.arange(WINDOWS), ITEMS),
                "item_id": np.tile([f"i{i}" for i in range(ITEMS)], WINDOWS),
                "target": "target",
            }
        )
        scale = rng.uniform(0.5, 20, n)
        truth = 5 + np.arange(horizon) * rng.normal(0, 1, n)[:, None] * scale[:, None]
        shift = level * rng.uniform(0.5, 1.5, n) * rng.choice([-1, 1], n)
        noise = roughness * rng.standard_normal((n, horizon))
        path = truth + scale[:, None] * (shift[:, None] + noise)
        made[task] = forecasts(path, truth, scale)
        truths[task], scales[task] = truth, scale
    return Baseline(keys, made, truths, scales, "abc")


def towards_truth(
    baseline: Baseline, share: float, noise: float = 0.0, seed: int = 1
) -> dict[str, TaskForecasts]:
    """The baseline with `share` of its error removed, and levels jittered by `noise`."""
    rng = np.random.default_rng(seed)
    found = {}
    for task, base in baseline.forecasts.items():
        truth, scale = baseline.truth[task], baseline.scale[task]
        jitter = 1 + noise * rng.standard_normal((len(scale), 1))
        found[task] = forecasts(truth + (base.point - truth) * (1 - share) * jitter, truth, scale)
    return found


def batch_sizes(baseline: Baseline, sizes: dict[str, int] | None = None) -> pd.Series:
    """Every window one batch; `sizes` overrides the batch size that a task's series see."""
    keys = baseline.all_keys
    values = keys["task_name"].map(lambda task: (sizes or {}).get(task, ITEMS))
    index = pd.MultiIndex.from_frame(keys[["task_name", "window_index", "item_id"]])
    return pd.Series(values.to_numpy(), index)


def write_method(folder, name, baseline, method, *, order=None, fingerprint="abc"):
    """Write a method's files of scores and forecasts, window by window; return both paths."""
    run = {"study": "s", "model": "m", "variant": name, "weights_fingerprint": fingerprint}
    paths = folder / f"{name}_scores.parquet", folder / f"{name}_forecasts.parquet"
    names = [f"ql_{level}" for level in LEVELS]
    lists = dict.fromkeys(["scaled_abs_error", "truth", *names], LISTS)
    types = {**KEY_TYPES, **lists, "seasonal_error": pa.float64()}
    with (
        RowWriter(paths[0], types, run) as scores,
        ForecastWriter(paths[1], LEVELS, run) as writer,
    ):
        for task in list(baseline.keys)[:: 1 if order is None else order]:
            part = method[task]
            loss = losses(baseline.truth[task], part.point, part.high - part.point)
            for window, rows in baseline.keys[task].groupby("window_index"):
                at = rows.index.to_numpy()[:: 1 if order is None else order]
                ids = list(baseline.keys[task]["item_id"].iloc[at])
                scores.write(
                    task_name=task,
                    window_index=window,
                    target="target",
                    item_id=ids,
                    scaled_abs_error=part.scaled_error[at],
                    truth=baseline.truth[task][at],
                    seasonal_error=baseline.scale[task][at],
                    **dict(zip(names, loss[:, at], strict=True)),
                )
                quantiles = np.stack([part.low[at], part.point[at], part.high[at]], axis=-1)
                lengths = np.full(len(at), 100)
                writer.write_window(task, window, "target", ids, lengths, part.point[at], quantiles)
    return paths


def write_similarities(path, baseline: Baseline, alone: tuple[str, ...] = ()):
    """Write a file of similarities: a batch a window, but a batch a series in tasks `alone`."""
    rng = np.random.default_rng(5)
    with RowWriter(path, SIMILARITY_TYPES, {"study": "s", "measure": "correlation"}) as writer:
        for task, keys in baseline.keys.items():
            for window, rows in keys.groupby("window_index"):
                ids = list(rows["item_id"])
                batches = [[item] for item in ids] if task in alone else [ids]
                for number, batch in enumerate(batches):
                    noise = rng.uniform(size=(len(batch), len(batch)))
                    matrix = (noise + noise.T) / 2
                    np.fill_diagonal(matrix, 1.0)
                    writer.write(
                        task_name=task,
                        window_index=window,
                        batch=number,
                        item_id=batch,
                        similarity=matrix,
                    )
    return path


def without_scale(baseline: Baseline, task: str) -> Baseline:
    """The baseline with a task whose first series has no scale, as a constant one."""
    scale = baseline.scale[task].copy()
    errors = baseline.forecasts[task].scaled_error.copy()
    scale[0], errors[0] = np.nan, np.nan
    forecast = replace(baseline.forecasts[task], scaled_error=errors)
    return replace(
        baseline,
        scale={**baseline.scale, task: scale},
        forecasts={**baseline.forecasts, task: forecast},
    )


def pairs_by(baseline: Baseline, unit: str = "task", sizes: dict[str, int] | None = None):
    """Pairs of which each task is its own source, and batch sizes, as `soft_pairs` finds them."""
    clusters = {task: (task, None) for task in baseline.keys}
    return soft_pairs(baseline, unit, batch_sizes(baseline, sizes), clusters)
