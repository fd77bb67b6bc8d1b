"""Which series share a batch, so that short ones do not pay for long ones, and how it is filled."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from pandas import isna

from .errors import InputError

log = logging.getLogger("chronos2_attention")

# What errors say that are not `torch.OutOfMemoryError`: CUDA's, cuBLAS's and cuDNN's, the CPU's.
NO_MEMORY = re.compile("out of memory|_ALLOC_FAILED|can't allocate memory|not enough memory")


class LacksMemory(InputError, torch.OutOfMemoryError):
    """What has to share a pass does not fit into memory: torch's error, and ours."""


def lacks_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory ran out, of a GPU or the host."""
    return isinstance(error, torch.OutOfMemoryError) or bool(NO_MEMORY.search(str(error)))


@contextmanager
def memory_explained() -> Iterator[None]:
    """Say in one line what to do where memory runs out and no batch is left to halve."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, InputError) or not lacks_memory(error):
            raise
        mend = "lower batch_size, of inputs that see each other, or context_length"
        raise LacksMemory("out of memory in a pass that cannot be divided", mend=mend) from error


def is_univariate(inputs: Any) -> TypeGuard[Sequence[torch.Tensor | np.ndarray]]:
    """Whether the inputs of `predict` are a sequence of one-dimensional tensors or arrays."""
    return isinstance(inputs, Sequence) and all(
        isinstance(item, torch.Tensor | np.ndarray)
        and item.ndim == 1
        and len(item)
        and (isinstance(item, torch.Tensor) or item.dtype.kind in "fiub")
        for item in inputs
    )


def as_float32(series: torch.Tensor | np.ndarray) -> np.ndarray:
    """Return numbers of any precision, on any device, as float32 in main memory."""
    if isinstance(series, torch.Tensor):
        series = series.detach().to("cpu", torch.float32).numpy()
    return np.asarray(series, dtype=np.float32)


@dataclass(frozen=True)
class FlatSeries:
    """Univariate series end to end, of which the last observations are kept."""

    values: np.ndarray  # float32, (total,)
    ends: np.ndarray  # (n,): where each series ends in `values`
    lengths: np.ndarray  # (n,): observations kept of each

    @classmethod
    def of(cls, series: Sequence[torch.Tensor | np.ndarray], kept: int) -> FlatSeries:
        """Lay out one-dimensional series, keeping at most `kept` observations of each."""
        arrays = [as_float32(item) for item in series]
        lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
        return cls(np.concatenate(arrays), np.cumsum(lengths), np.minimum(lengths, kept))

    def left_padded(self, rows: np.ndarray) -> torch.Tensor:
        """Return some series as a matrix (len(rows), longest), NaN before shorter ones begin."""
        lengths = self.lengths[rows]
        width = int(lengths.max())
        from_end = np.arange(-width, 0)
        observed = -from_end[None, :] <= lengths[:, None]
        matrix = np.full((len(rows), width), np.nan, dtype=np.float32)
        matrix[observed] = self.values[(self.ends[rows][:, None] + from_end)[observed]]
        return torch.from_numpy(matrix)


def split(batch: np.ndarray, most: int) -> list[np.ndarray]:
    """Cut a batch into consecutive parts of at most `most` items."""
    return [batch[start : start + most] for start in range(0, len(batch), most)]


def batches_by_cutoff(cutoffs: Sequence | np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Form the batches in which series see each other: one cutoff each, in input order.

    A series that ends later than another holds its future, so the two never share a batch.
    `cutoffs`, (n,), are times of last observations, of any type that sorts, none missing, or an
    `InputError`. The batches partition ``range(n)``, ascending within a batch, by ascending cutoff.
    """
    if isna(np.asarray(cutoffs)).any():
        raise InputError("a cutoff is missing", "cutoffs", "give the time of each input's end")
    _, group = np.unique(np.asarray(cutoffs), return_inverse=True)
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group))
    return [part for batch in np.split(order, ends[:-1]) for part in split(batch, batch_size)]


def batches_by_length(
    lengths: np.ndarray,
    sizes: np.ndarray,
    *,
    batch_size: int,
    patch_size: int,
    extra_tokens: int = 2,
    max_tokens: int = 8192,
    start_tokens: int = 32,
) -> list[np.ndarray]:
    """Form the batches of items that cost least, by their numbers of patches.

    A batch costs its tokens, padding included, and a start: a pass over the weights, which would
    have computed `start_tokens` more. So items of different lengths share a batch where they are
    few, and else pad nothing. Time encodings and RoPE count from the end of a left-padded
    sequence, so the choice changes the cost and not the forecast, as long as no batch mixes series.

    Items have `lengths` observations and `sizes` series (targets and covariates), (n,) each. A
    batch holds at most `batch_size` series and `max_tokens` tokens, padding included, or one item
    of more; a sequence has `extra_tokens` (REG, the future) beside its patches. The batches
    partition ``range(n)``, in the input's order within each.
    """
    sizes = np.asarray(sizes)
    patches = -(-np.asarray(lengths) // patch_size)
    order = np.argsort(patches, kind="stable")
    widths, starts = np.unique(patches[order], return_index=True)
    tokens = widths + extra_tokens
    most = np.clip(max_tokens // tokens, 1, min(batch_size, max(1, int(sizes.sum()))))
    cuts = _cheapest_cuts(tokens, np.add.reduceat(sizes[order], starts), most, start_tokens)
    batches = []
    groups = np.split(order, starts[cuts[1:-1]])
    for group, limit in zip(groups, most[cuts[1:] - 1], strict=True):
        total = np.cumsum(sizes[group])
        # As even as they can be: 300 series in two batches of 150, not of 256 and 44.
        limit = -(-total[-1] // max(1, -(-total[-1] // limit)))
        first = 0
        while first < len(group):
            before = total[first] - sizes[group[first]]
            last = max(first + 1, np.searchsorted(total, before + limit, side="right"))
            batches.append(np.sort(group[first:last]))
            first = last
    return batches


def _cheapest_cuts(
    tokens: np.ndarray, series: np.ndarray, most: np.ndarray, start_tokens: int
) -> np.ndarray:
    """Cut sorted lengths into runs that are padded to their longest, at the least cost.

    Of each length, ascending, (k,): tokens of a sequence, how many series have it, and how many of
    them a batch may hold. Runs are ``cuts[i]`` to ``cuts[i + 1]``, from 0 to k.
    """
    before = np.concatenate([[0], np.cumsum(series)])
    least = np.zeros(len(tokens) + 1)
    came_from = np.zeros(len(tokens) + 1, dtype=int)
    for end in range(1, len(tokens) + 1):
        run = before[end] - before[:end]
        starts = -(-run // most[end - 1])
        cost = least[:end] + run * tokens[end - 1] + start_tokens * starts
        came_from[end] = np.argmin(cost)
        least[end] = cost[came_from[end]]
    cuts = [len(tokens)]
    while cuts[-1]:
        cuts.append(came_from[cuts[-1]])
    return np.array(cuts[::-1])


def in_halves(
    call: Callable[..., Any],
    batches: Sequence[np.ndarray],
    assemble: Callable[[np.ndarray], Any] | None = None,
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yield batches and what `call` makes of them, halving those that do not fit into memory.

    With `assemble`, `call` is given what that makes of a batch, in another thread and a batch
    ahead: a GPU, for which `call` waits, need not wait for it.
    """
    waiting, ahead = list(batches), None
    with ThreadPoolExecutor(1) as host:
        while waiting:
            batch, given, failed = waiting.pop(0), None, False
            if assemble is not None:
                given = assemble(batch) if ahead is None else ahead.result()
                ahead = host.submit(assemble, waiting[0]) if waiting else None
            try:
                found = call(batch if assemble is None else given)
            except RuntimeError as error:
                if len(batch) == 1 or not lacks_memory(error):
                    raise
                failed = True
            if not failed:
                yield batch, found
                continue
            # Only here is the error gone, and with it the tensors of the batch.
            half, ahead = -(-len(batch) // 2), None
            said = "out of memory with %d inputs in a batch; going on with at most %d"
            log.warning(said, len(batch), half)
            waiting = [part for full in (batch, *waiting) for part in split(full, half)]
            torch.cuda.empty_cache()


def in_batches(
    forecast: Callable[..., Sequence[Any]],
    batches: list[np.ndarray],
    assemble: Callable[[np.ndarray], Any] | None = None,
) -> list[Any]:
    """Forecast in batches, see `in_halves`; results in input order."""
    forecasts: list[Any] = [None] * sum(map(len, batches))
    for batch, found in in_halves(forecast, batches, assemble):
        for index, result in zip(batch, found, strict=True):
            forecasts[index] = result
    return forecasts
