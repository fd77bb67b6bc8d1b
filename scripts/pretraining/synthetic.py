"""Synthetic univariate series: the families that the embedded checkpoint learns from.

Every family is ``(rng, count, length) -> (count, length)``, float64; scale and offset are
immaterial, since the model standardises by the context.

Sources: exponential smoothing in innovations form: Hyndman et al., *Forecasting with Exponential
Smoothing* (2008), chapter 2; seasonal ARIMA: Box and Jenkins, *Time Series Analysis* (1970);
KernelSynth and TSMixup: Chronos paper (Ansari et al., 2024), appendix A and section 4.1, kernels
sampled by random Fourier features (Rahimi and Recht, 2007), a product of kernels as the product of
independent functions, which has the same covariance; structural: TSI of the Chronos-2 report
(2025); intermittent demand: Croston, *Operational Research Quarterly* 23 (1972).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.signal import lfilter

from .components import (
    autoregressive,
    draw_ar1,
    draw_lognormal,
    draw_noise,
    draw_periods,
    draw_trend,
    fourier_features,
    maybe_exponentiate,
    seasonal_pattern,
    unit,
)

# Pairs (short, long) that occur together: hours in day and week, days in week and year, ...
NESTED_PERIODS = ((24, 168), (24, 168), (48, 336), (7, 365), (7, 30), (96, 672), (12, 60), (4, 52))


def ets(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Exponential smoothing: level, (damped) trend, season; multiplicative where exponentiated."""
    periods = draw_periods(rng, count, length)
    widest = int(periods.max())
    kind = rng.random(count)
    alpha = np.select(
        [kind < 0.1, kind < 0.55, kind <= 0.95],
        [0.0, rng.uniform(0, 1, count), rng.beta(1.2, 4, count)],
        1.0,
    )
    beta = np.where(rng.random(count) < 0.45, alpha * rng.beta(1.2, 5, count), 0.0)
    gamma = np.where(rng.random(count) < 0.6, (1 - alpha) * rng.beta(1.0, 5, count), 0.0)
    damping = np.where(rng.random(count) < 0.5, 1.0, rng.uniform(0.8, 0.99, count))
    has_trend = rng.random(count) < 0.65
    has_season = rng.random(count) < 0.65
    slope = has_trend * rng.normal(size=count) * draw_lognormal(rng, 0.25, 1.0, count)
    slope = np.where(rng.random(count) < 0.6, np.abs(slope), slope)  # business series mostly grow
    strength = has_season * draw_lognormal(rng, 2.0, 0.9, count)
    season = seasonal_pattern(rng, periods, widest) * strength[:, None]
    # The first `period` phases are the state; the rest is never read.
    noise = draw_noise(rng, count, length)
    rows, level = np.arange(count), np.zeros(count)
    gamma, beta = gamma * has_season, beta * has_trend
    out = np.empty((count, length))
    for t, e in enumerate(noise.T):
        at, damped = t % periods, damping * slope
        s = season[rows, at]
        out[:, t] = level + damped + s + e
        level = level + damped + alpha * e
        slope = damped + beta * e
        season[rows, at] = s + gamma * e
    return maybe_exponentiate(rng, out, share=0.5)


def _stationary_ar(rng: np.random.Generator, order: int) -> np.ndarray:
    """Coefficients (1, -phi_1, ...) of a stationary AR, from partial autocorrelations."""
    phi = np.zeros(0)
    for _ in range(order):
        partial = np.clip(rng.normal(0.25, 0.45), -0.95, 0.95)
        phi = np.concatenate([phi - partial * phi[::-1], [partial]])
    return np.concatenate([[1.0], -phi])


def sarima(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Seasonal ARIMA (p, d, q)(P, D, Q)[s], d in {0, 1, 2}, with drift; part is exponentiated."""
    periods = draw_periods(rng, count, length)
    burn = 40
    noise = draw_noise(rng, count, length + burn)
    out = np.empty((count, length))
    for i, period in enumerate(periods):
        seasonal = rng.random() < 0.6
        ar = _stationary_ar(rng, rng.integers(0, 4))
        ma = np.concatenate([[1.0], rng.uniform(-0.9, 0.5, size=rng.integers(0, 3))])
        d = rng.choice(3, p=[0.4, 0.5, 0.1])
        if d == 2:
            ma = np.convolve([1.0, -rng.uniform(0.3, 0.95)], [1.0, -rng.uniform(0.0, 0.95)])
        x = lfilter(ma, ar, noise[i])
        if seasonal:
            top, bottom = np.eye(2, period + 1)[[0, 0]]
            top[-1] = -rng.uniform(0.2, 0.95)
            bottom[-1] = -1.0 if rng.random() < 0.6 else -rng.uniform(0.3, 0.95)
            start = rng.normal(size=period) * rng.lognormal(0.8, 0.8)
            x = lfilter(top, bottom, x)
            if bottom[-1] == -1.0:  # a seasonal unit root keeps its initial pattern for ever
                x = x + np.resize(start - start.mean(), len(x))
        x = x[burn:]
        for _ in range(d):
            x = np.cumsum(x - x[: max(1, length // 8)].mean() * (d == 2))
        if d == 1:
            slope = rng.normal() * rng.lognormal(-1.8, 1.0)
            x = x + slope * np.arange(length) * (rng.random() < 0.6)
        out[i] = x
    return maybe_exponentiate(rng, out, share=0.35)


def random_walk(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Random walks with drift and stochastic volatility; three in four are log prices."""
    persistence = rng.uniform(0.9, 0.995, size=count)
    shock = rng.normal(size=(count, length)) * rng.uniform(0.0, 0.35, size=(count, 1))
    log_volatility = autoregressive(persistence, shock)
    steps = draw_noise(rng, count, length) * np.exp(np.clip(log_volatility, -3, 3))
    drift = np.where(rng.random(count) < 0.4, rng.normal(size=count) * 0.12, 0.0)
    x = np.cumsum(steps + drift[:, None], axis=1)
    return maybe_exponentiate(rng, x, share=0.75)


def kernel_synth(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """KernelSynth: up to four base kernels, composed at random with + and x."""
    time = np.arange(length, dtype=float)
    total = np.zeros((count, length))
    parts = rng.integers(1, 5, size=count)
    for part in range(4):
        live = np.flatnonzero(parts > part)
        kinds = rng.choice(5, size=len(live), p=[0.15, 0.4, 0.2, 0.15, 0.1])
        x = np.empty((len(live), length))
        for kind in np.unique(kinds):
            rows = np.flatnonzero(kinds == kind)
            if kind == 0:  # linear
                x[rows] = rng.normal(size=(len(rows), 1)) + rng.normal(size=(len(rows), 1)) * (
                    3 * (time / length - rng.uniform(0, 1, size=(len(rows), 1)))
                )
            elif kind == 1:  # periodic: all energy in the harmonics of one period
                x[rows] = seasonal_pattern(rng, draw_periods(rng, len(rows), length), length)
            elif kind in (2, 3):  # RBF, rational quadratic
                scale = length * 10 ** rng.uniform(-2.0, 0.2, size=len(rows))
                x[rows] = fourier_features(rng, time, scale, mixed=kind == 3)
            else:  # white
                x[rows] = rng.normal(size=(len(rows), length))
        product = (rng.random(len(live)) < 0.4)[:, None] & (part > 0)
        total[live] = np.where(product, total[live] * x, total[live] + x)
    amount = draw_lognormal(rng, 0.08, 1.2, count)[:, None]
    return maybe_exponentiate(rng, unit(total) + amount * draw_noise(rng, count, length), share=0.2)


def structural(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Trend, one or two (nested) seasonalities, irregular part; additive or multiplicative."""
    period = draw_periods(rng, count, length)
    second = np.zeros(count)
    nested = rng.random(count) < 0.35
    outer = period.copy()
    for i in np.flatnonzero(nested):
        short, long = NESTED_PERIODS[rng.integers(len(NESTED_PERIODS))]
        if short < length / 2:
            period[i], outer[i], second[i] = short, long, rng.lognormal(-0.5, 0.7)
    season = seasonal_pattern(rng, period, length) * draw_lognormal(rng, 1.0, 0.8, count)[:, None]
    season += seasonal_pattern(rng, outer, length) * second[:, None]
    season *= rng.random((count, 1)) < 0.85
    growing = rng.random((count, 1)) < 0.25  # seasonal amplitude that drifts
    season *= np.where(growing, np.linspace(0.4, 1.6, length), 1.0)
    trend = draw_trend(rng, count, length) * draw_lognormal(rng, 2.0, 0.9, count)[:, None]
    noise = draw_ar1(rng, count, length) * draw_lognormal(rng, 0.35, 0.9, count)[:, None]
    return maybe_exponentiate(rng, trend + season + noise, share=0.45)


def daily_profile(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Loads, traffic and sun: a daily profile, weekends, holiday-like dips, clipping at zero."""
    steps = rng.choice([24, 24, 24, 48, 96, 144] if length > 200 else [24], size=count)
    t = np.arange(length) + rng.integers(0, 5000, size=(count, 1))
    profile = seasonal_pattern(rng, steps, length)
    wave = 1.2 * np.sin(2 * np.pi * t / steps[:, None] + rng.uniform(0, 6.28, size=(count, 1)))
    profile += wave * rng.uniform(0, 1.5, size=(count, 1))
    day = t // steps[:, None]
    weekend = (day % 7 >= 5) * rng.uniform(-1.5, 0.3, size=(count, 1))
    weekend = weekend * (rng.random((count, 1)) < 0.6)
    days = int(day.max()) + 1
    holiday = rng.random((count, days)) < rng.choice([0.0, 0.01, 0.03], size=(count, 1))
    mood = lfilter([1.0], [1.0, -0.7], rng.normal(size=(count, days)), axis=1)
    daily = mood * rng.uniform(0, 0.5, size=(count, 1)) - 1.5 * holiday
    level = np.take_along_axis(daily, day, axis=1)
    slow = fourier_features(rng, np.arange(length), np.full(count, 0.3 * length + 100))
    noise = draw_ar1(rng, count, length) * draw_lognormal(rng, 0.2, 0.8, count)[:, None]
    x = profile * (1 + 0.3 * weekend) + weekend + level
    x = x + slow * rng.uniform(0, 1, (count, 1)) + noise
    clipped = rng.random(count) < 0.3  # night, closed hours
    floor = np.quantile(x, rng.uniform(0.2, 0.55), axis=1, keepdims=True)
    x[clipped] = np.maximum(x - floor, 0)[clipped]
    lively = ~clipped & (rng.random(count) < 0.4)
    x[lively] = np.exp(0.4 * x[lively])
    return x


def calendar(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Daily and weekly rhythms with little noise; a third have one point a day, a rhythm of 7."""
    choices = np.array([1, 1, 1, 12, 24, 24, 24, 48, 48, 96])
    steps = rng.choice(choices[2 * choices < length], size=count)
    t = np.arange(length) + rng.integers(0, 10_000, size=(count, 1))
    day, phase = np.divmod(t, steps[:, None])
    weekday = day % 7
    kind = np.where(weekday < 5, 0, weekday - 4)
    angle = 2 * np.pi * np.arange(steps.max()) / steps[:, None]
    common = np.zeros((count, steps.max()))
    apart = np.zeros((count, 3, steps.max()))
    for order in range(1, 6):
        for table, size in ((common, 1.0), (apart, rng.uniform(0, 0.5, size=(count, 1, 1)))):
            shape = (*table.shape[:-1], 1)
            shift = rng.uniform(0, 2 * np.pi, size=shape)
            amplitude = size * rng.normal(size=shape) / order**1.2
            turn = angle if table is common else angle[:, None]
            table += amplitude * np.sin(order * turn + shift)
    rows = np.arange(count)[:, None]
    profile = common[rows, phase] + apart[rows, kind, phase]
    within = (steps > 1)[:, None]
    level = rng.normal(size=(count, 7)) * rng.uniform(0, 0.3, size=(count, 1))
    level[:, 5:] += rng.normal(size=(count, 1)) * rng.uniform(0, 1.5, size=(count, 1))
    level = np.where(within, level, level * 2)
    x = np.where(within, profile, 0.0) + level[rows, weekday]
    slow = fourier_features(rng, np.arange(length), 0.4 * length + 60.0 * steps)
    x = x + slow * rng.uniform(0, 1.0, size=(count, 1)) ** 2
    x = x + draw_trend(rng, count, length) * rng.uniform(0, 1.0, size=(count, 1)) ** 2
    noise = draw_ar1(rng, count, length) * draw_lognormal(rng, 0.08, 0.9, count)[:, None]
    x = x + np.where(within, noise, 3 * noise)
    return maybe_exponentiate(rng, x, share=0.5)


def counts(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Poisson and negative binomial counts with a trending, seasonal, slowly drifting rate."""
    periods = draw_periods(rng, count, length)
    mean = np.exp(rng.uniform(np.log(0.3), np.log(400), size=count))
    shape = 0.35 * seasonal_pattern(rng, periods, length) * (rng.random((count, 1)) < 0.6)
    shape = shape * rng.uniform(0.2, 1.3, size=(count, 1))
    shape += draw_trend(rng, count, length) * np.abs(rng.normal(size=(count, 1))) * 0.5
    drift = np.cumsum(rng.normal(size=(count, length)), axis=1) / np.sqrt(length)
    shape += drift * rng.uniform(0, 0.5, size=(count, 1))
    rate = np.clip(mean[:, None] * np.exp(np.clip(shape, -4, 4)), 0, 1e5)
    dispersed = rng.random(count) < 0.5
    size = rng.uniform(1.5, 40, size=(int(dispersed.sum()), 1))
    rate[dispersed] *= rng.gamma(size, 1 / size, size=(len(size), length))
    return rng.poisson(rate).astype(float)


def intermittent(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Intermittent demand: zeros with occasional positive amounts, possibly seasonal in rate."""
    probability = rng.uniform(0.05, 0.7, size=(count, 1))
    season = seasonal_pattern(rng, draw_periods(rng, count, length), length)
    probability = np.clip(probability * np.exp(0.5 * season * (rng.random((count, 1)) < 0.4)), 0, 1)
    amount = 1 + rng.poisson(draw_lognormal(rng, 2.0, 1.2, count)[:, None], size=(count, length))
    return (rng.random((count, length)) < probability) * amount.astype(float)


def regimes(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """AR noise around a level (and volatility) that jumps at random times, with optional season."""
    rate = rng.uniform(0.5, 6, size=(count, 1)) / length
    jumps = rng.random((count, length)) < rate
    level = np.cumsum(jumps * rng.normal(size=(count, length)) * 4, axis=1)
    back = rng.random((count, 1)) < 0.3  # two states instead of ever new ones
    level = np.where(back, (np.cumsum(jumps, axis=1) % 2) * 4.0, level)
    calm = np.where(np.cumsum(jumps, axis=1) % 2 == 0, 1.0, rng.uniform(0.3, 2.5, size=(count, 1)))
    season = seasonal_pattern(rng, draw_periods(rng, count, length), length)
    season *= draw_lognormal(rng, 1.0, 0.8, count)[:, None] * (rng.random((count, 1)) < 0.5)
    return level + season + draw_ar1(rng, count, length) * calm


def oscillation(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Noisy quasi-periodic cycles: AR(2) with complex roots, and sines of any period."""
    period = np.exp(rng.uniform(np.log(5), np.log(max(8.0, length / 1.5)), size=count))
    radius = np.where(rng.random(count) < 0.5, rng.uniform(0.9, 0.999, size=count), 0.9995)
    e = rng.normal(size=(count, length + 60))
    phi = -2 * radius * np.cos(2 * np.pi / period)
    x = np.stack(
        [
            lfilter([1.0], [1.0, p, r * r], row)[60:]
            for p, r, row in zip(phi, radius, e, strict=True)
        ]
    )
    noise = draw_ar1(rng, count, length) * draw_lognormal(rng, 0.15, 1.0, count)[:, None]
    return unit(x) + noise + draw_trend(rng, count, length) * rng.uniform(0, 2, size=(count, 1))


# Their order decides what is drawn from a seed.
FAMILIES = {
    family.__name__: family
    for family in (
        *(ets, sarima, random_walk, kernel_synth, structural, daily_profile),
        *(counts, intermittent, regimes, oscillation, calendar),
    )
}


def sample_series(
    rng: np.random.Generator,
    count: int,
    length: int,
    weights: Mapping[str, float],
    pure: bool = False,
) -> np.ndarray:
    """Draw `count` standardised series of `length` points from families by weight, in random order.

    Unless `pure`, a tenth become convex combinations (TSMixup), and a few get outliers, a level
    shift or a coarse grid, so that their standard deviation is not 1.
    """
    names = [name for name in FAMILIES if weights.get(name, 0.0) > 0]
    shares = np.array([weights[name] for name in names])
    counts_by_family = rng.multinomial(count, shares / shares.sum())
    parts = [
        FAMILIES[name](rng, int(size), length)
        for name, size in zip(names, counts_by_family, strict=True)
        if size
    ]
    x = rng.permutation(np.concatenate(parts), axis=0)
    sd = x.std(axis=1, keepdims=True)
    x = x / np.where(sd > 1e-9, sd, 1.0)
    return x if pure else _disturb(rng, _mix_up(rng, x))


def _mix_up(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Replace, in place, a tenth of the rows by convex combinations of two or three rows."""
    rows = np.flatnonzero(rng.random(len(x)) < 0.1)
    if not len(rows):
        return x
    weights = rng.dirichlet([1.5, 1.5, 1.5], size=len(rows))
    weights[rng.random(len(rows)) < 0.5, 2] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    partners = rng.integers(0, len(x), size=(len(rows), 3))
    x[rows] = np.einsum("rk,rkt->rt", weights, x[partners])
    return x


def _disturb(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Add, in place, outliers, level shifts or coarse rounding to a small share of rows each."""
    count, length = x.shape
    rows = np.flatnonzero(rng.random(count) < 0.05)
    hits = rng.random((len(rows), length)) < rng.uniform(0.002, 0.03, size=(len(rows), 1))
    x[rows] += hits * rng.standard_t(3, size=hits.shape) * 4
    rows = np.flatnonzero(rng.random(count) < 0.04)
    at = rng.integers(0, length, size=(len(rows), 1))
    x[rows] += (np.arange(length) >= at) * rng.normal(size=(len(rows), 1)) * 1.5
    rows = np.flatnonzero(rng.random(count) < 0.06)
    grid = rng.uniform(0.05, 0.6, size=(len(rows), 1))
    x[rows] = np.round(x[rows] / grid) * grid
    return x
