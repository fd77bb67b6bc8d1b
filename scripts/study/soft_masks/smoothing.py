"""Is a soft mask more than a smoother? Roughness, interval width, and a smoothed baseline.

Attention to other series averages, and an average is smooth; a smooth forecast can be the better
one with nothing learned from the others. The control for this smooths the baseline's own forecasts
along the horizon, of each task just so much that they are as rough as the variant's, with the
smoother of Whittaker (1923): of a path x it is the y that minimises

    sum (y - x)^2 + strength * sum (second difference of y)^2

It keeps straight lines as they are, has no edge to choose, and reaches any roughness down to zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import brentq

from study.soft_masks.pairs import Baseline, TaskForecasts

# Strengths between which a match is sought, as powers of ten: the ends change a path by
# less than rounding, and leave a straight line.
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
    """Mean absolute second difference of paths (n, horizon) over their scales (n,), over all n.

    NaN where paths have fewer than three steps, or no scale is known.
    """
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
    """Return the strength that brings paths to a target `roughness`.

    0 where the paths are no rougher than that, or roughness is undefined.
    """
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
    """Smooth the baseline's median forecasts of each task until they are as rough as the variant's.

    Returns by task the scaled absolute errors of the smoothed baseline, (n, horizon), and the
    strength. Where the variant is rougher than the baseline, the errors are the baseline's own.
    """
    errors, strengths = {}, {}
    for task, base in baseline.forecasts.items():
        scale = baseline.scale[task]
        target = roughness(variant[task].point, scale)
        strength = matching_strength(base.point, scale, target)
        strengths[task] = strength
        if strength == 0:
            errors[task] = base.scaled_error
        else:
            smoothed = smooth(base.point, strength)
            errors[task] = np.abs(baseline.truth[task] - smoothed) / scale[:, None]
    return errors, strengths


def damped_baseline(
    baseline: Baseline, variant: Mapping[str, TaskForecasts]
) -> dict[str, np.ndarray]:
    """Damp the trend of the baseline's median forecasts, of each task as much as the variant does.

    A spurious trend that is halved is a gain with nothing learned from other series. Of each path's
    line (least squares over the horizon) only a share of its rise from the first step is kept, the
    same for all of a task: that which brings the mean |rise| over the scale to the variant's, at
    most all. Returns the scaled absolute errors, (n, horizon), by task.
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
    """Roughness and interval width of a variant over the baseline's, geometric means over tasks.

    Tasks where a figure is zero or undefined are left out of its mean; NaN where none is left.
    """
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
