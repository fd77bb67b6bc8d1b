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
        isinstance(item, torch.Tensor | np.ndarray) and item.ndim == 1 and len(item)
        for item in inputs
    )


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
        arrays = [np.asarray(item) for item in series]
        lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
        values = np.concatenate(arrays).astype(np.float32, copy=False)
        return cls(values, np.cumsum(lengths), np.minimum(lengths, kept))

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
    max_tokens: int = 8192,
    max_padding: float = 0.25,
) -> list[np.ndarray]:
    """Form batches of items of similar length.

    Items are sorted by their number of patches; a batch ends when it is full, in series or in
    tokens, or when the next item is so long that the shortest one would be padded by more than
    `max_padding` of the sequence and a patch. Time encodings and RoPE count from the end of a
    left-padded sequence, so the choice changes the cost and not the forecast, as long as no batch
    mixes series.

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
    max_tokens:
        Most context patches in a batch, padding included: bounds memory whatever the lengths.
    max_padding:
        Largest share of a sequence that may be padding.

    Returns
    -------
    Index arrays that partition ``range(n)``; the order within a batch is the input's.
    """
    patches = -(-np.asarray(lengths) // patch_size)
    order = np.argsort(patches, kind="stable")
    batches: list[list[int]] = []
    used = 0
    shortest = 0
    for index in order:
        padding = patches[index] - shortest
        too_long = padding > 1 and padding > max_padding * patches[index]
        size = used + sizes[index]
        too_large = size > batch_size or size * patches[index] > max_tokens
        if not batches or too_large or too_long:
            batches.append([])
            used, shortest = 0, patches[index]
        batches[-1].append(index)
        used += sizes[index]
    return [np.sort(np.asarray(batch)) for batch in batches]
