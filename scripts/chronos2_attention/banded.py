"""Windowed time attention in chunks, on strided views of the keys."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.nn.functional import scaled_dot_product_attention

from .time_attention import TokenLayout, WindowedTime, additive
from .variants import Sparse

# Queries in one call: on a CPU what a call makes beside its result stays small, on a GPU calls are
# few, up to the 65 535 chunks that a kernel takes.
QUERIES_AT_ONCE = {"cpu": 1024, "cuda": 1 << 20}

# Cuts that a process keeps: their masks grow with batch and radius, 2 MB at 8192 tokens and r = 8.
CUTS_KEPT = 4


@dataclass(frozen=True)
class Piece:
    """Consecutive chunks of queries, each against its band of keys, which begin a chunk apart."""

    first: int  # query
    chunks: int
    chunk: int  # queries in each
    key: int  # the first of the first band
    width: int  # keys in each
    mask: torch.Tensor  # to add to scores, (chunks, 1, chunk, width)

    def attend(self, out: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
        """Fill this piece's rows of `out`; all are contiguous, of shape (tokens, H, D)."""
        rows = slice(self.first, self.first + self.chunks * self.chunk)
        keys = slice(self.key, self.key + (self.chunks - 1) * self.chunk + self.width)
        # Bands overlap, and are views all the same: (chunks, H, width, D).
        k, v = (x[keys].unfold(0, self.width, self.chunk).transpose(2, 3) for x in (k, v))
        queries = q[rows].unflatten(0, (self.chunks, self.chunk)).transpose(1, 2)
        found = scaled_dot_product_attention(queries, k, v, attn_mask=self.mask, scale=1.0)
        out[rows] = found.transpose(1, 2).flatten(0, 1)


class BandedTime(WindowedTime):
    """Context queries in chunks against the band of keys that they can see.

    The sequences of a batch are cut end to end, so that no key is copied; a mask keeps queries from
    keys of other series. A chunk of c queries meets c + 2r keys: cost falls from S^2 to S (c + 2r).
    """

    backend = "banded"

    def __init__(self, variant: Sparse, layout, *, dtype, device, chunk_size: int) -> None:
        super().__init__(variant, layout, dtype=dtype, device=device)
        self.dtype, self.device = dtype, device
        self.chunk = chunk_size
        self.pieces: list[Piece] = []

    def windowed(self, q, k, v):
        batch, heads, tokens, width = q.shape
        if not self.pieces:  # the first layer; only now is the number of series known
            # What depends on no padding serves later batches, too.
            cut = _cut if self.layout.valid is None else _cut.__wrapped__
            self.pieces = cut(self.layout, batch, self.radius, self.chunk, self.dtype, self.device)
        q, k, v = (x.transpose(1, 2).reshape(-1, heads, width) for x in (q, k, v))
        out = torch.empty_like(q)
        for piece in self.pieces:
            piece.attend(out, q, k, v)
        return out.unflatten(0, (batch, tokens)).transpose(1, 2)


@lru_cache(CUTS_KEPT)
def _cut(layout: TokenLayout, batch: int, radius: int, chunk: int, dtype, device) -> list[Piece]:
    """Cut a batch's tokens into pieces whose bands lie within them."""
    total = batch * layout.num_tokens
    chunk, radius = min(chunk, total), min(radius, layout.num_context - 1)

    def piece(first: int, chunks: int, chunk: int, key: int, width: int) -> Piece:
        step = torch.arange(chunks, device=device)[:, None] * chunk
        query = first + step + torch.arange(chunk, device=device)
        keys = key + step + torch.arange(width, device=device)
        size = layout.num_tokens
        usable = keys % size < layout.num_context
        if layout.valid is not None:
            usable &= layout.valid.flatten().to(device, non_blocking=True)[keys]
        allowed = (query[:, :, None] // size == keys[:, None, :] // size) & usable[:, None, :]
        allowed &= (query[:, :, None] - keys[:, None, :]).abs() <= radius
        return Piece(first, chunks, chunk, key, width, additive(allowed, dtype)[:, None])

    # Before `low` bands would begin too early, from `high` on they would end too late.
    low, high = -(-radius // chunk) * chunk, (total - radius) // chunk * chunk
    if low >= high:
        return [piece(0, 1, total, 0, total)]
    pieces = []
    if low:
        pieces.append(piece(0, 1, low, 0, low + radius))
    most = max(1, min(QUERIES_AT_ONCE[torch.device(device).type] // chunk, 65535)) * chunk
    for first in range(low, high, most):
        chunks = min(most, high - first) // chunk
        pieces.append(piece(first, chunks, chunk, first - radius, chunk + 2 * radius))
    if high < total:
        key = high - radius
        pieces.append(piece(high, 1, total - high, key, total - key))
    return pieces
