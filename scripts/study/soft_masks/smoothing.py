"""Is a soft mask more than a smoother? Roughness, interval width, and a smoothed baseline.

The smoother is Whittaker's (1923): of a path x the y that minimises sum (y - x)^2 + strength * sum
(second difference of y)^2. It keeps straight lines, and reaches any roughness down to zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import brentq

from study.soft_masks.pairs import Baseline, TaskForecasts

# Powers of ten between which a strength is sought: from less than rounding to straight lines.
WEAKEST, STRONGEST = -6.0, 12.0


@lru_cache(maxsize=64)
def _spectrum(horizon: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues (h,) and eigenvectors (h, h) of D'D, and D (h - 2, h) times these."""
    differences = np.diff(np.eye(horizon), 2, axis=0)
    values, vectors = eigh(differences.T @ differences)
    values[:2] = 0.0  # straight lines; what eigh returns there is rounding
    return values, vectors, differences @ vectors


def smooth(paths: np.ndarray, strength: float) -> np.ndarray:
    """Smooth each path (n, horizon) along the horizon; the strength 0 leaves paths as they are."""
    if strength == 0 or paths.shape[1] < 3:
        return paths
    values, vectors, _ = _spectrum(paths.shape[1])
    return (paths @ vectors / (1 + strength * values)) @ vectors.T


def roughness(paths: np.ndarray, scale: np.ndarray) -> float:
    """Mean absolute second difference (n, horizon) over scales (n,); NaN below three steps."""
    if paths.shape[1] < 3:
        return np.nan
    return _mean(np.abs(np.diff(paths, 2, axis=1)), scale)


def interval_width(forecasts: TaskForecasts, scale: np.ndarray) -> float:
    """Mean distance of the highest from the lowest quantile over the scale, over all forecasts."""
    return _mean(forecasts.high - forecasts.low, scale)


def _mean(values: np.ndarray, scale: np.ndarray) -> float:
    known = ~np.isnan(scale)
    if not known.any():
        return np.nan
    return float((values[known].mean(axis=1) / scale[known]).mean())


def matching_strength(paths: np.ndarray, scale: np.ndarray, target: float) -> float:
    """Strength that brings paths to a target `roughness`; 0 where they are no rougher."""
    known = ~np.isnan(scale)
    horizon = paths.shape[1]
    if horizon < 3 or not known.any() or not target < roughness(paths, scale):
        return 0.0
    values, vectors, second = _spectrum(horizon)
    spectra = (paths[known] @ vectors) / scale[known, None]

    def excess(power: float) -> float:
        filtered = spectra / (1 + 10**power * values)
        return float(np.abs(filtered @ second.T).mean()) - target

    if excess(WEAKEST) <= 0:
        return 0.0
    if excess(STRONGEST) >= 0:
        return 10**STRONGEST
    return float(10 ** brentq(excess, WEAKEST, STRONGEST, xtol=1e-6))


def smoothed_baseline(
    baseline: Baseline, variant: Mapping[str, TaskForecasts]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Smooth the baseline's medians of each task until they are as rough as the variant's.

    Returns by task scaled absolute errors, (n, horizon), the baseline's own where the variant is
    rougher, and strength.
    """
    errors, strengths = {}, {}
    for task, base in baseline.forecasts.items():
        scale = baseline.scale[task]
        target = roughness(variant[task].point, scale)
        strength = strengths[task] = matching_strength(base.point, scale, target)
        errors[task] = base.scaled_error
        if strength > 0:
            smoothed = smooth(base.point, strength)
            errors[task] = np.abs(baseline.truth[task] - smoothed) / scale[:, None]
    return errors, strengths


def damped_baseline(
    baseline: Baseline, variant: Mapping[str, TaskForecasts]
) -> dict[str, np.ndarray]:
    """Damp the trend of the baseline's medians, of each task as much as the variant does.

    Of each path's rise from the first step, by least squares, that share is kept, at most all,
    which brings a task's mean |rise| over the scale to the variant's. Scaled absolute errors by
    task, (n, horizon).
    """
    errors = {}
    for task, base in baseline.forecasts.items():
        scale = baseline.scale[task]
        steps = np.arange(base.point.shape[1]) - 0.0
        centred = (steps - steps.mean()) / max(1.0, ((steps - steps.mean()) ** 2).sum())
        slopes = [x.point @ centred for x in (base, variant[task])]
        own, other = (_mean(np.abs(slope)[:, None], scale) for slope in slopes)
        lost = 1 - other / own if other < own else 0.0
        damped = base.point - lost * slopes[0][:, None] * steps
        errors[task] = np.abs(baseline.truth[task] - damped) / scale[:, None]
    return errors


def ratios(
    baseline: Baseline, variant: Mapping[str, TaskForecasts], tasks: list[str]
) -> dict[str, float]:
    """Roughness and interval width over the baseline's, geometric means of tasks with both."""
    logs: dict[str, list[float]] = {"roughness_ratio": [], "interval_width_ratio": []}
    for task in tasks:
        scale = baseline.scale[task]
        base, other = baseline.forecasts[task], variant[task]
        pairs = {
            "roughness_ratio": [roughness(x.point, scale) for x in (base, other)],
            "interval_width_ratio": [interval_width(x, scale) for x in (base, other)],
        }
        for name, (below, above) in pairs.items():
            if below > 0 and above > 0:
                logs[name].append(np.log(above / below))
    return {name: float(np.exp(np.mean(v))) if v else np.nan for name, v in logs.items()}
