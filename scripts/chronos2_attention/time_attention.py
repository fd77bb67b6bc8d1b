"""Attention over time tokens, dense or sparse, for one batch.

`ReferenceTime` writes down what a sparse variant means; the backends of `banded` and `kernels` are
tested against it. Chronos-2 does not scale its scores by 1/sqrt(d), hence ``scale=1.0`` throughout
(upstream: `chronos.chronos2.layers.MHA`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch.nn.functional import scaled_dot_product_attention

from .variants import AttentionVariant, Sparse

# Masks that a process keeps: those of a few sizes of batches, of 1.3 MB each at most in float32.
MASKS_KEPT = 16


@dataclass(frozen=True)
class TokenLayout:
    """Where the tokens of a batch lie: `num_context` (patches and REG), then future, S in all.

    `valid` is boolean (B, S), False at left padding, or None; in main memory, so that nothing waits
    for a GPU to learn what is padded.
    """

    num_context: int
    num_tokens: int
    valid: torch.Tensor | None

    @property
    def num_future(self) -> int:
        return self.num_tokens - self.num_context


def aligned(shape: Sequence[int], **options) -> torch.Tensor:
    """Return zeros whose rows begin at multiples of 8, or a GPU would copy them in every layer."""
    return torch.zeros(*shape[:-1], -(-shape[-1] // 8) * 8, **options)[..., : shape[-1]]


def additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Turn a boolean mask into one to add to scores: 0 where allowed, else the lowest finite value.

    Finite, as upstream's, or padded queries, without any allowed key, would spread NaN.
    """
    mask = aligned(allowed.shape, dtype=dtype, device=allowed.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)


def allowed_pairs(
    variant: AttentionVariant, layout: TokenLayout, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Return which pairs of tokens attend, padding aside: boolean, shape (S, S), query by key."""
    position = torch.arange(layout.num_tokens, device=device)
    return variant.sees(position[:, None], position[None, :], layout.num_context)


@lru_cache(MASKS_KEPT)
def mask_of(variant, num_context, num_tokens, dtype, device) -> torch.Tensor:
    """Return the mask to add to scores, padding aside, (1, 1, S, S), for batches of its size."""
    layout = TokenLayout(num_context, num_tokens, None)
    return additive(allowed_pairs(variant, layout, device), dtype)[None, None]


class TimeAttention:
    """Dense time attention of one batch, and the base of the others.

    Masks are built here, once, and used by every layer. Call it with queries, keys and values of
    shape (B, H, S, D); it returns (B, H, S, D). Outputs at padded queries are finite and otherwise
    unspecified.

    Parameters
    ----------
    variant:
        Which tokens see which.
    layout:
        Sizes and padding of the batch.
    dtype, device:
        Of the scores.
    """

    backend: ClassVar[str] = "dense"

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
            valid = layout.valid.to(device, non_blocking=True)
            self.key_mask = additive(valid[:, None, None, :], dtype)

    def __call__(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return self.future(q, k, v)

    def future(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attend from queries that see every unpadded token: (B, H, Q, D) for any Q."""
        return scaled_dot_product_attention(q, k, v, attn_mask=self.key_mask, scale=1.0)


class ReferenceTime(TimeAttention):
    """The definition of a sparse variant: dense scores plus a mask of shape (B or 1, 1, S, S).

    One mask of all series and one of padded keys are kept, and joined for each call.
    """

    backend = "reference"

    def __init__(self, variant, layout, *, dtype, device) -> None:
        super().__init__(variant, layout, dtype=dtype, device=device)
        self.mask = mask_of(variant, layout.num_context, layout.num_tokens, dtype, device)

    def __call__(self, q, k, v):
        mask = self.mask
        if self.key_mask is not None:
            joined = aligned((len(q), *mask.shape[1:]), dtype=mask.dtype, device=mask.device)
            mask = torch.minimum(mask, self.key_mask, out=joined)
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)


class WindowedTime(TimeAttention, ABC):
    """Base of backends that know the variant's window: dense future, windowed context."""

    def __init__(self, variant: Sparse, layout, **options) -> None:
        super().__init__(variant, layout, **options)
        self.radius = min(variant.radius, layout.num_context)
        self.reg_is_global = variant.reg_is_global

    @abstractmethod
    def windowed(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attend among context tokens at most `radius` apart; all have shape (B, H, S, D).

        What it returns for future queries is not used.
        """

    def __call__(self, q, k, v):
        context = self.layout.num_context
        out = self.windowed(q, k, v)
        out[:, :, context:] = self.future(q[:, :, context:], k, v)
        if self.reg_is_global:
            mask = None if self.key_mask is None else self.key_mask[..., :context]
            reg, keys, values = q[:, :, context - 1 : context], k[:, :, :context], v[:, :, :context]
            out[:, :, context - 1 : context] = scaled_dot_product_attention(
                reg, keys, values, attn_mask=mask, scale=1.0
            )
        return out
