"""Scores on held-out synthetic series, for the model card."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from .batches import PATCH
from .coupling import MAX_LAG, lead_lag, lively_series
from .grouped_model import GroupedChronos2Model
from .synthetic import FAMILIES, sample_series

NAIVE_LAGS = (1, 4, 7, 12, 24)


@torch.no_grad()
def forecast(
    model: GroupedChronos2Model, context: np.ndarray, group_size: int, horizon: int
) -> np.ndarray:
    """Forecast (series, quantiles, horizon) from context with groups as runs of its rows."""
    gap = -context.shape[1] % PATCH
    padded = np.pad(context.astype(np.float32), ((0, 0), (gap, 0)), constant_values=np.nan)
    values = torch.from_numpy(padded).to(model.quantiles.device)
    predicted, loc_scale = model.predict_grouped(values, group_size, -(-horizon // PATCH))
    flat = model.instance_norm.inverse(predicted.float().flatten(1), loc_scale)
    return flat.view(predicted.shape)[..., :horizon].cpu().numpy()


def seasonal_naive(context: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Repeat each series, (series, length) without gaps, at the lag that fitted its context best.

    Returns the forecast, (series, horizon), and its rule's mean absolute error within the context,
    (series,): the scale of MASE.
    """
    lags = [lag for lag in NAIVE_LAGS if 2 * lag < context.shape[1]]
    errors = np.stack([np.abs(context[:, k:] - context[:, :-k]).mean(axis=1) for k in lags])
    best = np.array(lags)[errors.argmin(axis=0)]
    index = context.shape[1] - best[:, None] + np.arange(horizon) % best[:, None]
    return np.take_along_axis(context, index, axis=1), errors.min(axis=0)


def weighted_quantile_loss(
    quantiles: np.ndarray, levels: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """Mean quantile loss over levels and steps (twice the pinball loss), one value a series."""
    error = target[:, None] - quantiles
    weight = levels[None, :, None] - (error < 0)
    return 2 * (error * weight).mean(axis=(1, 2))


def score_families(
    model: GroupedChronos2Model,
    seed: int,
    series: int = 64,
    context_lengths: tuple[int, ...] = (48, 144, 512),
    horizon: int = 16,
) -> pd.DataFrame:
    """Score each family and context length against seasonal naive; ratios are of means."""
    levels = np.array(model.chronos_config.quantiles)
    rows = []
    for number, family in enumerate(FAMILIES):
        for length in context_lengths:
            rng = np.random.default_rng([seed, number, length])
            x = sample_series(rng, series, length + horizon, {family: 1.0}, pure=True)
            x = x[np.ptp(x[:, :length], axis=1) > 1e-6]
            context, target = x[:, :length], x[:, length:]
            quantiles = forecast(model, context, 1, horizon)
            naive, scale = seasonal_naive(context, horizon)
            # A point forecast's quantile loss is its absolute error.
            mase, reference, loss = (
                (error[scale > 1e-9] / scale[scale > 1e-9]).mean()
                for error in (
                    np.abs(quantiles[:, len(levels) // 2] - target).mean(axis=1),
                    np.abs(naive - target).mean(axis=1),
                    weighted_quantile_loss(quantiles, levels, target),
                )
            )
            rows.append((family, length, mase, mase / reference, loss / reference))
    return pd.DataFrame(rows, columns=["family", "context_length", "mase", "rel_mase", "rel_wql"])


def lead_lag_gain(
    model: GroupedChronos2Model,
    seed: int,
    lags: tuple[int, ...] = (1, 2, 4, 8, 12, 16, 24, 32, 48),
    groups: int = 32,
    group_size: int = 2,
    context_length: int = 256,
    horizon: int = 16,
    noise: float = 0.1,
) -> pd.DataFrame:
    """Compare joint and separate forecasts of followers in held-out lead-lag groups.

    `noise` is the standard deviation of the followers' noise, relative to the leader's. A row a
    lag: the followers' MASE (scaled by a random walk's error) as `full` (each series its own
    group), `joint` (one group), `shuffled` (with another group's leader), and ratios of the last
    two to `full`.
    """
    rows, shape = [], (groups, group_size)
    for lag in lags:
        rng = np.random.default_rng([seed, lag])
        length = context_length + horizon + MAX_LAG
        leader = lively_series(rng, (groups,), length)
        own = rng.normal(size=(*shape, length))
        delays, noises = np.full(shape, lag), np.full(shape, noise)
        x = lead_lag(rng, own, leader, delays, noises, inverted=0.0)
        context, target = x[..., :context_length], x[:, 1:, context_length:]
        stray = np.concatenate([np.roll(context[:, :1], 1, axis=0), context[:, 1:]], axis=1)
        scale = np.abs(np.diff(context[:, 1:], axis=-1)).mean(axis=-1)

        def mase(history: np.ndarray, size: int, target=target, scale=scale) -> float:
            quantiles = forecast(model, history.reshape(-1, context_length), size, horizon)
            median = quantiles[:, quantiles.shape[1] // 2].reshape(*shape, horizon)
            return float((np.abs(median[:, 1:] - target).mean(axis=-1) / scale).mean())

        full = mase(context, 1)
        rows.append((lag, full, mase(context, group_size), mase(stray, group_size)))
    table = pd.DataFrame(rows, columns=["lag", "full", "joint", "shuffled"])
    ratios = {f"{name}_to_full": table[name] / table["full"] for name in ("joint", "shuffled")}
    return table.assign(**ratios)


@torch.no_grad()
def time_attention_lift(
    model: GroupedChronos2Model, context: np.ndarray, radius: int = 4, output_patches: int = 1
) -> np.ndarray:
    """Mass over edges within `radius` of context queries, future keys among all: (layers,)."""
    values = torch.from_numpy(context.astype(np.float32)).to(model.quantiles.device)
    output = model(context=values, num_output_patches=output_patches, output_attentions=True)
    lifts = []
    for weights in output.enc_time_self_attn_weights:
        tokens = weights.shape[-1]
        queries = tokens - output_patches
        position = torch.arange(queries, device=weights.device)
        near = (position[:, None] - position[None]).abs() <= radius
        mass = (weights[:, :, :queries, :queries] * near).sum(dim=-1).mean()
        lifts.append(float(mass / (near.sum() / (queries * tokens))))
    return np.array(lifts)


def score_time_attention(
    model: GroupedChronos2Model, seed: int, series: int = 24, radius: int = 4
) -> pd.DataFrame:
    """Lift by layer on held-out synthetic series of 32, 64 and 128 context patches."""
    rows = []
    for patches in (32, 64, 128):
        rng = np.random.default_rng([seed, patches])
        context = sample_series(rng, series, patches * PATCH, dict.fromkeys(FAMILIES, 1.0))
        lifts = time_attention_lift(model, context, radius)
        rows += [(patches + 2, layer, lift) for layer, lift in enumerate(lifts)]
    return pd.DataFrame(rows, columns=["tokens", "layer", "lift"])
