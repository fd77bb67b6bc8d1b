"""Groups worth attending over, by the multivariatizers of the Chronos-2 report (2025)."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from .components import autoregressive

MAX_LAG = 64  # points of history that a coupling may reach back
# "unrelated" leaves the series of a group as they are.
KINDS = (
    *("unrelated", "lead_lag", "factor", "mixing"),
    *("cointegrated", "hierarchy", "nonlinear", "regression"),
)


def _standardise(x: np.ndarray) -> np.ndarray:
    sd = x.std(axis=-1, keepdims=True)
    return (x - x.mean(axis=-1, keepdims=True)) / np.where(sd > 1e-9, sd, 1.0)


def _shift(x: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Delay the rows of x (..., length) by `lags` (...) points and cut the first MAX_LAG points."""
    index = np.arange(MAX_LAG, x.shape[-1]) - lags[..., None]
    return np.take_along_axis(x, index, axis=-1)


def lively_series(rng: np.random.Generator, shape: tuple[int, ...], length: int) -> np.ndarray:
    """Series (*shape, length) that their own past tells little about: what leaders are made of."""
    rows = int(np.prod(shape))
    e = rng.normal(size=(rows, length + 40))
    kind = rng.choice(4, size=rows, p=[0.4, 0.1, 0.3, 0.2])
    phi = np.select([kind == 0, kind == 1], [1.0, 0.0], rng.uniform(0.3, 0.97, size=rows))
    x = autoregressive(phi, e)
    width = rng.integers(2, 10, size=rows)
    for i in np.flatnonzero(kind == 3):
        x[i] = lfilter(np.ones(width[i]) / width[i], [1.0], e[i])
    return _standardise(x[:, 40:]).reshape(*shape, length)


def lead_lag(
    rng: np.random.Generator,
    own: np.ndarray,
    leader: np.ndarray,
    lags: np.ndarray,
    noise: np.ndarray,
    inverted: float,
) -> np.ndarray:
    """Let followers repeat the first series of their group, row 0, some points later.

    `own` (groups, n, length) is the followers' noise, weighed by `noise` (groups, n); `leader` is
    (groups, length), `lags` (groups, n) are delays, at most MAX_LAG; entries 0 of both are ignored;
    `inverted` is the share of followers upside down. Returns (groups, n, length - MAX_LAG).
    """
    first = np.arange(lags.shape[1]) == 0
    lags, noise = np.where(first, 0, lags), np.where(first, 0.0, noise)
    sign = np.where((rng.random(lags.shape) < inverted) & ~first, -1.0, 1.0)
    led = _shift(np.broadcast_to(leader[:, None], own.shape), lags)
    return sign[..., None] * led + noise[..., None] * own[..., MAX_LAG:]


def _draw_lags(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Lags 1 to 64: one in four up to 8, half up to 32, the rest anywhere."""
    kind = rng.random(shape)
    return np.select(
        [kind < 0.25, kind < 0.75],
        [rng.integers(1, 9, size=shape), rng.integers(4, 33, size=shape)],
        rng.integers(1, MAX_LAG + 1, size=shape),
    )


def couple(
    rng: np.random.Generator,
    base: np.ndarray,
    kind: str,
    inverted: float = 0.0,
    noise_scale: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Couple roughly standardised series within each group, by one of `KINDS`.

    `base` is (groups, n, length), n >= 2; `inverted` and `noise_scale` (a factor on the followers'
    noise) are for "lead_lag". Returns (groups, n, length - MAX_LAG), in random order within each
    group, and which are known covariates, (groups, n): never all of a group.
    """
    groups, n, length = base.shape
    x = base[..., MAX_LAG:]
    known = np.zeros((groups, n), dtype=bool)
    if kind == "lead_lag":
        lively = rng.random((groups, 1)) < 0.75
        leader = np.where(lively, lively_series(rng, (groups,), length), base[:, 0])
        white = rng.random((groups, n, 1)) < 0.6
        own = np.where(white, rng.normal(size=base.shape), base)
        noise = np.where(rng.random((groups, n)) < 0.6, 0.1, 0.5) * rng.random((groups, n))
        noise = noise_scale * noise
        stray = rng.random((groups, n)) < (0.15 if n > 2 else 0.0)  # bystanders in the group
        noise = np.where(stray, 1e3, noise)
        x = lead_lag(rng, own, leader, _draw_lags(rng, (groups, n)), noise, inverted)
    elif kind == "factor":
        factors = base[:, : 1 if n < 4 else 2]
        loading = rng.normal(size=(groups, n, factors.shape[1])) + 0.7
        common = np.einsum("gnf,gft->gnt", loading, factors[..., MAX_LAG:])
        x = common + rng.uniform(0.02, 1.0, size=(groups, n, 1)) * x
    elif kind == "mixing":
        matrix = rng.normal(size=(groups, n, n)) + 0.5
        x = np.einsum("gij,gjt->git", matrix, x)
    elif kind == "cointegrated":
        walk = np.cumsum(rng.normal(size=(groups, 1, length - MAX_LAG)), axis=-1)
        phi = rng.uniform(0.0, 0.95, size=(groups, n))
        e = rng.normal(size=(groups, n, length - MAX_LAG))
        spread = autoregressive(phi.ravel(), e.reshape(groups * n, -1)).reshape(e.shape)
        x = walk + spread * rng.uniform(0.2, 3.0, size=(groups, n, 1))
    elif kind == "hierarchy":
        x = x - x.min(axis=-1, keepdims=True)
        x = x * rng.lognormal(0.0, 0.7, size=(groups, n, 1))
        x = np.concatenate([x[:, 1:].sum(axis=1, keepdims=True), x[:, 1:]], axis=1)
    elif kind == "nonlinear":
        mixed = np.einsum("gij,gjt->git", rng.normal(size=(groups, n, n)), x)
        x = np.tanh(mixed) + rng.uniform(0.0, 0.4, size=(groups, n, 1)) * x
    elif kind == "regression":
        lags = _draw_lags(rng, (groups, n)) * (rng.random((groups, n)) < 0.35)
        drivers = _shift(base, lags)
        drivers = np.where(rng.random((groups, n, 1)) < 0.2, np.abs(drivers), drivers)
        weight = rng.normal(size=(groups, n, 1))
        effect = _standardise((weight * drivers)[:, 1:].sum(axis=1))
        x = x.copy()
        x[:, 0] = effect + rng.uniform(0.05, 0.8, size=(groups, 1)) * x[:, 0]
        known[:, 1:] = True
    if kind not in ("regression", "unrelated"):
        chosen = (rng.random(groups) < 0.12)[:, None] & (rng.random((groups, n)) < 0.5)
        chosen[np.arange(groups), rng.integers(0, n, size=groups)] = False
        known |= chosen
    order = np.argsort(rng.random((groups, n)), axis=1)
    rows = np.arange(groups)[:, None]
    return x[rows, order], known[rows, order]


def sample_groups(
    rng: np.random.Generator,
    base: np.ndarray,
    weights: dict[str, float],
    inverted: float,
    noise_scale: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Couple groups of series, see `couple`, each by a kind drawn with the weights of `KINDS`."""
    groups, n, length = base.shape
    shares = np.array([weights[name] for name in KINDS])
    kinds = rng.choice(len(KINDS), size=groups, p=shares / shares.sum())
    x = np.empty((groups, n, length - MAX_LAG))
    known = np.zeros((groups, n), dtype=bool)
    for i, name in enumerate(KINDS):
        rows = np.flatnonzero(kinds == i)
        if len(rows):
            x[rows], known[rows] = couple(rng, base[rows], name, inverted, noise_scale)
    return x, known
