"""Speed of engine and probe against upstream, interleaved; work counted is the dense model's."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from chronos.chronos2 import Chronos2Model, Chronos2Pipeline

from chronos2_attention import Chronos2VariantPipeline
from chronos2_attention.attention_mass import probe_batch
from chronos2_attention.model import Chronos2VariantModel, precision
from study.data.series_table import ID, TIMESTAMP
from study.jobs.progress import progress
from study.speed.measuring import (
    MB,
    Measured,
    device_name,
    free_memory,
    measured,
    peak_tensor_mb,
    published_peak,
)

PATCH = 16
# After 8192 observations these are 517 tokens, the longest sequence of one pass of Chronos-2.
DENSE_HORIZON = 64
RAGGED_HORIZON = 24
RAGGED = ("ragged", "ragged_long")
RESAMPLES = 2000
PROBE_RADII = [2, 4, 8, 16, 32, 64, 128]


class Method(NamedTuple):
    """What is timed: upstream, our `full`, or `sparse` at a radius on a backend."""

    name: str
    radius: float
    backend: str


UPSTREAM = Method("upstream", nan, "sdpa")
FULL = Method("full", nan, "dense")


@dataclass(frozen=True)
class Regime:
    """Series to forecast (one-dimensional, float32), and what they are called: ``8x8192``."""

    name: str
    series: Sequence[torch.Tensor]
    batch_size: int
    horizon: int

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each series, unpadded: context patches, REG and future patches."""
        future = -(-self.horizon // PATCH)
        return np.array([-(-len(one) // PATCH) + 1 + future for one in self.series])


def dense_regime(name: str, seed: int) -> Regime:
    """Return random walks of equal length; the name is ``{series}x{observations}``."""
    count, length = map(int, name.split("x"))
    generator = torch.Generator().manual_seed(seed)
    walks = torch.randn(count, length, generator=generator).cumsum(-1)
    return Regime(name, list(walks), batch_size=count, horizon=DENSE_HORIZON)


def ragged_regime(
    name: str,
    short: Sequence[Path],
    long: Sequence[Path],
    seed: int,
    *,
    num_short: int,
    num_long: int,
) -> Regime:
    """Return real series: ``ragged``, of 20 to 130 observations, or ``ragged_long``, longer too."""
    rng = np.random.default_rng(seed)

    def sample(paths: Sequence[Path], low: int, high: int, count: int) -> list[torch.Tensor]:
        found = [
            values
            for table in map(pq.read_table, paths)
            for field in table.schema
            if field.name not in (ID, TIMESTAMP) and pa.types.is_list(field.type)
            for values in table[field.name].to_pylist()
            if low <= len(values) <= high
        ]
        chosen = rng.choice(len(found), min(count, len(found)), replace=False)
        return [torch.tensor(found[index][-8192:], dtype=torch.float32) for index in chosen]

    series = sample(short, 20, 130, num_short)
    if name == "ragged_long":
        mixed = series + sample(long, 500, 10**9, num_long)
        series = [mixed[index] for index in rng.permutation(len(mixed))]
    return Regime(name, series, batch_size=256, horizon=RAGGED_HORIZON)


def matmul_peak(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Measure the rate of square matrix products of 4096, in floating-point operations a second."""
    size = 4096 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not best:
        with measured(device) as taken:
            a @ b
        best = max(best, 2 * size**3 / taken.device_seconds)
    return best


def dense_flops(model: Chronos2Model, regime: Regime) -> float:
    """Count upstream's multiply-adds, times two, on the unpadded tokens, embeddings left out."""
    config = model.config
    inner = config.num_heads * config.d_kv
    per_token = 2 * (8 * config.d_model * inner + 2 * config.d_model * config.d_ff)
    lengths = regime.lengths.astype(float)
    scores = 4 * inner * (lengths**2).sum()
    return config.num_layers * (per_token * lengths.sum() + scores)


def upstream_model(ours: Chronos2VariantModel, attention: str | None = None) -> Chronos2Model:
    """Return upstream's model on the very tensors of ours, with an attention other than its own."""
    config = copy.deepcopy(ours.config)
    if attention is not None:
        config._attn_implementation = attention
    with torch.device(ours.device):
        upstream = Chronos2Model(config)
    upstream.load_state_dict(ours.state_dict(), assign=True)
    return upstream.to(ours.dtype).eval()


def run_benchmark(
    ours: Chronos2VariantPipeline,
    regime: Regime,
    *,
    radii: Sequence[int],
    backends: Sequence[str],
    backend_radii: Sequence[int],
    repeats: int,
    dtypes: Sequence[str],
    seconds: float,
    seed: int,
) -> pd.DataFrame:
    """Time upstream and every variant in rounds, in each of which every method runs once.

    There are at least `repeats` rounds; upstream, `full` and ``auto`` go on until each was measured
    for `seconds`. A row a method, radius and backend: seconds; ratios of medians, and the median
    over rounds of the ratio to the same round's `full` with a 95 % interval; tokens a second,
    shares of peaks; peak tensor memory, MiB above what was held before; and the largest difference,
    relative to the largest forecast, from upstream for `full`, from the reference backend for
    sparse.
    """
    device, dtype = ours.model.device, ours.model.dtype
    methods: dict[Method, Chronos2Pipeline] = {
        UPSTREAM: Chronos2Pipeline(upstream_model(ours.model)),
        FULL: ours.with_variant("full"),
    }
    for radius in radii:
        for name in ["auto", *(backends if radius in backend_radii else [])]:
            pipeline = ours.with_variant(f"sparse_r{radius}", backend=name)
            methods[Method("sparse", radius, name)] = pipeline
    for name in dtypes:
        if (other := getattr(torch, name)) != dtype:
            copied = copy.deepcopy(ours.model).to(other)
            methods[Method(f"full_{name}", nan, "dense")] = Chronos2VariantPipeline(copied)
    peaks = {d: matmul_peak(device, d) for d in {p.model.dtype for p in methods.values()}}
    card = device_name(device)
    # What our layers keep between batches is made first, or it would count for one method alone.
    _forecast(methods[FULL], regime)
    forecasts, memory = {}, {}
    for method, pipeline in methods.items():
        call = partial(_forecast, pipeline, regime)
        forecasts[method], memory[method] = peak_tensor_mb(call, device)
    rounds = _timed_rounds(methods, regime, repeats=repeats, seconds=seconds)
    flops = dense_flops(ours.model, regime)
    references = {
        radius: _forecast(ours.with_variant(f"sparse_r{radius}", backend="reference"), regime)
        for radius in radii
    }
    rng = np.random.default_rng(seed)
    medians = {method: float(np.nanmedian(rounds[method])) for method in methods}
    rows = []
    for method, pipeline in methods.items():
        wanted = references.get(method.radius, forecasts[UPSTREAM])
        apart = (forecasts[method] - wanted).abs().amax((1, 2)) / wanted.abs().amax((1, 2))
        peak, own = peaks[pipeline.model.dtype], run_columns(pipeline.model.dtype)
        rate = flops / medians[method]
        ran = np.isfinite(rounds[method])
        taken, paired = rounds[method][ran], (rounds[FULL] / rounds[method])[ran]
        low, high = median_interval(paired, rng)
        rows.append(
            {
                "regime": regime.name,
                "tokens_longest": int(regime.lengths.max()),
                **dict(zip(("method", "radius", "backend"), method, strict=True)),
                "backend_ran": "+".join(sorted(getattr(pipeline.model, "backends_used", {"sdpa"}))),
                "seconds_median": medians[method],
                "seconds_min": taken.min(),
                "seconds_max": taken.max(),
                "repeats": len(taken),
                "ratio_to_upstream": medians[UPSTREAM] / medians[method],
                "ratio_to_full": medians[FULL] / medians[method],
                "paired_ratio_to_full": float(np.median(paired)),
                "paired_ratio_low": low,
                "paired_ratio_high": high,
                "tokens": int(regime.lengths.sum()),
                "tokens_per_s": regime.lengths.sum() / medians[method],
                "matmul_peak_share": rate / peak,
                "matmul_peak_gflops": peak / 1e9,
                "published_peak_share": rate / published_peak(card, own["dtype"]),
                "peak_tensor_mb": memory[method],
                "memory_ratio_to_full": memory[method] / memory[FULL],
                "max_rel_difference": float(apart.max()),
                "device": card,
                **own,
            }
        )
    return pd.DataFrame(rows)


def run_columns(dtype: torch.dtype) -> dict[str, object]:
    """Return the columns `dtype` and `threads` of what is measured now."""
    return {"dtype": precision(dtype), "threads": torch.get_num_threads()}


def median_interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return a 95 % interval of a median: percentiles over samples drawn with replacement."""
    drawn = rng.choice(values, (RESAMPLES, len(values)))
    return tuple(np.percentile(np.median(drawn, axis=1), [2.5, 97.5]).tolist())


def _timed_rounds(
    methods: Mapping[Method, Chronos2Pipeline], regime: Regime, *, repeats: int, seconds: float
) -> dict[Method, np.ndarray]:
    """Return seconds by method, an entry a round, NaN where the method had finished before."""
    rounds: list[dict[Method, float]] = []
    spent = dict.fromkeys(methods, 0.0)
    least = {m: seconds if m.backend in ("auto", "sdpa", "dense") else 0.0 for m in methods}
    with progress(desc=f"benchmark {regime.name}", unit="round") as bar:
        while going := [m for m in methods if len(rounds) < repeats or spent[m] < least[m]]:
            going = going if FULL in going else [FULL, *going]
            shift = len(rounds) % len(going)
            found = {}
            for method in going[shift:] + going[:shift]:
                found[method] = _seconds(methods[method], regime)
                spent[method] += found[method]
            rounds.append(found)
            bar.update()
    return {m: np.array([found.get(m, nan) for found in rounds]) for m in methods}


def _forecast(pipeline: Chronos2Pipeline, regime: Regime) -> torch.Tensor:
    found = pipeline.predict(
        list(regime.series), prediction_length=regime.horizon, batch_size=regime.batch_size
    )
    return torch.cat(found)


def _seconds(pipeline: Chronos2Pipeline, regime: Regime) -> float:
    with measured(pipeline.model.device) as taken:
        _forecast(pipeline, regime)
    return taken.seconds


@torch.no_grad()
def benchmark_probe(
    model: Chronos2VariantModel,
    *,
    batch_size: int,
    num_patches: int,
    num_future: int,
    repeats: int,
    seed: int,
) -> pd.DataFrame:
    """Time the probe and measure its memory, turn about with upstream's forward pass.

    Of two repeats before those that are timed, the second, from free memory, is measured, in MiB
    above what was held. ``forward`` is upstream with eager attention, ``weights`` the same with all
    weights kept (`all_weights_mb`, of time attention), ``probe`` the mass at `PROBE_RADII`.
    """
    generator = torch.Generator().manual_seed(seed)
    patch_size = model.chronos_config.input_patch_size
    context = torch.randn(batch_size, num_patches * patch_size, generator=generator).cumsum(-1)
    context = context.to(model.device)
    # Spelled out, as the probe spells out the softmax.
    upstream = upstream_model(model, "eager")
    future = {"num_output_patches": num_future}
    methods: dict[str, Callable[[], object]] = {
        "forward": lambda: upstream(context, **future),
        "weights": lambda: upstream.encode(context, output_attentions=True, **future),
        "probe": lambda: probe_batch(model, context, **future).lift(PROBE_RADII),
    }
    found: dict[str, list[Measured]] = {name: [] for name in methods}
    for repeat in progress(range(repeats + 2), desc="benchmark of the probe", unit="repeat"):
        for name, method in methods.items():
            if repeat <= 1:
                free_memory(model.device)
            with measured(model.device) as taken:
                result = method()
            del result
            if repeat:
                found[name].append(taken)
    tokens = num_patches + 1 + num_future
    config = model.config
    weights = config.num_layers * batch_size * config.num_heads * tokens**2
    weights_mb = weights * torch.finfo(model.dtype).bits / 8 / MB
    seconds = pd.DataFrame({n: [one.seconds for one in taken[1:]] for n, taken in found.items()})
    memory = np.array([taken[0].above_mb for taken in found.values()])
    median = seconds.median().to_numpy()
    return pd.DataFrame(
        {
            "method": list(methods),
            "tokens": tokens,
            "batch_size": batch_size,
            "layers": config.num_layers,
            "seconds_median": median,
            "seconds_min": seconds.min().to_numpy(),
            "seconds_max": seconds.max().to_numpy(),
            "repeats": repeats,
            "ratio_to_forward": median / median[0],
            "peak_memory_mb": memory,
            "all_weights_mb": weights_mb,
            "ratio_to_all_weights": memory / weights_mb,
            "device": str(model.device),
            **run_columns(model.dtype),
        }
    )
