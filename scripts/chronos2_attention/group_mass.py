"""How much of the group attention of a batch goes to series of other groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .batching import FlatSeries
from .errors import InputError
from .pipeline import Chronos2VariantPipeline
from .soft_groups import MeasuredGroupAttention, soft_bias
from .variants import Joint, Soft


@torch.no_grad()
def cross_group_mass(
    pipeline: Chronos2VariantPipeline,
    series: Sequence[np.ndarray],
    prediction_length: int,
    *,
    context_length: int | None = None,
    similarity: np.ndarray | None = None,
    seed: int | Sequence[int] = 0,
    items: Sequence[int] | np.ndarray | None = None,
    counted: np.ndarray | None = None,
) -> np.ndarray:
    """Measure the share of group-attention weight that crosses groups in one batch.

    Parameters
    ----------
    pipeline:
        Its variant is a soft mask or `joint`, the soft mask of temperature 0.
    series:
        n contexts, each a group of its own unless `items` are given; they share their cutoff.
    prediction_length:
        Steps of the horizon; at most what the model forecasts in one pass counts.
    context_length:
        Most observations of context; None for the model's own limit.
    similarity:
        Shape (n, n); None compares the contexts.
    seed:
        Of the control ``permuted``, as `Chronos2VariantPipeline.predict` uses it.
    items:
        The item of each series, integers (n,): those of one are a group.
    counted:
        Bool, shape (n, n): for which pairs of query and key weight counts; None for those of
        different groups.

    Returns
    -------
    float64, shape (layers,): means over heads, observed tokens and series, in [0, 1].

    Raises
    ------
    InputError
        If the variant is another, or a length is below 1.
    """
    variant = pipeline.variant
    if not isinstance(variant, Soft | Joint):
        raise InputError(
            f"variant '{variant}' does not mix all series", mend="use a soft mask or joint"
        )
    model = pipeline.model
    patches, kept = pipeline.sizes(prediction_length, context_length)
    context = FlatSeries.of(series, kept).left_padded(np.arange(len(series)))
    tokens = model.probed_tokens(context, patches)
    groups = torch.arange(len(series)) if items is None else torch.as_tensor(items)
    soft = variant if isinstance(variant, Soft) else Soft("uniform", 0)
    seed = (*np.atleast_1d(seed), 0, 0)  # of the cutoff and of the batch, as predict counts them
    bias = soft_bias(soft, groups, context, model.settings.similarity, similarity, seed)
    dtype, device = tokens.embeddings.dtype, tokens.embeddings.device
    measured = MeasuredGroupAttention(groups, bias, tokens.layout.valid, dtype, device)
    if counted is not None:
        measured.different = torch.as_tensor(counted, device=device)
    model.run_blocks(tokens, measured, model.time_attention(tokens))
    return np.array(measured.cross_group_mass)
