"""Which backend computes time attention: chosen by name, or by a measured rule."""

from __future__ import annotations

from typing import Any

import torch

from .banded import BandedTime
from .errors import InputError
from .kernels import FlashTime, FlexTime, flash_functions, is_right_aligned
from .time_attention import ReferenceTime, TimeAttention, TokenLayout, WindowedTime
from .variants import AttentionVariant, Sparse

_KINDS = (ReferenceTime, BandedTime, FlexTime, FlashTime)
KINDS: dict[str, type[TimeAttention]] = {kind.backend: kind for kind in _KINDS}
BACKENDS = ("auto", *KINDS)
AUTO_CHUNK_SIZE = 32


def choose_backend(
    backend: str, variant: AttentionVariant, layout: TokenLayout, device: str = "cpu"
) -> str:
    """Name the backend that will run: a key of `KINDS`, or ``"dense"`` for dense variants.

    ``"auto"`` takes ``"banded"`` on a CPU where a chunk's keys, 32 + 2r, are at most two thirds of
    the context (docs/performance.md has the measurements), else ``"reference"``. ``"flash"``
    becomes ``"banded"`` for batches with missing tokens inside a series. A backend that is unknown,
    not installed, or cannot compute the variant is an `InputError`.
    """
    if backend not in BACKENDS:
        raise InputError(
            f"unknown attention backend '{backend}'", mend=f"use one of: {', '.join(BACKENDS)}"
        )
    if not variant.sparse_in_time:
        return "dense"
    if backend == "auto":
        fits = (
            device == "cpu"
            and isinstance(variant, Sparse)
            and 3 * (AUTO_CHUNK_SIZE + 2 * variant.radius) <= 2 * layout.num_context
        )
        return "banded" if fits else "reference"
    if issubclass(KINDS[backend], WindowedTime) and not isinstance(variant, Sparse):
        raise InputError(
            f"backend '{backend}' cannot compute variant '{variant}'",
            mend="use backend 'reference' or 'flex'",
        )
    if backend == "flash":
        flash_functions()
    holed = backend == "flash" and not is_right_aligned(layout.valid)
    return "banded" if holed else backend


def time_attention(
    variant: AttentionVariant,
    layout: TokenLayout,
    *,
    dtype: torch.dtype,
    device: torch.device,
    backend: str = "auto",
    chunk_size: int | None = None,
) -> TimeAttention:
    """Prepare the time attention of one batch, see `TimeAttention`, on the backend chosen.

    `chunk_size` is the queries per chunk of the banded backend, None for the measured default. A
    device or dtype on which flash-attn cannot run is an `InputError`, too.
    """
    chosen = choose_backend(backend, variant, layout, device.type)
    if chosen == "flash" and (device.type != "cuda" or dtype.itemsize != 2):
        raise InputError(
            f"backend 'flash' cannot run on {device} in {str(dtype).removeprefix('torch.')}",
            mend="use a CUDA device and bfloat16, or another backend",
        )
    options: dict[str, Any] = {"dtype": dtype, "device": device}
    if chosen == "banded":
        options["chunk_size"] = AUTO_CHUNK_SIZE if chunk_size is None else chunk_size
    return KINDS.get(chosen, TimeAttention)(variant, layout, **options)
