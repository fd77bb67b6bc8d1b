"""Speed of the attention engine against upstream, interleaved in one process.

Every method forecasts the same series through `predict`, so that batching, masks and unscaling
count as they do in use. Floating-point work is counted for upstream's dense model on unpadded
tokens; a share of the peak above 1 would mean that work was left out, not that the machine is
faster than itself.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from chronos.chronos2 import Chronos2Model, Chronos2Pipeline
from tqdm import tqdm

from chronos2_attention import Chronos2VariantPipeline
from study.efficiency import MB, peak_rss_mb, reset_peak_rss

HORIZON = 24
PATCH = 16


@dataclass(frozen=True)
class Regime:
    """Series to forecast, and what to call them.

    Attributes
    ----------
    name:
        For example ``8x8192``.
    series:
        One-dimensional float32 tensors.
    batch_size:
        Given to every method.
    """

    name: str
    series: Sequence[torch.Tensor]
    batch_size: int

    @property
    def tokens(self) -> int:
        """Unpadded tokens of the series: context patches, REG and future patches."""
        future = -(-HORIZON // PATCH)
        return sum(-(-len(one) // PATCH) + 1 + future for one in self.series)


def dense_regimes(seed: int, shapes: Sequence[tuple[int, int]]) -> list[Regime]:
    """Return regimes of random walks of equal length: (series, observations) each."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Regime(
            f"{count}x{length}",
            list(torch.randn(count, length, generator=generator).cumsum(-1)),
            batch_size=count,
        )
        for count, length in shapes
    ]


def ragged_regimes(
    short: Sequence[Path], long: Sequence[Path], seed: int, *, num_short: int, num_long: int
) -> list[Regime]:
    """Return two regimes of real series: short ones, and the same with a few long ones among them.

    Parameters
    ----------
    short, long:
        Data sets in the workflow's layout; series of 20 to 130 observations are short, of 500 and
        more long.
    seed:
        Of the sample and its order.
    num_short, num_long:
        Series of each kind, fewer where there are fewer.
    """
    rng = np.random.default_rng(seed)

    def sample(paths: Sequence[Path], low: int, high: int, count: int) -> list[torch.Tensor]:
        found = []
        for path in paths:
            table = pq.read_table(path)
            for name in table.column_names:
                if name in ("id", "timestamp") or str(table.schema.field(name).type)[:4] != "list":
                    continue
                for values in table[name].to_pylist():
                    if low <= len(values) <= high:
                        found.append(torch.tensor(values, dtype=torch.float32))
        chosen = rng.choice(len(found), min(count, len(found)), replace=False)
        return [found[index][-8192:] for index in chosen]

    few = sample(short, 20, 130, num_short)
    many = few + sample(long, 500, 10**9, num_long)
    mixed = [many[index] for index in rng.permutation(len(many))]
    return [
        Regime("ragged", few, batch_size=256),
        Regime(f"ragged with {len(many) - len(few)} long", mixed, batch_size=256),
    ]


def matmul_peak(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Measure the rate of square matrix products of 4096, in floating-point operations a second."""
    size = 4096 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not best:
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def dense_flops(model: Chronos2Model, regime: Regime) -> float:
    """Count upstream's multiply-adds, times two, on the regime's unpadded tokens.

    Per token and layer: four projections each for time and group attention and two for the feed
    forward layer; scores and values over the series' own tokens. Embeddings are left out.
    """
    config = model.config
    inner = config.num_heads * config.d_kv
    per_token = 2 * (8 * config.d_model * inner + 2 * config.d_model * config.d_ff)
    future = -(-HORIZON // PATCH)
    lengths = np.array([-(-len(one) // PATCH) + 1 + future for one in regime.series], dtype=float)
    scores = 4 * inner * (lengths**2).sum()
    return config.num_layers * (per_token * lengths.sum() + scores)


def upstream_pipeline(ours: Chronos2VariantPipeline) -> Chronos2Pipeline:
    """Return upstream's pipeline on the very tensors of ours."""
    with torch.device(ours.model.device):
        model = Chronos2Model(ours.model.config)
    model.load_state_dict(ours.model.state_dict(), assign=True)
    return Chronos2Pipeline(model.to(ours.model.dtype).eval())


def run_benchmark(
    ours: Chronos2VariantPipeline,
    regimes: Sequence[Regime],
    *,
    radii: Sequence[int],
    backends: Sequence[str],
    backend_radii: Sequence[int],
    repeats: int,
) -> pd.DataFrame:
    """Time upstream and every variant, turn about.

    Parameters
    ----------
    ours:
        The model.
    regimes:
        What is forecast.
    radii:
        Radii of ``sparse_r{r}`` on the backend ``auto``.
    backends, backend_radii:
        Further backends, and the radii that they are timed with.
    repeats:
        Measured repeats, after one that is not.

    Returns
    -------
    A row a regime, method, radius and backend: seconds (median, least, most), ratios to upstream
    and to our `full`, tokens a second, share of the matmul peak, peak memory in MiB, and the
    largest difference relative to the largest forecast of what it must equal: upstream for `full`,
    the reference backend for sparse.
    """
    device, dtype = ours.model.device, ours.model.dtype
    peak = matmul_peak(device, dtype)
    methods: dict[tuple[str, object, str], Chronos2Pipeline] = {
        ("upstream", nan, "sdpa"): upstream_pipeline(ours),
        ("full", nan, "dense"): ours.with_variant("full"),
    }
    for radius in radii:
        names = ["auto", *(backends if radius in backend_radii else [])]
        for name in names:
            methods["sparse", radius, name] = ours.with_variant(f"sparse_r{radius}", backend=name)
    rows = []
    for regime in tqdm(regimes, desc="benchmark", unit="regime"):
        measured, forecasts, ran = _measure(methods, regime, repeats, device)
        references = {
            radius: _forecast(
                ours.with_variant(f"sparse_r{radius}", backend="reference"), regime, device
            )
            for radius in radii
        }
        flops = dense_flops(ours.model, regime)
        medians = {key: statistics.median(s for s, _ in found) for key, found in measured.items()}
        for key, found in measured.items():
            method, radius, backend = key
            seconds = [s for s, _ in found]
            wanted = references.get(radius, forecasts["upstream", nan, "sdpa"])
            rows.append(
                {
                    "regime": regime.name,
                    "method": method,
                    "radius": radius,
                    "backend": backend,
                    "backend_ran": ran[key],
                    "seconds_median": medians[key],
                    "seconds_min": min(seconds),
                    "seconds_max": max(seconds),
                    "repeats": repeats,
                    "ratio_to_upstream": medians["upstream", nan, "sdpa"] / medians[key],
                    "ratio_to_full": medians["full", nan, "dense"] / medians[key],
                    "tokens": regime.tokens,
                    "tokens_per_s": regime.tokens / medians[key],
                    "matmul_peak_share": flops / medians[key] / peak,
                    "matmul_peak_gflops": peak / 1e9,
                    "peak_memory_mb": max(memory for _, memory in found),
                    "max_rel_difference": _difference(forecasts[key], wanted),
                    "device": _name(device),
                    "dtype": str(dtype).removeprefix("torch."),
                    "threads": torch.get_num_threads(),
                }
            )
    return pd.DataFrame(rows)


def _measure(
    methods: Mapping[tuple, Chronos2Pipeline], regime: Regime, repeats: int, device: torch.device
) -> tuple[dict, dict, dict]:
    """Return seconds and peak memory, forecasts, and the backends that ran, by method."""
    measured: dict[tuple, list[tuple[float, float]]] = {key: [] for key in methods}
    for pipeline in methods.values():
        getattr(pipeline.model, "backends_used", set()).clear()
    forecasts = {key: _forecast(pipeline, regime, device) for key, pipeline in methods.items()}
    for _ in range(repeats):
        for key, pipeline in methods.items():
            seconds, memory = _timed(lambda p=pipeline: _forecast(p, regime, device), device)
            measured[key].append((seconds, memory))
    ran = {
        key: "+".join(sorted(getattr(pipeline.model, "backends_used", {"sdpa"})))
        for key, pipeline in methods.items()
    }
    return measured, forecasts, ran


def _forecast(pipeline: Chronos2Pipeline, regime: Regime, device: torch.device) -> torch.Tensor:
    found = pipeline.predict(
        list(regime.series), prediction_length=HORIZON, batch_size=regime.batch_size
    )
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return torch.cat(found)


def _timed(call: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Return seconds, and the peak of memory in MiB: allocated on a GPU, resident on a CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        reset_peak_rss()
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    if device.type == "cuda":
        return seconds, torch.cuda.max_memory_allocated(device) / MB
    return seconds, peak_rss_mb()


def _difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference of a series relative to its largest forecast."""
    scale = wanted.abs().amax(dim=(1, 2))
    return float(((found - wanted).abs().amax(dim=(1, 2)) / scale).max())


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "CPU")
    return model
