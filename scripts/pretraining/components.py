"""What synthetic series, one a row, are made of: periods, seasons, trends, noise, functions."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

# Periods of calendar data from half-hourly to yearly, with their weights.
PERIODS = np.array([4, 5, 7, 12, 24, 48, 52, 96, 168])
PERIOD_WEIGHTS = np.array([0.22, 0.05, 0.13, 0.26, 0.17, 0.05, 0.05, 0.04, 0.03])


def draw_periods(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Draw a seasonal period for each series, mostly such that two cycles fit into `length`."""
    fits = np.where(length >= 2 * PERIODS, 1.0, 0.04)
    weights = PERIOD_WEIGHTS * fits
    periods = rng.choice(PERIODS, size=count, p=weights / weights.sum())
    odd = rng.random(count) < 0.06  # any other period, so that none is taken for granted
    periods[odd] = rng.integers(3, max(4, min(60, length // 2)), size=int(odd.sum()))
    return periods


def seasonal_pattern(rng: np.random.Generator, periods: np.ndarray, length: int) -> np.ndarray:
    """Unit-variance seasons (count, length), one period each: harmonics, or free values a phase."""
    count = len(periods)
    time = np.arange(length) + rng.integers(0, 1000, size=(count, 1))
    phase = 2 * np.pi * time / periods[:, None]
    harmonics = np.zeros((count, length))
    decay = rng.uniform(0.3, 1.5, size=count)
    for order in range(1, 6):
        usable = (2 * order <= periods) & (rng.random(count) < (1.0 if order == 1 else 0.6))
        amplitude = usable * rng.normal(size=count) / order**decay
        shift = rng.uniform(0, 2 * np.pi, size=(count, 1))
        harmonics += amplitude[:, None] * np.sin(order * phase + shift)
    widest = int(periods.max())
    free = rng.normal(size=(count, widest))
    heavy = rng.random(count) < 0.3
    free[heavy] = free[heavy] ** 3  # few phases stand out, as in a holiday quarter
    smooth = lfilter([0.25, 0.5, 0.25], [1.0], np.concatenate([free[:, -2:], free], axis=1))[:, 2:]
    free = np.where((periods > 16)[:, None], smooth, free)
    table = np.take_along_axis(free, time % periods[:, None], axis=1)
    return unit(np.where((rng.random(count) < 0.5)[:, None], harmonics, table))


def unit(x: np.ndarray) -> np.ndarray:
    """Centre each row and divide it by its standard deviation (rows of zeros stay zero)."""
    x = x - x.mean(axis=-1, keepdims=True)
    sd = x.std(axis=-1, keepdims=True)
    return x / np.where(sd > 1e-12, sd, 1.0)


def draw_noise(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """White noise of unit scale: Gaussian for most series, Student's t with 3 to 8 d.o.f. else."""
    e = rng.normal(size=(count, length))
    heavy = rng.random(count) < 0.3
    dof = rng.uniform(3, 8, size=(int(heavy.sum()), 1))
    e[heavy] /= np.sqrt(rng.chisquare(dof, size=(len(dof), length)) / dof)
    return e


def draw_lognormal(
    rng: np.random.Generator, median: float, spread: float, count: int
) -> np.ndarray:
    return median * np.exp(spread * rng.normal(size=count))


def maybe_exponentiate(rng: np.random.Generator, x: np.ndarray, share: float) -> np.ndarray:
    """Map a share of rows through exp(scale * x), with a log range that stays within reason."""
    chosen = rng.random(len(x)) < share
    rows, x = x[chosen], x.copy()
    width = rng.uniform(0.2, 2.5, size=len(rows)) / np.maximum(np.ptp(rows, axis=1), 1e-9)
    x[chosen] = np.exp((rows - rows.mean(axis=1, keepdims=True)) * width[:, None])
    return x


def fourier_features(
    rng: np.random.Generator, time: np.ndarray, scale: np.ndarray, mixed: bool = False
) -> np.ndarray:
    """Sample RBF kernels (or rational quadratic ones if `mixed`) by 24 random features."""
    count, features = len(scale), 24
    frequency = rng.normal(size=(count, features)) / scale[:, None]
    # A gamma-distributed precision turns the RBF kernel into the rational quadratic one. It is
    # drawn for both, or a seed would give other series.
    precision = rng.gamma(1.0, 1.0, size=(count, features))
    frequency *= np.sqrt(precision) if mixed else 1.0
    phase = rng.uniform(0, 2 * np.pi, size=(count, features))
    # one after another: all at once would need 24 times the memory
    x = sum(
        np.cos(f[:, None] * time + p[:, None]) for f, p in zip(frequency.T, phase.T, strict=True)
    )
    return x * np.sqrt(2.0 / features)


def draw_trend(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Trends over the unit interval: linear, broken, saturating, exponential, root, none."""
    u = np.linspace(0, 1, length)
    kind = rng.choice(6, size=count, p=[0.25, 0.2, 0.15, 0.1, 0.1, 0.2])[:, None]
    sign = np.where(rng.random((count, 1)) < 0.7, 1.0, -1.0)
    knot = rng.uniform(0.1, 0.95, size=(count, 1))
    change = rng.normal(size=(count, 1))
    steep = rng.uniform(3, 14, size=(count, 1))
    options = [
        u,
        u + change * np.maximum(u - knot, 0) * 2,
        1 / (1 + np.exp(-steep * (u - knot))),
        np.expm1(steep / 4 * u) / np.expm1(steep / 4),
        np.sqrt(u),
        0.0,
    ]
    return sign * np.select([kind == i for i in range(6)], options)


def draw_ar1(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Unit-variance AR(1) noise, coefficient mostly small and positive."""
    phi = np.where(rng.random(count) < 0.4, 0.0, rng.uniform(-0.3, 0.97, size=count))
    e = draw_noise(rng, count, length)
    return autoregressive(phi, e) * np.sqrt(1 - phi**2)[:, None]


def autoregressive(phi: np.ndarray, shocks: np.ndarray) -> np.ndarray:
    """AR(1) series of coefficients (n,) from shocks (n, length)."""
    return np.stack([lfilter([1.0], [1.0, -p], row) for p, row in zip(phi, shocks, strict=True)])
