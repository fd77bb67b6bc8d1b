"""Which series share a batch, so that short ones do not pay for long ones, and how it is filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


def is_univariate(inputs: Any) -> bool:
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
    """Univariate series end to end, each cut to its last observations.

    Attributes
    ----------
    values:
        float32, shape (total,).
    ends:
        int64, shape (n,): where each series ends in `values`.
    lengths:
        int64, shape (n,): observations kept of each series.
    """

    values: np.ndarray
    ends: np.ndarray
    lengths: np.ndarray

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


class Shares:
    """Hands out the similarities of one call's consecutive batches, and a seed for each.

    Parameters
    ----------
    given:
        Similarities of all rows, shape (rows, rows), or None.
    seed:
        Integers that each batch's seed begins with.
    """

    def __init__(self, given: np.ndarray | None, seed: Sequence[int]) -> None:
        self.given, self.seed = given, seed
        self.rows_done = self.batches_done = 0

    def take(self, rows: int) -> tuple[np.ndarray | None, tuple[int, ...]]:
        """Return the next batch's similarities (rows, rows), or None, and its seed."""
        part = slice(self.rows_done, self.rows_done + rows)
        seed = (*self.seed, self.batches_done)
        self.rows_done += rows
        self.batches_done += 1
        return None if self.given is None else self.given[part, part], seed


def split(batch: np.ndarray, most: int) -> list[np.ndarray]:
    """Cut a batch into consecutive parts of at most `most` items."""
    return [batch[start : start + most] for start in range(0, len(batch), most)]


def batches_by_cutoff(cutoffs: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Form the batches in which series see each other: one cutoff each, in input order.

    A series that ends later than another holds its future, so the two never share a batch.

    Parameters
    ----------
    cutoffs:
        Time of each input's last observation, shape (n,), any type that sorts.
    batch_size:
        Most inputs in a batch.

    Returns
    -------
    Index arrays that partition ``range(n)``, ascending within a batch, by ascending cutoff.
    """
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

    Parameters
    ----------
    lengths:
        Observations of each item, shape (n,).
    sizes:
        Series in each item (its targets and covariates), shape (n,).
    batch_size:
        Most series in a batch; an item of more series is a batch of its own.
    patch_size:
        Observations per token.
    extra_tokens:
        Tokens of a sequence beside its patches: REG and the future.
    max_tokens:
        Most tokens in a batch, padding included: bounds memory whatever the lengths. An item of
        more tokens is a batch of its own.
    start_tokens:
        Cost of a batch's start.

    Returns
    -------
    Index arrays that partition ``range(n)``; the order within a batch is the input's.
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

    Parameters
    ----------
    tokens, series, most:
        Of each length, ascending, shape (k,): tokens of a sequence, how many series have it, and
        how many of them a batch may hold.
    start_tokens:
        Cost of a batch, in tokens.

    Returns
    -------
    Ascending indices, the first 0 and the last k: runs are ``cuts[i]`` to ``cuts[i + 1]``.
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
