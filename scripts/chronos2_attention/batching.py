"""Which series share a batch, so that short ones do not pay for long ones."""

from __future__ import annotations

import numpy as np


def batches_by_length(
    lengths: np.ndarray,
    sizes: np.ndarray,
    *,
    batch_size: int,
    patch_size: int,
    max_padding: float = 0.25,
) -> list[np.ndarray]:
    """Form batches of items of similar length.

    Items are sorted by their number of patches; a batch ends when it is full, or when the next
    item is so long that the shortest one would be padded by more than `max_padding` of the
    sequence and a patch. Time encodings and RoPE count from the end of a left-padded sequence, so
    the choice changes the cost and not the forecast, as long as no batch mixes series.

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
        if not batches or used + sizes[index] > batch_size or too_long:
            batches.append([])
            used, shortest = 0, patches[index]
        batches[-1].append(index)
        used += sizes[index]
    return [np.sort(np.asarray(batch)) for batch in batches]
