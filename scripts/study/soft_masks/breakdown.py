"""Where the gain of soft masks comes from: by feature, by step of the horizon, by sample size.

The gain is 1 - variant / baseline of MASE, each first divided by the baseline's of their task (of
their pair, by step), so that no hard task rules it, of forecasts whose series shares its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan

import numpy as np
import pandas as pd

from study.evaluation.clusters import Pairs
from study.evaluation.statistics import ratio_of_means
from study.soft_masks.summary import Evaluated, early
from study.soft_masks.sweep import NO_CONTROL, setting_of

SMALLEST_SAMPLE = 100
BEST_SEEN, BEST_TRUE = "best in the sample", "best in the sample, later"
_SETTING = ["variant", "measure", "temperature", "control"]
_GAIN = ["gain", "ci_low", "ci_high"]


def gain_interval(
    baseline: np.ndarray, variant: np.ndarray, alpha: float
) -> tuple[float, float, float]:
    """Relative reduction of the mean error, and its interval's ends, by `ratio_of_means`."""
    ratio, half = ratio_of_means(baseline, variant, alpha)
    return 1 - ratio, 1 - ratio - half, 1 - ratio + half


def relative_errors(
    baseline_error: np.ndarray, errors: np.ndarray, keys: pd.DataFrame, pairs: Pairs
) -> tuple[np.ndarray, np.ndarray]:
    """Divide the errors of forecasts by their task's mean baseline error.

    `baseline_error` is (n,), `errors` (n_variants, n). Returns the m forecasts that count, with an
    error in every method, and their errors, (1 + n_variants, m), the baseline first.
    """
    known = np.isfinite(baseline_error) & np.isfinite(errors).all(axis=0)
    rows = np.flatnonzero(known & (pairs.steps > 0))
    task = keys["task_name"].to_numpy()[rows]
    mean = pd.Series(baseline_error[rows]).groupby(task).transform("mean").to_numpy()
    usable = mean > 0
    rows, mean = rows[usable], mean[usable]
    return rows, np.vstack([baseline_error[rows], errors[:, rows]]) / mean


def by_feature(
    baseline_error: np.ndarray,
    variants: Sequence[Evaluated],
    keys: pd.DataFrame,
    pairs: Pairs,
    feature_of: Callable[[str, str], str],
    *,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Gain of each variant on each feature, which `feature_of` tells, over forecasts."""
    errors = np.array([variant.error for variant in variants])
    rows, relative = relative_errors(baseline_error, errors, keys, pairs)
    used = keys.iloc[rows]
    named = used[["task_name", "item_id"]].drop_duplicates()
    named["feature"] = list(map(feature_of, named["task_name"], named["item_id"]))
    feature = used.merge(named, on=["task_name", "item_id"], how="left")["feature"]
    series = used.groupby(["task_name", "item_id", "target"], sort=False).ngroup().to_numpy()
    groups = {name: part.index for name, part in feature.groupby(feature, sort=False)}
    found = []
    for variant, errors in zip(variants, relative[1:], strict=True):
        for name, places in groups.items():
            base, other = relative[0, places], errors[places]
            counts = len(np.unique(series[places])), len(places)
            gain, improved = gain_interval(base, other, alpha), float((other < base).mean())
            found.append((*_setting(variant.name), name, *counts, *gain, improved))
    columns = [*_SETTING, "feature", "n_series", "n_forecasts", *_GAIN, "share_improved"]
    return pd.DataFrame(found, columns=columns)


def _setting(variant: str) -> tuple[object, ...]:
    return variant, *setting_of(variant).values()


def by_horizon(
    baseline_steps: np.ndarray,
    baseline_mase: np.ndarray,
    variants: Sequence[Evaluated],
    pairs: Pairs,
    *,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Gain of each variant at each step (from 1) that `n` pairs reach, from `step_errors`."""
    usable = pairs.counted & (baseline_mase > 0)
    scale = np.where(usable, baseline_mase, np.nan)[:, None]
    base = baseline_steps / scale
    found = []
    for variant in variants:
        other = variant.step_error / scale
        for step, known in enumerate((np.isfinite(base) & np.isfinite(other)).T):
            if known.any():
                gain = gain_interval(base[known, step], other[known, step], alpha)
                found.append((*_setting(variant.name), step + 1, int(known.sum()), *gain))
    return pd.DataFrame(found, columns=[*_SETTING, "step", "n", *_GAIN])


def sample_sizes(total: int, smallest: int = SMALLEST_SAMPLE) -> list[int]:
    """Return 1, 2 and 5 times powers of ten from `smallest` on, and `total` itself at the end."""
    steps = [base * 10**power for power in range(12) for base in (1, 2, 5)]
    return [*(step for step in steps if smallest <= step < total), total]


def by_sample_size(
    baseline_error: np.ndarray,
    variants: Sequence[Evaluated],
    keys: pd.DataFrame,
    pairs: Pairs,
    *,
    resamples: int,
    seed: int,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Gain in samples of growing size, with replacement, of variants that are no controls.

    Beside each stands the variant that is best in a sample of the `early` forecasts: its gain
    there, which such a study would report, and over all later ones, what it is worth. `ci_low` and
    `ci_high` are quantiles over samples; `measure` and `control` of the best are empty.
    """
    chosen = [v for v in variants if setting_of(v.name)["control"] == NO_CONTROL]
    errors = np.array([variant.error for variant in chosen])
    rows, relative = relative_errors(baseline_error, errors, keys, pairs)
    columns = [*_SETTING, "n_forecasts", *_GAIN, "resamples"]
    if not len(rows):
        return pd.DataFrame(columns=columns)
    rng = np.random.default_rng(seed)
    is_early = early(keys)[rows]
    later = relative[:, ~is_early]
    worth = (
        1 - later[1:].mean(axis=1) / later[0].mean() if later.size else np.full(len(chosen), nan)
    )

    def gains(part: np.ndarray, size: int) -> np.ndarray:
        drawn = (rng.integers(0, len(part), size) for _ in range(resamples))
        means = np.array([np.bincount(one, minlength=len(part)) @ part for one in drawn])
        return 1 - means[:, 1:] / means[:, :1]

    curves = []
    for size in sample_sizes(len(rows)):
        of_all = gains(np.ascontiguousarray(relative.T), size)
        curves += [(_setting(one.name), size, of_all[:, i]) for i, one in enumerate(chosen)]
    for size in sample_sizes(int(is_early.sum())) if is_early.any() else []:
        seen = gains(np.ascontiguousarray(relative[:, is_early].T), size)
        curves.append(((BEST_SEEN, None, nan, None), size, seen.max(axis=1)))
        curves.append(((BEST_TRUE, None, nan, None), size, worth[seen.argmax(axis=1)]))
    found = []
    for setting, size, curve in curves:
        low, high = np.quantile(curve, [alpha / 2, 1 - alpha / 2])
        found.append((*setting, size, curve.mean(), low, high, resamples))
    return pd.DataFrame(found, columns=columns)
