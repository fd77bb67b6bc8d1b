"""Which backend computes time attention: chosen by name, or by a measured rule."""

from __future__ import annotations

import torch

from .banded import BandedTime
from .errors import InputError
from .kernels import FlashTime, FlexTime, flash_is_installed, is_right_aligned
from .time_attention import DenseTime, ReferenceTime, TimeAttention, TokenLayout
from .variants import AttentionVariant, Sparse

BACKENDS = ("auto", "reference", "banded", "flex", "flash")
AUTO_CHUNK_SIZE = 32


def choose_backend(backend: str, variant: AttentionVariant, layout: TokenLayout) -> str:
    """Name the backend that will run.

    Parameters
    ----------
    backend:
        One of `BACKENDS`. ``"auto"`` takes ``"banded"`` where a chunk's keys, 32 + 2r, are at most
        two thirds of the context, and ``"reference"`` for shorter sequences and wider windows,
        where one dense call is as fast (docs/performance.md has the measurements).
    variant, layout:
        What is to be computed.

    Returns
    -------
    ``"dense"`` for variants that are dense in time; else a name of `BACKENDS` other than auto.
    ``"flash"`` becomes ``"banded"`` for batches with missing tokens inside a series.

    Raises
    ------
    InputError
        If the backend is unknown or not installed, or cannot compute this variant.
    """
    if backend not in BACKENDS:
        raise InputError(
            f"unknown attention backend '{backend}'", mend=f"use one of: {', '.join(BACKENDS)}"
        )
    if not variant.sparse_in_time:
        return "dense"
    is_windowed = isinstance(variant, Sparse)
    if backend == "auto":
        if not is_windowed:
            return "reference"
        band = AUTO_CHUNK_SIZE + 2 * variant.radius
        return "banded" if 3 * band <= 2 * layout.num_context else "reference"
    if backend in ("banded", "flash") and not is_windowed:
        raise InputError(
            f"backend '{backend}' cannot compute variant '{variant}'",
            mend="use backend 'reference' or 'flex'",
        )
    if backend == "flash":
        if not flash_is_installed():
            raise InputError("backend 'flash' needs flash-attn", mend="pip install flash-attn")
        return "flash" if is_right_aligned(layout.valid) else "banded"
    return backend


def time_attention(
    variant: AttentionVariant,
    layout: TokenLayout,
    *,
    dtype: torch.dtype,
    device: torch.device,
    backend: str = "auto",
    chunk_size: int | None = None,
) -> TimeAttention:
    """Prepare time attention for one batch.

    Parameters
    ----------
    variant, layout, dtype, device:
        See `TimeAttention`.
    backend:
        See `choose_backend`.
    chunk_size:
        Queries per chunk of the banded backend; None for the measured default.

    Raises
    ------
    InputError
        See `choose_backend`; also if flash-attn cannot run on the device or dtype.
    """
    chosen = choose_backend(backend, variant, layout)
    if chosen == "flash" and (device.type != "cuda" or dtype.itemsize != 2):
        raise InputError(
            f"backend 'flash' cannot run on {device} in {str(dtype).removeprefix('torch.')}",
            mend="use a CUDA device and bfloat16, or another backend",
        )
    options = {"dtype": dtype, "device": device}
    if chosen == "banded":
        chunk_size = AUTO_CHUNK_SIZE if chunk_size is None else chunk_size
        return BandedTime(variant, layout, chunk_size=chunk_size, **options)
    kinds = {"dense": DenseTime, "reference": ReferenceTime, "flex": FlexTime, "flash": FlashTime}
    return kinds[chosen](variant, layout, **options)
