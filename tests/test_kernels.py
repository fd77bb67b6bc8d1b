"""The fused kernels compute what the reference computes.

FlexAttention is compiled and run. flash-attn needs a GPU: here its two functions are replaced by
their documented meaning, so that what is tested is what we hand to them, padding above all.
"""

import shutil
import sys
import types

import pytest
import torch
from hypothesis import HealthCheck, given, reject, settings
from test_time_attention import (
    PRECISION,
    assert_close_to_definition,
    cases,
    layout_of,
    random_heads,
)

from chronos2_attention import InputError
from chronos2_attention.backends import choose_backend, time_attention
from chronos2_attention.kernels import FlashTime, is_right_aligned
from chronos2_attention.time_attention import ReferenceTime, TokenLayout
from chronos2_attention.variants import Full, Sparse

BATCH, HEADS, WIDTH = 3, 2, 16
CASES = [
    pytest.param(Sparse(3), 40, 2, None, id="unpadded"),
    pytest.param(Sparse(5), 40, 2, [0, 7, 33], id="padded"),
    pytest.param(Sparse(4, reg_is_global=True), 33, 3, [0, 0, 12], id="regglobal"),
]


def batch_of(num_context, num_future, padding):
    size = num_context + num_future
    valid = None
    if padding is not None:
        valid = torch.arange(size)[None, :] >= torch.tensor(padding)[:, None]
    generator = torch.Generator().manual_seed(7)
    shape = (3, BATCH, HEADS, size, WIDTH)
    return TokenLayout(num_context, size, valid), torch.randn(shape, generator=generator).unbind()


def assert_equal_where_valid(found, wanted, valid):
    rows = torch.ones(found.shape[0], found.shape[2], dtype=torch.bool) if valid is None else valid
    rows = rows[:, None, :, None].expand_as(found)
    torch.testing.assert_close(found[rows], wanted[rows], rtol=1e-5, atol=1e-5)


needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="SKIPPED, NOT PASSED: FlexAttention needs a C++ compiler"
)


@needs_compiler
@pytest.mark.parametrize(("variant", "num_context", "num_future", "padding"), CASES)
def test_flex_equals_the_reference(variant, num_context, num_future, padding):
    layout, (q, k, v) = batch_of(num_context, num_future, padding)
    options = {"dtype": q.dtype, "device": q.device}
    flex = time_attention(variant, layout, backend="flex", **options)
    assert flex.backend == "flex"
    with torch.no_grad():
        found = flex(q, k, v)
    assert_equal_where_valid(
        found, ReferenceTime(variant, layout, **options)(q, k, v), layout.valid
    )


@needs_compiler
@PRECISION
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(case=cases())
def test_flex_computes_the_definition(dtype, tolerance, case):
    batch, num_context, num_future, variant, padding, seed = case
    layout = layout_of(batch, num_context, num_future, padding)
    q, k, v = random_heads(batch, layout, seed, dtype)
    attend = time_attention(variant, layout, dtype=dtype, device=q.device, backend="flex")
    try:
        with torch.no_grad():
            out = attend(q, k, v)
    except InputError as error:
        if "cannot compile FlexAttention" not in str(error):
            raise
        reject()  # torch's own compiler fails, and we say so
    assert_close_to_definition(out, q, k, v, variant, layout, tolerance)


def windowed_softmax(q, k, v, scale, window):
    """flash-attn's meaning: (T, H, D) each, keys within `window` tokens left and right."""
    distance = torch.arange(len(k))[None, :] - torch.arange(len(q))[:, None]
    allowed = (distance >= -window[0]) & (distance <= window[1])
    scores = torch.einsum("qhd,khd->hqk", q.float(), k.float()) * scale
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v.float()).to(q.dtype)


@pytest.fixture
def flash_attn(monkeypatch):
    """A module with the two functions that we call, and a count of the tokens they were given."""
    module = types.ModuleType("flash_attn")
    module.tokens = 0

    def flash_attn_func(q, k, v, softmax_scale, window_size):
        module.tokens += q.shape[0] * q.shape[1]
        rows = zip(q, k, v, strict=True)
        return torch.stack([windowed_softmax(*row, softmax_scale, window_size) for row in rows])

    def flash_attn_varlen_func(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale, window_size
    ):
        assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
        lengths = cu_seqlens_q.diff().tolist()
        assert max_seqlen_q == max_seqlen_k == max(lengths)
        assert sum(lengths) == len(q)
        module.tokens += len(q)
        parts = zip(*(x.split(lengths) for x in (q, k, v)), strict=True)
        return torch.cat([windowed_softmax(*part, softmax_scale, window_size) for part in parts])

    module.flash_attn_func = flash_attn_func
    module.flash_attn_varlen_func = flash_attn_varlen_func
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    return module


@pytest.mark.parametrize(("variant", "num_context", "num_future", "padding"), CASES)
def test_flash_gets_unpadded_tokens_only(flash_attn, variant, num_context, num_future, padding):
    layout, (q, k, v) = batch_of(num_context, num_future, padding)
    options = {"dtype": q.dtype, "device": q.device}
    found = FlashTime(variant, layout, **options)(q, k, v)
    assert_equal_where_valid(
        found, ReferenceTime(variant, layout, **options)(q, k, v), layout.valid
    )
    assert flash_attn.tokens == BATCH * num_context - sum(padding or [])


@PRECISION
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=cases())
def test_flash_is_handed_what_computes_the_definition(flash_attn, dtype, tolerance, case):
    batch, num_context, num_future, variant, padding, seed = case
    layout = layout_of(batch, num_context, num_future, padding)
    q, k, v = random_heads(batch, layout, seed, dtype)
    out = FlashTime(variant, layout, dtype=dtype, device=q.device)(q, k, v)
    assert_close_to_definition(out, q, k, v, variant, layout, tolerance)


def test_flash_is_left_to_batches_without_holes(flash_attn, monkeypatch):
    monkeypatch.setattr("chronos2_attention.backends.flash_functions", lambda: None)
    whole = torch.tensor([[False, True, True], [True, True, True]])
    holed = torch.tensor([[True, False, True], [True, True, True]])
    assert is_right_aligned(None)
    assert is_right_aligned(whole)
    assert not is_right_aligned(holed)
    assert choose_backend("flash", Sparse(1), TokenLayout(2, 3, whole)) == "flash"
    assert choose_backend("flash", Sparse(1), TokenLayout(2, 3, holed)) == "banded"
    assert choose_backend("flash", Full(), TokenLayout(2, 3, holed)) == "dense"


def test_flash_says_what_it_lacks(monkeypatch, tmp_path):
    layout = TokenLayout(2, 3, None)
    monkeypatch.syspath_prepend(tmp_path)
    sparse = {"dtype": torch.float32, "device": torch.device("cpu"), "backend": "flash"}
    with pytest.raises(InputError, match="No module named 'flash_attn'"):
        choose_backend("flash", Sparse(1), layout)
    package = tmp_path / "flash_attn" / "cute"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    with pytest.raises(InputError, match="has no attribute 'flash_attn_func'"):
        choose_backend("flash", Sparse(1), layout)
    (tmp_path / "flash_attn" / "__init__.py").write_text("raise ImportError('undefined symbol')")
    sys.modules.pop("flash_attn")
    with pytest.raises(InputError, match="undefined symbol") as error:
        choose_backend("flash", Sparse(1), layout)
    assert "\n" not in str(error.value)
    third = "flash_attn_func = flash_attn_varlen_func = print"
    (tmp_path / "flash_attn_interface.py").write_text(third)
    assert choose_backend("flash", Sparse(1), layout) == "flash"
    with pytest.raises(InputError, match="cannot run on cpu in float32"):
        time_attention(Sparse(1), layout, **sparse)
    sys.modules.pop("flash_attn_interface")
