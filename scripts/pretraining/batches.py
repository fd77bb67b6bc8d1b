"""Training batches, in chunks that depend on seed and number alone: training may be resumed."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from chronos2_attention.checking import Some, Unique, checked_dataclass, number, whole
from chronos2_attention.errors import InputError

from .coupling import KINDS, MAX_LAG, sample_groups
from .synthetic import FAMILIES, sample_series

PATCH = 16
LONG_WINDOW = 300


def _some_positive(weights: Any) -> Any:
    values = weights.values() if isinstance(weights, dict) else weights
    if not any(values):
        raise InputError("all weights are 0", mend="give one that is not")
    return weights


def _all_kinds(weights: dict[str, float]) -> dict[str, float]:
    if absent := [kind for kind in KINDS if kind not in weights]:
        raise InputError(f"key {absent[0]!r} is missing")
    return weights


Weight = number(0, most=1e6)
Weights = Annotated[Some[Weight], AfterValidator(_some_positive)]
Families = Annotated[dict[Literal[tuple(FAMILIES)], Weight], AfterValidator(_some_positive)]
Couplings = Annotated[
    dict[Literal[KINDS], Weight], AfterValidator(_all_kinds), AfterValidator(_some_positive)
]
Points = Annotated[whole(PATCH, 2**24), Field(multiple_of=PATCH)]


@checked_dataclass
class Phase:
    """What is drawn from chunk `from_chunk` on, until the next phase; see config/pretrain.yaml."""

    from_chunk: whole(0)
    context_weights: Weights
    family_weights: Families
    long_family_weights: Families
    size_weights: Weights
    coupling_weights: Couplings
    inverted: number(0, most=1)
    noise_scale: number(0, most=1000)
    weight_exponent: number(0, most=100)
    weight_floor: number(gt=0, most=1000)


@checked_dataclass
class DataConfig:
    """What batches are drawn from; see config/pretrain.yaml for the meaning of each field."""

    seed: whole(0, 2**63 - 1)
    context_lengths: Unique[Points]
    group_sizes: Unique[whole(1, 100_000)]
    phases: Some[Phase]
    horizon_weights: Weights
    tokens_per_step: whole(1)
    max_series_per_step: whole(1)
    settings_per_chunk: whole(1)
    steps_per_setting: whole(1)
    shortest_series: whole(3)

    @property
    def steps_per_chunk(self) -> int:
        return self.settings_per_chunk * self.steps_per_setting

    def phase(self, chunk: int) -> Phase:
        """Return the phase that a chunk belongs to."""
        return [phase for phase in self.phases if phase.from_chunk <= chunk][-1]


@dataclass
class Batch:
    """Series of one step; groups are runs of `group_size` consecutive rows.

    `context` (series, length) is NaN where missing or before the start, `future` (series, horizon)
    where missing; `known` (series,) are covariates, whose `future` the model sees.
    """

    context: np.ndarray
    future: np.ndarray
    known: np.ndarray
    group_size: int
    weight_exponent: float = 0.0
    weight_floor: float = 1.0


def _hide(rng: np.random.Generator, x: np.ndarray) -> None:
    """Set random points and blocks of about one row in eight to NaN, in place."""
    count, length = x.shape
    rows = np.flatnonzero(rng.random(count) < 0.07)
    rate = rng.choice([0.02, 0.1, 0.3, 0.6], size=(len(rows), 1), p=[0.4, 0.3, 0.2, 0.1])
    x[rows] = np.where(rng.random((len(rows), length)) < rate, np.nan, x[rows])
    rows = np.flatnonzero(rng.random(count) < 0.05)
    start = rng.integers(0, length, size=(len(rows), 1))
    width = rng.integers(1, max(2, length // 4), size=(len(rows), 1))
    t = np.arange(length)
    x[rows] = np.where((t >= start) & (t < start + width), np.nan, x[rows])


def make_batches(
    rng: np.random.Generator,
    config: DataConfig,
    phase: Phase,
    context_length: int,
    output_patches: int,
    group_size: int,
    steps: int,
) -> list[Batch]:
    """Draw `steps` batches of one setting; hiding first points makes histories of any length."""
    horizon = output_patches * PATCH
    tokens = context_length // PATCH + 1 + output_patches
    series = min(config.tokens_per_step // tokens, config.max_series_per_step)
    groups = max(1, series // group_size)
    total = groups * steps
    length = context_length + horizon
    drawn = length if group_size == 1 else length + MAX_LAG
    weights = phase.long_family_weights if drawn > LONG_WINDOW else phase.family_weights
    x = sample_series(rng, total * group_size, drawn, weights)
    known = np.zeros(total, dtype=bool)
    if group_size > 1:
        how = (phase.coupling_weights, phase.inverted, phase.noise_scale)
        x, known = sample_groups(rng, x.reshape(total, group_size, -1), *how)
        x, known = x.reshape(-1, length), known.reshape(-1)
    shorter = [c for c in config.context_lengths if c < context_length]
    low = max(config.shortest_series, shorter[-1] + 1 if shorter else 0)
    observed = rng.integers(low, context_length + 1, size=(total, 1))
    anyhow = rng.integers(config.shortest_series, context_length + 1, size=(total, 1))
    observed = np.where(rng.random((total, 1)) < 0.16, anyhow, observed)
    full = rng.random((total, 1)) < 0.1  # no padding at all, as in long histories
    observed = np.where(full, context_length, observed)
    apart = rng.random((total, 1)) < 0.1
    own = rng.integers(low, context_length + 1, size=(total, group_size))
    observed = np.where(apart, own, observed).reshape(-1)
    _hide(rng, x)
    x[np.arange(length) < (context_length - observed)[:, None]] = np.nan
    context, future = x[:, :context_length], x[:, context_length:]
    absent = np.isnan(context)
    span = np.where(absent, -np.inf, context).max(axis=1)
    span -= np.where(absent, np.inf, context).min(axis=1)
    # A constant history has no scale: what follows it has no place in a loss.
    flat = ((~absent).sum(axis=1) < 3) | (span < 1e-6)
    future[flat] = np.where(known[flat, None], 0.0, np.nan)
    arrays = (context.astype(np.float32), future.astype(np.float32), known)
    return [
        Batch(*parts, group_size, phase.weight_exponent, phase.weight_floor)
        for parts in zip(*(np.split(array, steps) for array in arrays), strict=True)
    ]


def make_chunk(config: DataConfig, number: int) -> list[Batch]:
    """Draw chunk `number`: several settings, a few steps of each, in random order."""
    rng = np.random.default_rng([config.seed, number])
    phase = config.phase(number)
    weights, group_weights = (
        np.array(given) / sum(given) for given in (phase.context_weights, phase.size_weights)
    )
    horizons = np.array(config.horizon_weights)
    batches: list[Batch] = []
    for _ in range(config.settings_per_chunk):
        context_length = int(rng.choice(config.context_lengths, p=weights))
        group_size = int(rng.choice(config.group_sizes, p=group_weights))
        # Long horizons after very short histories teach little.
        fits = np.arange(1, len(horizons) + 1) * PATCH <= max(2 * context_length, PATCH)
        share = horizons * np.where(fits, 1.0, 0.25)
        patches = int(rng.choice(len(horizons), p=share / share.sum())) + 1
        batches += make_batches(
            rng, config, phase, context_length, patches, group_size, config.steps_per_setting
        )
    return [batches[i] for i in rng.permutation(len(batches))]


def _end_with_parent() -> None:
    """Let a worker process end when its parent is gone, however that was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def batch_stream(config: DataConfig, first_step: int, last_step: int) -> Iterator[Iterator[Batch]]:
    """Yield the batches from a given step on, two chunks ahead drawn by a process of their own."""
    per_chunk = config.steps_per_chunk
    # "spawn" because a forked child of a process with torch's threads may hang
    pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_end_with_parent)
    ahead = (
        pool.submit(make_chunk, config, chunk)
        for chunk in range(first_step // per_chunk, -(-last_step // per_chunk))
    )

    def batches() -> Iterator[Batch]:
        queue = deque(islice(ahead, 2))
        while queue:
            yield from queue.popleft().result()
            queue.extend(islice(ahead, 1))

    skip = first_step % per_chunk
    try:
        yield islice(batches(), skip, skip + last_step - first_step)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
