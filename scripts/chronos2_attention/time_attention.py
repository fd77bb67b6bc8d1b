"""Attention over time tokens, dense or sparse, for one batch.

`ReferenceTime` writes down what a sparse variant means: dense scores and a mask. `BandedTime` and
the backends of `kernels` compute the same function with less work, and are tested against it.

Chronos-2 does not scale its scores by 1/sqrt(d), hence ``scale=1.0`` throughout
(upstream: `chronos.chronos2.layers.MHA`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from .variants import AttentionVariant, Sparse


@dataclass(frozen=True)
class TokenLayout:
    """Where the tokens of a batch lie.

    Attributes
    ----------
    num_context:
        Context tokens per series: context patches and the REG token.
    num_tokens:
        Sequence length S: context tokens, then future tokens.
    valid:
        Boolean tensor of shape (B, S), False at left padding; None where nothing is padded.
    """

    num_context: int
    num_tokens: int
    valid: torch.Tensor | None

    @property
    def num_future(self) -> int:
        return self.num_tokens - self.num_context


def additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Turn a boolean mask into one to add to scores: 0 where allowed, else the lowest finite value.

    A finite value, as upstream uses it, keeps rows without any allowed key free of NaN: padded
    queries have such rows, and a NaN there would spread through values of weight zero.
    """
    mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)


def allowed_pairs(
    variant: AttentionVariant, layout: TokenLayout, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return which pairs of tokens attend, padding aside: boolean, shape (S, S), query by key."""
    position = torch.arange(layout.num_tokens, device=device)
    return variant.sees(position[:, None], position[None, :], layout.num_context)


class TimeAttention:
    """Time attention of one batch; masks are built here, once, and used by every layer.

    Parameters
    ----------
    variant:
        Which tokens see which.
    layout:
        Sizes and padding of the batch.
    dtype, device:
        Of the scores.

    Call it with queries, keys and values of shape (B, H, S, D); it returns (B, H, S, D). Outputs
    at padded queries are finite and otherwise unspecified.
    """

    backend: ClassVar[str] = ""

    def __init__(
        self,
        variant: AttentionVariant,
        layout: TokenLayout,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.layout = layout
        self.key_mask = None
        if layout.valid is not None:
            self.key_mask = additive(layout.valid, dtype)[:, None, None, :]

    def __call__(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return self.future(q, k, v)

    def future(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attend from queries that see every unpadded token: (B, H, Q, D) for any Q."""
        return scaled_dot_product_attention(q, k, v, attn_mask=self.key_mask, scale=1.0)


class DenseTime(TimeAttention):
    """Every query sees every unpadded token."""

    backend = "dense"


class ReferenceTime(TimeAttention):
    """The definition of a sparse variant: dense scores plus a mask of shape (B or 1, 1, S, S)."""

    backend = "reference"

    def __init__(self, variant, layout, *, dtype, device) -> None:
        super().__init__(variant, layout, dtype=dtype, device=device)
        allowed = allowed_pairs(variant, layout, device)[None, None]
        if layout.valid is not None:
            allowed = allowed & layout.valid[:, None, None, :]
        self.mask = additive(allowed, dtype)

    def __call__(self, q, k, v):
        return scaled_dot_product_attention(q, k, v, attn_mask=self.mask, scale=1.0)


class WindowedTime(TimeAttention, ABC):
    """Base of backends that know the variant's window: dense future, windowed context.

    Subclasses give `windowed`, which attends within the context.
    """

    def __init__(self, variant: Sparse, layout, *, dtype, device) -> None:
        super().__init__(variant, layout, dtype=dtype, device=device)
        self.radius = variant.radius
        self.reg_is_global = variant.reg_is_global

    @abstractmethod
    def windowed(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attend among context tokens at most `radius` apart: (B, H, C, D) -> (B, H, C, D)."""

    def __call__(self, q, k, v):
        context = self.layout.num_context
        out = torch.empty_like(q)
        out[:, :, context:] = self.future(q[:, :, context:], k, v)
        q, k, v = (part[:, :, :context] for part in (q, k, v))
        out[:, :, :context] = self.windowed(q, k, v)
        if self.reg_is_global:
            mask = None if self.key_mask is None else self.key_mask[..., :context]
            out[:, :, context - 1 : context] = scaled_dot_product_attention(
                q[:, :, -1:], k, v, attn_mask=mask, scale=1.0
            )
        return out


class BandedTime(WindowedTime):
    """Context queries in chunks against the band of keys that they can see, in one batched call.

    A chunk of c queries needs c + 2r keys. Cost per layer falls from S^2 to about S (c + 2r) for
    the context; future queries stay dense.

    Parameters
    ----------
    chunk_size:
        Queries per chunk, c.
    """

    backend = "banded"

    def __init__(self, variant: Sparse, layout, *, dtype, device, chunk_size: int) -> None:
        super().__init__(variant, layout, dtype=dtype, device=device)
        context = layout.num_context
        self.radius = radius = min(self.radius, context - 1)
        self.chunk = chunk = min(chunk_size, context)
        self.num_chunks = num_chunks = math.ceil(context / chunk)
        self.right = num_chunks * chunk - context
        self.width = width = chunk + 2 * radius

        query = torch.arange(chunk, device=device)[:, None] + radius
        key = torch.arange(width, device=device)[None, :]
        band = (query - key).abs() <= radius
        # Position of each chunk's keys in the sequence, to leave out what lies beyond its ends.
        position = torch.arange(num_chunks, device=device)[:, None] * chunk + key - radius
        inside = (position >= 0) & (position < context)
        allowed = (band & inside[:, None, :])[None]
        if layout.valid is not None:
            valid = pad(layout.valid[:, :context], (radius, self.right + radius))
            allowed = allowed & valid.unfold(1, width, chunk)[:, :, None, :]
        # (B or 1, chunks, 1 head, queries, keys)
        self.mask = additive(allowed, dtype)[:, :, None]

    def _bands(self, x: torch.Tensor) -> torch.Tensor:
        """Cut keys or values (B, H, C, D) into overlapping bands (B * chunks, H, c + 2r, D)."""
        x = pad(x, (0, 0, self.radius, self.right + self.radius))
        return x.unfold(2, self.width, self.chunk).permute(0, 2, 1, 4, 3).flatten(0, 1)

    def windowed(self, q, k, v):
        batch, _, context, _ = q.shape
        chunks = pad(q, (0, 0, 0, self.right)).unflatten(2, (self.num_chunks, self.chunk))
        out = scaled_dot_product_attention(
            chunks.transpose(1, 2).flatten(0, 1),
            self._bands(k),
            self._bands(v),
            attn_mask=self.mask.expand(batch, -1, -1, -1, -1).flatten(0, 1),
            scale=1.0,
        )
        out = out.unflatten(0, (batch, self.num_chunks)).transpose(1, 2)
        return out.flatten(2, 3)[:, :, :context]
