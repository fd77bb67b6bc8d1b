"""Sparse time attention on fused kernels: FlexAttention (torch) and flash-attn (optional extra)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from threading import Lock

import torch
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import pad

from .errors import InputError
from .time_attention import TimeAttention, WindowedTime
from .variants import Sparse

# Compiled for ranges of sizes. Equal sizes share a symbol, because torch 2.13 writes wrong C++
# where there are many; what would run uncompiled, and slowly, is an error.
COMPILING = {
    "automatic_dynamic_shapes": False,
    "recompile_limit": 64,
    "fail_on_recompile_limit_hit": True,
}
# The compiler's settings and its tracing belong to the process, not to a thread.
_COMPILER = Lock()


# Kernels that take a new shape as it comes. cuDNN's, torch's first choice on some GPUs, builds a
# plan for each, which takes longer than most batches. The choice belongs to the process, too: the
# first thread within makes it, and the last one out takes it back.
PLANLESS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
_CHOICE, _restore = Lock(), ExitStack()
_inside: list[str] = []


@contextmanager
def planless_attention(device: str) -> Iterator[None]:
    """Attend without cuDNN, on a device of type ``cuda``."""
    if device != "cuda":
        yield
        return
    with _CHOICE:
        if not _inside:
            _restore.enter_context(sdpa_kernel(PLANLESS))
        _inside.append(device)
    try:
        yield
    finally:
        with _CHOICE:
            _inside.pop()
            if not _inside:
                _restore.close()


@cache
def _compiled_flex():
    """Compile FlexAttention once a process; it recompiles itself where it must."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


class FlexTime(TimeAttention):
    """torch's FlexAttention, compiled, with a block mask made once per batch.

    Blocks of the score matrix in which nothing is allowed are skipped. Works for any variant that
    says which pairs it sees. The first call compiles, which takes seconds to a minute and needs a
    C++ compiler on CPUs.
    """

    backend = "flex"

    def __init__(self, variant, layout, *, dtype, device) -> None:
        from torch.nn.attention.flex_attention import create_block_mask

        super().__init__(variant, layout, dtype=dtype, device=device)
        num_context, size = layout.num_context, layout.num_tokens
        valid = None if layout.valid is None else layout.valid.to(device, non_blocking=True)

        def sees(b, h, query, key):
            seen = variant.sees(query, key, num_context)
            return seen if valid is None else seen & valid[b, key]

        batch = None if valid is None else valid.shape[0]
        self.block_mask = create_block_mask(sees, batch, None, size, size, device=str(device))

    def __call__(self, q, k, v):
        parts = (part.contiguous() for part in (q, k, v))
        try:
            with _COMPILER, torch._dynamo.config.patch(COMPILING):
                return _compiled_flex()(*parts, block_mask=self.block_mask, scale=1.0)
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            raise InputError(
                f"torch {torch.__version__} cannot compile FlexAttention for {tuple(q.shape)}"
                f" on {q.device}: {str(error).strip().splitlines()[0]}",
                mend="use backend 'banded' or 'reference'",
            ) from error


def flash_functions() -> tuple[Callable, Callable]:
    """Return flash-attn's functions for equal and for different lengths, of version 2 or 3.

    `InputError` where none works: some packages hold `flash_attn.cute` only, or do not import.
    """
    reasons = []
    for name in ("flash_attn", "flash_attn_interface"):
        try:
            module = import_module(name)
            return module.flash_attn_func, module.flash_attn_varlen_func
        except (ImportError, AttributeError, OSError) as error:
            reasons.append(f"{error}")
    reason = "; ".join(reasons)
    raise InputError(f"backend 'flash' needs flash-attn: {reason}", mend="pip install flash-attn")


def is_right_aligned(valid: torch.Tensor | None) -> bool:
    """Whether each row of a mask (B, S) is False at left padding only."""
    return valid is None or bool((valid[:, 1:] >= valid[:, :-1]).all())


class FlashTime(WindowedTime):
    """flash-attn's sliding window for context queries, on unpadded tokens only.

    Padding is cut off before the kernel runs, so that no query sees a padded key. That keeps
    distances only where a series' valid tokens are consecutive (`is_right_aligned`). Needs a CUDA
    device and float16 or bfloat16.
    """

    backend = "flash"

    def __init__(self, variant: Sparse, layout, **options) -> None:
        super().__init__(variant, layout, **options)
        self.valid = None
        if layout.valid is not None:
            valid, device = layout.valid[:, : layout.num_context], options["device"]
            lengths = valid.sum(1, dtype=torch.int32)
            offsets = pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
            self.offsets, *self.valid = (
                index.to(device, non_blocking=True)
                for index in (offsets, *valid.nonzero(as_tuple=True))
            )
            self.longest = int(lengths.max())

    def windowed(self, q, k, v):
        flash_attn_func, flash_attn_varlen_func = flash_functions()
        # flash-attn wants (B, C, H, D), or (tokens, H, D) where lengths differ.
        parts = [part.transpose(1, 2)[:, : self.layout.num_context] for part in (q, k, v)]
        future = (0, 0, 0, 0, 0, self.layout.num_future)
        options = {"softmax_scale": 1.0, "window_size": (self.radius, self.radius)}
        if self.valid is None:
            return pad(flash_attn_func(*parts, **options), future).transpose(1, 2)
        out = torch.zeros_like(parts[0])
        out[*self.valid] = flash_attn_varlen_func(
            *(part[*self.valid] for part in parts),
            cu_seqlens_q=self.offsets,
            cu_seqlens_k=self.offsets,
            max_seqlen_q=self.longest,
            max_seqlen_k=self.longest,
            **options,
        )
        return pad(out, future).transpose(1, 2)
