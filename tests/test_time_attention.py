"""Every backend of time attention computes what the reference computes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos2_attention import InputError
from chronos2_attention.backends import choose_backend, time_attention
from chronos2_attention.time_attention import TokenLayout, allowed_pairs
from chronos2_attention.variants import Full, Sparse
from study.speed.measuring import peak_tensor_mb

HEADS, WIDTH = 2, 8
PRECISION = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)], ids=["fp32", "bf16"]
)


@st.composite
def cases(draw):
    """A batch of random size and padding, with a sparse variant and a chunk size."""
    batch = draw(st.integers(1, 4))
    num_context = draw(st.integers(1, 40))
    num_future = draw(st.integers(1, 5))
    variant = Sparse(draw(st.integers(0, 45)), draw(st.booleans()))
    # Left padding never covers REG, the last context token.
    padding = [draw(st.integers(0, num_context - 1)) for _ in range(batch)]
    is_padded = draw(st.booleans())
    seed = draw(st.integers(0, 2**31))
    return batch, num_context, num_future, variant, padding if is_padded else None, seed


def layout_of(batch, num_context, num_future, padding):
    size = num_context + num_future
    valid = None
    if padding is not None:
        valid = torch.arange(size)[None, :] >= torch.tensor(padding)[:, None]
    return TokenLayout(num_context, size, valid)


def by_definition(q, k, v, variant, layout):
    """One softmax a query over exactly the keys that it may see, in float64."""
    allowed = allowed_pairs(variant, layout)
    out = torch.zeros_like(q, dtype=torch.float64)
    for b in range(q.shape[0]):
        for i in range(q.shape[2]):
            keys = allowed[i].clone()
            if layout.valid is not None:
                keys &= layout.valid[b]
            scores = torch.einsum("hd,hkd->hk", q[b, :, i].double(), k[b][:, keys].double())
            out[b, :, i] = torch.einsum("hk,hkd->hd", scores.softmax(-1), v[b][:, keys].double())
    return out


def random_heads(batch, layout, seed, dtype):
    """Queries, keys and values of shape (B, H, S, D)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (3, batch, HEADS, layout.num_tokens, WIDTH)
    return torch.randn(shape, generator=generator).to(dtype).unbind()


def assert_close_to_definition(out, q, k, v, variant, layout, tolerance):
    """Compare at unpadded queries; at padded ones any finite value will do."""
    assert torch.isfinite(out).all(), "padded queries must stay finite"
    wanted = by_definition(q, k, v, variant, layout)
    valid = torch.ones(q.shape[0], layout.num_tokens, dtype=torch.bool)
    if layout.valid is not None:
        valid = layout.valid
    rows = valid[:, None, :, None].expand_as(out)
    torch.testing.assert_close(
        out[rows].double(), wanted[rows], rtol=tolerance, atol=tolerance, check_dtype=False
    )


@pytest.mark.parametrize("backend", ["reference", "banded"])
@PRECISION
@settings(max_examples=40, deadline=None)
@given(case=cases(), chunk_size=st.integers(1, 48))
def test_backends_compute_the_definition(backend, dtype, tolerance, case, chunk_size):
    batch, num_context, num_future, variant, padding, seed = case
    layout = layout_of(batch, num_context, num_future, padding)
    q, k, v = random_heads(batch, layout, seed, dtype)
    attend = time_attention(
        variant, layout, dtype=dtype, device=q.device, backend=backend, chunk_size=chunk_size
    )
    assert attend.backend == backend
    assert_close_to_definition(attend(q, k, v), q, k, v, variant, layout, tolerance)


@settings(max_examples=30, deadline=None)
@given(case=cases())
def test_future_queries_see_all_unpadded_tokens(case):
    batch, num_context, num_future, variant, padding, seed = case
    layout = layout_of(batch, num_context, num_future, padding)
    q, k, v = random_heads(batch, layout, seed, torch.float32)
    attend = time_attention(variant, layout, dtype=q.dtype, device=q.device)
    wanted = by_definition(q, k, v, Full(), layout)[:, :, num_context:]
    found = attend.future(q[:, :, num_context:], k, v).double()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_full_is_dense_and_auto_picks_a_backend_that_exists():
    layout = TokenLayout(100, 102, None)
    assert choose_backend("auto", Full(), layout) == "dense"
    assert choose_backend("auto", Sparse(4), layout) == "banded"
    assert choose_backend("auto", Sparse(90), layout) == "reference"


def test_bands_longer_than_a_call_of_queries_equal_the_reference():
    """Several blocks of chunks, series that end within a chunk, and padding."""
    size, batch = 131, 20
    valid = torch.arange(size) >= torch.arange(batch)[:, None] * 5
    for layout in (TokenLayout(129, size, None), TokenLayout(129, size, valid)):
        q, k, v = (torch.randn(batch, size, HEADS, WIDTH).transpose(1, 2) for _ in range(3))
        options = {"dtype": q.dtype, "device": q.device}
        wanted = time_attention(Sparse(8), layout, backend="reference", **options)(q, k, v)
        for chunk in (7, 32, 5000):
            attend = time_attention(
                Sparse(8), layout, backend="banded", chunk_size=chunk, **options
            )
            for _ in range(2):  # pieces are cut at the first call and used again
                found = attend(q, k, v)
            rows = valid if layout.valid is not None else torch.ones_like(valid)
            torch.testing.assert_close(
                found.transpose(1, 2)[rows], wanted.transpose(1, 2)[rows], rtol=1e-5, atol=1e-5
            )


def test_bands_are_cut_without_copies_of_keys():
    layout = TokenLayout(129, 131, None)
    q, k, v = (torch.randn(8, 131, HEADS, 64).transpose(1, 2) for _ in range(3))
    attend = time_attention(
        Sparse(8), layout, dtype=q.dtype, device=q.device, backend="banded", chunk_size=32
    )
    attend(q, k, v)
    _, peak = peak_tensor_mb(lambda: attend(q, k, v), q.device)
    # The result, and that of one call: two of what the queries take, and little beside it.
    assert peak * 2**20 < 2.2 * q.numel() * q.element_size()


def test_masks_serve_later_batches_of_their_size():
    def prepared(backend, valid=None, radius=8):
        layout = TokenLayout(129, 131, valid)
        options = {"dtype": torch.float32, "device": torch.device("cpu"), "backend": backend}
        attend = time_attention(Sparse(radius), layout, **options)
        attend(*(torch.randn(3, HEADS, 131, WIDTH) for _ in range(3)))
        return attend.mask if backend == "reference" else attend.pieces

    valid = torch.arange(131).repeat(3, 1) >= 16
    for backend in ("reference", "banded"):
        assert prepared(backend) is prepared(backend)
        assert prepared(backend) is not prepared(backend, radius=9)
    assert prepared("reference") is prepared("reference", valid), "padding is joined to it later"
    assert prepared("banded") is not prepared("banded", valid)


def test_an_unknown_backend_is_refused():
    with pytest.raises(InputError, match="unknown attention backend 'flush'"):
        choose_backend("flush", Full(), TokenLayout(4, 5, None))
