"""The engine on a pretended GPU: devices, kernels, waits of the host, values; see pretend_gpu."""

from __future__ import annotations

import sys
import types
from contextlib import nullcontext
from itertools import chain

import numpy as np
import pytest
import torch
from pretend_gpu import Gpu, Log, move, pretended
from small_model import build_upstream_model

from chronos2_attention import Chronos2VariantPipeline
from chronos2_attention.attention_mass import attention_mass
from chronos2_attention.banded import _cut
from chronos2_attention.batching import batches_by_length
from chronos2_attention.blocks import Block
from chronos2_attention.blockwise import MAX_TOKENS, START_TOKENS
from chronos2_attention.dense_layers import feed_forward
from chronos2_attention.group_mass import cross_group_mass
from chronos2_attention.time_attention import additive, mask_of

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
CASES += [("sparse_r2", b, "ragged", 90) for b in ("banded", "flash")]
CASES += [("full", "auto", "equal", 150)]  # three passes


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
    monkeypatch.setitem(sys.modules, "flash_attn", flash_attn())
    for cache in (mask_of, _cut):
        cache.cache_clear()
    yield
    for cache in (mask_of, _cut):
        cache.cache_clear()


def flash_attn() -> types.ModuleType:
    """The package's two functions, with what its C++ checks."""
    module = types.ModuleType("flash_attn")

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


def assert_ready(log: Log, passes: int = 1) -> None:
    """No unfused and no planned attention, and nothing in a layer for which the host waits.

    A batch waits once, and twice in each pass through the model.
    """
    kernels = {call.kernel for call in log.attention}
    assert kernels <= {"flash", "efficient"}, kernels
    copied = [call.shape for call in log.attention if call.copies_mask]
    assert not copied, f"copied masks: {copied}"
    layered = log.layered_waits(passes)
    assert not layered, f"layered_waits: {layered}"
    assert len(log.waits) <= 1 + 2 * passes, log.waits
    assert not log.own_uploads, f"uploads: {log.own_uploads}"


# Kernels of a layer, and of all else: embedding, scaling, masks, the head. Shapes of attention in a
# batch, for each of which cuDNN would make a plan.
BUDGET = {
    "auto": (31, 125, 6),
    "reference": (28, 120, 4),
    "flash": (35, 170, 4),
    "banded": (35, 175, 5),
}
# Largest differences relative to a series' largest forecast.
PRECISIONS = {torch.float32: 1e-5, torch.bfloat16: 0.1}


@pytest.mark.parametrize(("variant", "backend", "inputs", "horizon"), CASES)
@pytest.mark.filterwarnings("ignore:We recommend keeping prediction length")
def test_a_gpu_computes_what_the_cpu_does_without_waiting(pair, variant, backend, inputs, horizon):
    check(pair, variant, backend, inputs, horizon, PRECISIONS)


def check(pair, variant, backend, inputs, horizon, dtypes):
    def forecast(pipeline):
        return pipeline.predict(INPUTS[inputs], prediction_length=horizon)

    for dtype in dtypes if backend != "flash" else [torch.bfloat16]:
        wanted, found, log = on_both(pair, dtype, variant, backend, forecast)
        assert difference(found, wanted) < PRECISIONS[dtype]
        steps = -(-horizon // 64)
        assert_ready(log, passes=steps)
        assert len(log.uploads) <= 3, log.uploads  # upstream's, of what a batch begins with
        layer, rest, shapes = BUDGET[backend]
        attended = {call.shape for call in log.attention}
        assert len(attended) <= steps * shapes, f"shapes: {attended}"
        total = sum(log.kernels.values())
        assert total <= steps * (layer * LAYERS + rest) + (steps - 1) * 40, f"kernels: {total}"


def test_blocks_of_several_cutoffs_share_a_pass(pair):
    blocks = [
        Block(INPUTS["ragged"][:4], None, (0,)),
        Block(INPUTS["equal"], None, (1,)),
    ]

    for variant in ("joint", "soft_correlation_t5", "cluster_correlation_k2", "full"):
        for dtype, bound in PRECISIONS.items():
            wanted, found, log = on_both(
                pair,
                dtype,
                variant,
                "auto",
                lambda p: [*chain.from_iterable(p.predict_blocks(blocks, 24))],
            )
            assert difference(found, wanted) < bound
            assert_ready(log)
    grouped = {"prediction_length": 24, "groups": list("aabab")}
    for dtype, bound in PRECISIONS.items():
        wanted, found, log = on_both(
            pair, dtype, "grouped_kind", "auto", lambda p: p.predict(EQUAL, **grouped)
        )
        assert difference(found, wanted) < bound
        assert_ready(log)


MEASURES = {
    "time": lambda pipeline: attention_mass(pipeline, NUMBERS, 24).by_distance,
    "group": lambda pipeline: cross_group_mass(
        pipeline.with_variant("soft_correlation_t5"), NUMBERS, 24
    ),
    "embedding": lambda pipeline: torch.cat(
        [x.float().flatten() for x in pipeline.embed(NUMBERS)[0]]
    ).numpy(),
}
NUMBERS = [walk(n).numpy() for n in (280, 300, 300, 300)]  # one batch, padded


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("name", MEASURES)
def test_what_is_measured_is_the_same(pair, name, dtype):
    wanted, found, log = on_both(pair, dtype, "full", "auto", MEASURES[name])
    assert np.abs(found - wanted).max() <= PRECISIONS[dtype] * np.abs(wanted).max()
    assert "cudnn" not in {call.kernel for call in log.attention}
    assert_ready(log)


def test_a_probe_fills_a_gpu_as_forecasts_do(pair):
    def measure(pipeline):
        return attention_mass(pipeline, [x.numpy() for x in EQUAL * 4], 24, batch_size=4)

    wanted, found, log = on_both(pair, torch.float32, "full", "auto", measure)
    np.testing.assert_allclose(found.by_distance, wanted.by_distance, rtol=1e-5, atol=1e-5)
    assert_ready(log)  # one pass, not five


late = walk(3, 200)
late[1, :150] = torch.nan  # padded where the others are not
EMBEDDED = {name: inputs for name, inputs in INPUTS.items() if name != "covariates"}
EMBEDDED |= {
    "multivariate": [walk(3, 60), late, walk(1, 200)],
    "covariates": [
        {"target": walk(2, n), "past_covariates": {"a": walk(n).numpy()}} for n in (90, 200)
    ],
}


@pytest.mark.parametrize("inputs", EMBEDDED)
@pytest.mark.parametrize(
    ("variant", "backend"), [("full", "auto"), ("sparse_r2", "auto"), ("sparse_r2", "banded")]
)
def test_embeddings_wait_no_more_than_forecasts(pair, variant, backend, inputs):
    def embed(pipeline):
        states, scales = pipeline.embed(EMBEDDED[inputs])
        return [x.float() for x in chain(states, *scales)]

    for dtype, bound in PRECISIONS.items():
        wanted, found, log = on_both(pair, dtype, variant, backend, embed)
        assert difference(found, wanted) < bound
        assert_ready(log)
        layer, rest, shapes = BUDGET[backend]
        assert len({call.shape for call in log.attention}) <= shapes
        total = sum(log.kernels.values())
        assert total <= layer * LAYERS + rest, f"kernels: {total}"


def test_many_lengths_are_few_shapes():
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(4.6, 1.1, 10_000).clip(3, 2800).astype(int)
    batches = batches_by_length(
        lengths,
        np.ones_like(lengths),
        batch_size=MAX_TOKENS[True],
        patch_size=16,
        max_tokens=MAX_TOKENS[True],
        start_tokens=START_TOKENS[True],
    )
    shapes = {(len(batch), -(-lengths[batch].max() // 16)) for batch in batches}
    assert len(shapes) <= 9  # 68 in a CPU's batches, of 8192 tokens


def on_the_host(*args, **kwargs):
    mask = additive(*args, **kwargs)
    return mask.held if isinstance(mask, Gpu) else mask


def in_float32(allowed, dtype):
    return additive(allowed, torch.float32)


def spread(allowed, dtype):
    return additive(allowed.transpose(-1, -2), dtype).transpose(-1, -2)


def in_steps(x, shape, weight, epsilon):
    mean_square = x.float().pow(2).mean(-1, keepdim=True)
    return (x * (mean_square + epsilon).rsqrt()).to(x.dtype) * weight


def fetching(layer, hidden):
    hidden.sum().item()
    return feed_forward(layer, hidden)


def as_numpy(layer, hidden):
    hidden.float().numpy()
    return feed_forward(layer, hidden)


def uploading(layer, hidden):
    return feed_forward(layer, hidden).add_(torch.zeros(1).to(hidden.device))


TIME, MODEL = "chronos2_attention.time_attention.additive", "chronos2_attention.model.feed_forward"
MUTANTS = {
    "a mask on the CPU": (TIME, on_the_host, "same device"),
    "a float32 mask": (TIME, in_float32, "a mask in torch.float32"),
    "a mask with spread keys": (TIME, spread, "math"),
    "a wait in a layer": (MODEL, fetching, "layered_waits"),
    "NumPy": (MODEL, as_numpy, "to numpy"),
    "cuDNN": ("chronos2_attention.model.planless_attention", lambda _: nullcontext(), "cudnn"),
    "an upload": (MODEL, uploading, "uploads"),
    "norms in steps": ("chronos2_attention.dense_layers.rms_norm", in_steps, "kernels"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(pair, monkeypatch, name):
    place, mutant, told = MUTANTS[name]
    monkeypatch.setattr(place, mutant)
    with pytest.raises((RuntimeError, TypeError, AssertionError), match=told):
        check(pair, "full", "auto", "ragged", 24, [torch.bfloat16])


def rms(found, wanted) -> float:
    squares = [
        ((a - b) / b.abs().max()).square().mean() for a, b in zip(found, wanted, strict=True)
    ]
    return float(torch.stack(squares).mean().sqrt())


@pytest.mark.parametrize("variant", [*VARIANTS, "sparse_r2"])
def test_half_precision_errs_as_upstream_does(pair, monkeypatch, variant):
    """Against upstream's blocks with the variant's masks, which `full` leaves as they are."""
    many = [walk(n) for n in range(60, 460, 20)]

    def forecast(pipeline):
        return pipeline.predict(many, prediction_length=48)

    exact, _ = (p.with_variant(variant) for p in pair[torch.float32])
    _, ours, _ = on_both(pair, torch.bfloat16, variant, "auto", forecast)
    mine = forecast(pair[torch.bfloat16][0].with_variant(variant))
    wanted = forecast(exact)
    monkeypatch.setattr("chronos2_attention.model.obstacle", lambda *_: "a test")
    theirs = forecast(pair[torch.bfloat16][0].with_variant(variant))
    assert rms(ours, wanted) <= 1.2 * rms(theirs, wanted)
    assert rms(mine, wanted) <= 1.2 * rms(theirs, wanted)
