"""A soft mask against many shuffles of its similarities: does it matter whose partners they are?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from chronos2_attention import Chronos2VariantPipeline
from study.config.study import Study
from study.evaluation.clusters import pairs_of
from study.evaluation.statistics import BETTER, NOT_TESTED, OPEN, WORSE, log_ratios, paired_test
from study.forecasts.batches import ForecastSettings, WindowBatches
from study.forecasts.chronos2 import forecast_windows
from study.forecasts.files import KEY_COLUMNS, SimilarityFile, ratio
from study.forecasts.slices import task_slices
from study.jobs.progress import progress
from study.soft_masks.sweep import control_of

COLUMNS = ["variant", "seed", "log_ratio"]
# A mask whose gain has a larger p, before any correction, is none: shuffles need not tell of it.
SCREEN = 0.2


def may_gain(
    full: pd.DataFrame,
    mask: pd.DataFrame,
    unit: str,
    clusters: Mapping[str, tuple[str, str | None]],
) -> bool:
    """Whether a mask could yet be found better than full attention, from both `forecast_errors`."""
    keys = list(KEY_COLUMNS)
    pairs = pairs_of(full[keys], full["steps"], unit, clusters)
    errors = (full["MASE"], full[keys].merge(mask, how="left", on=keys)["MASE"])
    means = (pairs.mean(error.to_numpy()) for error in errors)
    found = paired_test(*means, clusters=pairs.labels["cluster"])
    return bool(found.log_ratio_mean < 0 and found.log_ratio_p < SCREEN)


def against_shuffles(
    pipeline: Chronos2VariantPipeline,
    study: Study,
    data_paths: Mapping[str, Path],
    settings: ForecastSettings,
    scores: str,
    clusters: Mapping[str, tuple[str, str | None]],
    *,
    number: int,
    windows_per_task: int,
    similarities: SimilarityFile | None = None,
) -> pd.DataFrame:
    """Forecast tasks' first windows under a mask and shuffles: mean log ratio of MASE to each."""
    batch_size, name = study.suite.batch_size or settings.batch_size, pipeline.variant.name
    windows = [
        window
        for task in study.suite.tasks
        for window in WindowBatches.of(
            next(task_slices(task, study.suite, data_paths[task.dataset])),
            batch_size,
            windows_per_task,
        )
    ]
    keys, truth, scale = _known(windows, scores)
    owner = np.repeat(np.arange(len(truth)), [len(row) for row in truth])
    truth = np.concatenate(truth)
    known = ~np.isnan(truth)
    steps = np.bincount(owner[known], minlength=len(keys))
    pairs = pairs_of(keys, steps, study.suite.pairs, clusters)
    median = pipeline.quantiles.index(0.5)

    def errors(run: Chronos2VariantPipeline, seed: int) -> np.ndarray:
        found = forecast_windows(run, windows, settings._replace(seed=seed), similarities)
        point = np.concatenate([part[:, :, median].swapaxes(0, 1).ravel() for part in found])
        off = np.bincount(owner[known], np.abs(truth - point)[known], len(keys))
        return pairs.mean(ratio(off, steps) / scale)

    mask = errors(pipeline, settings.seed)
    shuffled, rows = pipeline.with_variant(control_of(name, "permuted")), []
    seeds = range(settings.seed, settings.seed + number)
    for seed in progress(seeds, desc=f"shuffles of {name}", unit="shuffle"):
        found = pd.Series(log_ratios(errors(shuffled, seed), mask))
        rows.append((name, seed, found.groupby(pairs.labels["cluster"]).mean().mean()))
    return pd.DataFrame(rows, columns=COLUMNS)


def _known(
    windows: Sequence[WindowBatches], scores: str
) -> tuple[pd.DataFrame, list[np.ndarray], np.ndarray]:
    """Keys, truth and seasonal errors of the forecasts of windows, target after target."""
    key = list(KEY_COLUMNS)
    rows = [
        (window.task_name, window.window_index, item, target)
        for window in windows
        for target in window.targets
        for item in window.item_ids
    ]
    keys = pd.DataFrame(rows, columns=["task_name", "window_index", "item_id", "target"])
    table = pq.read_table(scores, columns=[*key, "truth", "seasonal_error"]).to_pandas()
    table = keys.merge(table, how="left", on=key, validate="one_to_one")
    scale = table["seasonal_error"].where(table["seasonal_error"] > 0).to_numpy()
    return keys[key], table["truth"].tolist(), scale


def shuffle_columns(found: pd.DataFrame, alpha: float) -> dict[str, object]:
    """A Monte Carlo test on `against_shuffles`: p is the mask's rank among its shuffles."""
    if not (number := len(found)):
        return {"shuffles": 0, "vs_shuffles_verdict": NOT_TESTED}
    # Rounding of equal forecasts is no difference.
    p = (1 + int((~(found["log_ratio"] < -1e-9)).sum())) / (number + 1)
    verdict = BETTER if p < alpha else WORSE if p >= 0.5 else OPEN
    return {
        "shuffles": number,
        "vs_shuffles_log_ratio_mean": found["log_ratio"].mean(),
        "vs_shuffles_p": p,
        "vs_shuffles_verdict": verdict,
    }
