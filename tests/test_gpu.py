"""The engine on a pretended GPU: devices, kernels, waits of the host, values; see pretend_gpu."""

from __future__ import annotations

import sys
import types
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from pretend_gpu import Gpu, Log, move, pretended
from small_model import build_upstream_model

from chronos2_attention import Chronos2VariantPipeline
from chronos2_attention.attention_mass import attention_mass
from chronos2_attention.banded import _cut
from chronos2_attention.batching import batches_by_length
from chronos2_attention.blockwise import MAX_TOKENS, START_TOKENS
from chronos2_attention.group_mass import cross_group_mass
from chronos2_attention.time_attention import mask_of

LAYERS = 3
GENERATOR = torch.Generator().manual_seed(0)


def walk(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR).cumsum(-1)


def holed(series: torch.Tensor) -> torch.Tensor:
    series = series.clone()
    series[100:200] = torch.nan
    return series


EQUAL = [walk(400) for _ in range(5)]
INPUTS = {
    "ragged": [walk(n) for n in (3, 17, 40, 100, 129, 300, 500)],
    "equal": EQUAL,
    "holed": [*EQUAL[:4], holed(EQUAL[4])],
    "one": [torch.tensor([3.0])],
    "nothing": [torch.full((50,), torch.nan), walk(50)],
    "covariates": [
        {
            "target": walk(2, 200),
            "past_covariates": {"a": walk(200).numpy(), "b": walk(200).numpy()},
            "future_covariates": {"a": np.ones(24)},
        }
        for _ in range(3)
    ],
}
VARIANTS = ["full", "sparse_r1", "sparse_r1_every4", "joint", "soft_correlation_t5", "univariate"]
VARIANTS += ["cluster_correlation_k2"]
CASES = [(v, "auto", name, 24) for v in VARIANTS for name in INPUTS]
CASES += [("sparse_r2", b, name, 24) for b in ("banded", "flash", "reference") for name in INPUTS]
CASES += [(v, "auto", name, 90) for v in VARIANTS for name in ("ragged", "equal")]


@pytest.fixture(autouse=True)
def without_a_driver(monkeypatch):
    """What asks for a driver itself, and leaves no pretended tensor to other tests."""
    torch._C._ensureCUDADeviceGuardSet()
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    loader = sys.modules["chronos.chronos2.pipeline"].DataLoader

    def unpinned(*args, pin_memory=False, **kwargs):
        return loader(*args, **kwargs)

    monkeypatch.setattr("chronos.chronos2.pipeline.DataLoader", unpinned)
    # The weights are no plain parameters, which the fast path refuses.
    monkeypatch.setattr("chronos2_attention.model.obstacle", lambda encoder, device: "")
    monkeypatch.setitem(sys.modules, "flash_attn", flash_attn())
    for cache in (mask_of, _cut):
        cache.cache_clear()
    yield
    for cache in (mask_of, _cut):
        cache.cache_clear()


def flash_attn() -> types.ModuleType:
    """The package's two functions, with what its C++ checks."""
    module, log = types.ModuleType("flash_attn"), Log()

    def one(q, k, v, scale, window):
        away = torch.arange(len(k))[None] - torch.arange(len(q))[:, None]
        scores = torch.einsum("qhd,khd->hqk", q.float(), k.float()) * scale
        weights = scores.masked_fill((away < -window[0]) | (away > window[1]), -torch.inf)
        return torch.einsum("hqk,khd->qhd", weights.softmax(-1), v.float()).to(q.dtype)

    def check(*tensors):
        for x in tensors:
            assert x.is_cuda
            assert x.element_size() == 2
            assert x.stride(-1) == 1
        return [x.held for x in tensors]

    def equal(q, k, v, *, softmax_scale, window_size):
        rows = zip(*check(q, k, v), strict=True)
        return Gpu(torch.stack([one(*row, softmax_scale, window_size) for row in rows]))

    def varlen(q, k, v, *, cu_seqlens_q, softmax_scale, window_size, max_seqlen_q, **_):
        assert cu_seqlens_q.is_cuda
        assert cu_seqlens_q.dtype == torch.int32
        lengths = cu_seqlens_q.held.diff().tolist()
        assert max_seqlen_q == max(lengths)
        parts = zip(*(x.split(lengths) for x in check(q, k, v)), strict=True)
        return Gpu(torch.cat([one(*part, softmax_scale, window_size) for part in parts]))

    module.flash_attn_func, module.flash_attn_varlen_func = equal, varlen
    return module


@pytest.fixture(scope="module")
def pair():
    """A pipeline on the CPU and the same on the pretended GPU, by dtype."""

    def both(dtype: torch.dtype) -> tuple[Chronos2VariantPipeline, Chronos2VariantPipeline]:
        made = [Chronos2VariantPipeline(build_upstream_model().to(dtype)) for _ in range(2)]
        move(made[1].model)
        return tuple(made)

    return {dtype: both(dtype) for dtype in (torch.float32, torch.bfloat16)}


def on_both(pair, dtype, variant, backend, call):
    """Return the results of a call on the CPU and on the pretended GPU, and the latter's log."""
    cpu, gpu = pair[dtype]
    wanted = call(cpu.with_variant(variant, backend="reference"))
    log, ours = Log(), gpu.with_variant(variant, backend=backend)
    with torch.no_grad(), pretended(log):
        found = call(ours)
    assert "upstream" not in ours.model.backends_used
    return wanted, found, log


def difference(found, wanted) -> float:
    """Return the largest difference relative to a series' largest forecast."""
    pairs = zip(found, wanted, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-6)) for a, b in pairs)


def assert_ready(log: Log, steps: int) -> None:
    """No unfused or planned attention, and waits that do not depend on the number of layers."""
    assert {call.kernel for call in log.attention} <= {"flash", "efficient"}
    assert not log.layered_waits if steps == 1 else True
    assert not [where for where in log.uploads if "scripts" in where]


@pytest.mark.parametrize(("variant", "backend", "inputs", "horizon"), CASES)
@pytest.mark.filterwarnings("ignore:We recommend keeping prediction length")
def test_a_gpu_computes_what_the_cpu_does_without_waiting(pair, variant, backend, inputs, horizon):
    series = INPUTS[inputs]

    def forecast(pipeline):
        return pipeline.predict(series, prediction_length=horizon)

    dtypes = [torch.bfloat16] if backend == "flash" else [torch.float32, torch.bfloat16]
    for dtype in dtypes:
        wanted, found, log = on_both(pair, dtype, variant, backend, forecast)
        assert difference(found, wanted) < (1e-5 if dtype == torch.float32 else 0.1)
        assert_ready(log, -(-horizon // 64))
        if horizon <= 64:
            assert len(log.waits) <= 3, log.waits
            assert sum(log.kernels.values()) <= BUDGET[backend] * LAYERS + 110, log.kernels


# Kernels a layer; the rest is embedding, scaling and the head.
BUDGET = {"auto": 46, "reference": 40, "flash": 60, "banded": 60}
