"""How much attention stays near: the mass that time attention puts within a radius.

A forward pass of `full` runs with its softmax spelled out, a chunk of queries at a time, of which
the sums over equal distances are kept: one pass answers for every radius.

Measured is the mean, over context queries (patches and REG) and heads, of the weight on context
keys at most `radius` tokens away; padded tokens do not count. The softmax covers the future tokens
too, so that mass on them is not kept. The reference is uniform attention over the unpadded tokens,
future tokens included. Lift is mass over reference, 1 where attention is uniform.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from chronos.utils import left_pad_and_stack_1D
from torch.nn.functional import pad

from .batching import as_float32, in_halves, memory_explained
from .errors import InputError
from .group_attention import GroupAttention
from .model import Chronos2VariantModel, TokenBatch
from .pipeline import Chronos2VariantPipeline
from .time_attention import TimeAttention
from .variants import Full
from .variants.base import whole_number


@dataclass(frozen=True)
class AttentionMass:
    """Attention mass by distance, summed over queries.

    Attributes
    ----------
    by_distance:
        float64, shape (layers, heads, D): weight on context keys d tokens away, summed over
        queries. D is the number of context tokens of the longest sequence.
    edges_by_distance:
        float64, shape (D,): the same under uniform attention.
    num_queries, num_future:
        Queries summed over, and most future tokens of a sequence.
    """

    by_distance: np.ndarray
    edges_by_distance: np.ndarray
    num_queries: int
    num_future: int

    @property
    def num_context(self) -> int:
        """Context tokens of the longest sequence, REG included."""
        return len(self.edges_by_distance)

    def kept_mass(self, radii: Sequence[int]) -> np.ndarray:
        """Return the mean weight within each radius: float64, shape (radii, layers, heads)."""
        return np.moveaxis(self._within(self.by_distance, radii), -1, 0)

    def kept_edges(self, radii: Sequence[int]) -> np.ndarray:
        """Return the mean weight within each radius under uniform attention: shape (radii,)."""
        return self._within(self.edges_by_distance, radii)

    def lift(self, radii: Sequence[int]) -> np.ndarray:
        """Return kept mass over kept edges by layer: float64, shape (radii, layers)."""
        return self.kept_mass(radii).mean(axis=-1) / self.kept_edges(radii)[:, None]

    def _within(self, by_distance: np.ndarray, radii: Sequence[int]) -> np.ndarray:
        least = min(radii, default=0)
        if least < 0:
            raise InputError(f"radius {least} is negative", mend="use a radius of 0 or more")
        kept = np.minimum(np.asarray(radii, dtype=np.int64), self.num_context - 1)
        reached = np.cumsum(by_distance, axis=-1)[..., kept]
        return reached / self.num_queries if self.num_queries else np.full_like(reached, np.nan)

    def __add__(self, other: AttentionMass) -> AttentionMass:
        """Pool the queries of two measurements of one model."""
        size = max(self.num_context, other.num_context)

        def sized(values: np.ndarray) -> np.ndarray:
            missing = size - values.shape[-1]
            return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])

        return AttentionMass(
            sized(self.by_distance) + sized(other.by_distance),
            sized(self.edges_by_distance) + sized(other.edges_by_distance),
            self.num_queries + other.num_queries,
            max(self.num_future, other.num_future),
        )


def diagonal_sums(matrix: torch.Tensor) -> torch.Tensor:
    """Sum along diagonals, (..., rows, columns) -> (..., rows + columns - 1), same dtype.

    Entry o is the sum over column - row = o - (rows - 1), in an order that no device changes.
    """
    rows, columns = matrix.shape[-2:]
    width = rows + columns - 1
    laid = pad(matrix.flip(-2), (0, rows)).flatten(-2)[..., : rows * width]
    return laid.unflatten(-1, (rows, width)).sum(-2)


def _by_distance(by_offset: np.ndarray) -> np.ndarray:
    """Fold sums by offset -(D - 1) .. D - 1 into sums by distance 0 .. D - 1, on the last axis."""
    middle = by_offset.shape[-1] // 2
    folded = by_offset[..., middle:].copy()
    folded[..., 1:] += by_offset[..., :middle][..., ::-1]
    return folded


class ProbedTime(TimeAttention):
    """Dense time attention that adds up its weights by distance, `chunk_size` queries at a time.

    `exclude_reg_query` leaves the REG token out as a query, not as a key.
    """

    backend: ClassVar[str] = "probed"

    def __init__(self, tokens: TokenBatch, exclude_reg_query: bool, chunk_size: int) -> None:
        layout, embeddings = tokens.layout, tokens.embeddings
        super().__init__(Full(), layout, dtype=embeddings.dtype, device=embeddings.device)
        self.chunk_size = chunk_size
        context, valid = layout.num_context, layout.valid
        if valid is None:
            valid = torch.ones(len(embeddings), layout.num_tokens, dtype=torch.bool)
        selected = valid[:, :context].clone()
        if exclude_reg_query:
            selected[:, -1] = False
        self.num_queries = int(selected.sum())
        uniform = selected.double() / valid.sum(1, keepdim=True)
        self.edges = diagonal_sums(uniform.T @ valid[:, :context].double()).numpy()
        self.selected = None
        if not selected.all():
            self.selected = selected.float().to(embeddings.device, non_blocking=True)
        self.sums: list[torch.Tensor] = []

    def __call__(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        context = self.layout.num_context
        out = torch.empty_like(q)
        out[:, :, context:] = self.future(q[:, :, context:], k, v)
        sums = torch.zeros(q.shape[1], 2 * context - 1, dtype=torch.float64, device=q.device)
        # Once here, or every product below would copy them.
        keys, v = k.contiguous().transpose(-1, -2), v.contiguous()
        for start in range(0, context, self.chunk_size):
            stop = min(start + self.chunk_size, context)
            weights = q[:, :, start:stop] @ keys
            if self.key_mask is not None:
                weights += self.key_mask
            weights = torch.softmax(weights, -1, dtype=torch.float32)
            out[:, :, start:stop] = weights.to(v.dtype) @ v
            weights = weights[..., :context]
            if self.selected is None:
                pooled = weights.sum(0)
            else:
                pooled = torch.einsum("bhqk,bq->hqk", weights, self.selected[:, start:stop])
            # Rows start..stop of the whole matrix reach offsets -(stop - 1) .. context - 1 - start.
            sums[:, context - stop : 2 * context - 1 - start] += diagonal_sums(pooled)
        self.sums.append(sums)
        return out

    def mass(self) -> AttentionMass:
        """Return what the layers called so far have added up."""
        return AttentionMass(
            _by_distance(torch.stack(self.sums).cpu().numpy()),
            _by_distance(self.edges),
            self.num_queries,
            self.layout.num_future,
        )


@torch.no_grad()
def probe_batch(
    model: Chronos2VariantModel,
    context: torch.Tensor,
    *,
    num_output_patches: int = 1,
    group_ids: torch.Tensor | None = None,
    exclude_reg_query: bool = False,
    chunk_size: int = 128,
) -> AttentionMass:
    """Measure the attention mass of one batch under `full`, whatever the model's variant.

    Parameters
    ----------
    model:
        The model.
    context:
        Shape (B, T), float; NaN where missing or left-padded.
    num_output_patches:
        Future tokens.
    group_ids:
        Shape (B,), integer; by default each series is its own group.
    exclude_reg_query, chunk_size:
        See `ProbedTime`.
    """
    tokens = model.probed_tokens(context, num_output_patches)
    if group_ids is None:
        group_ids = torch.arange(len(context))
    time = ProbedTime(tokens, exclude_reg_query, chunk_size)
    group = GroupAttention(group_ids.cpu(), tokens.layout.valid, model.dtype, model.device)
    model.run_blocks(tokens, group, time)
    return time.mass()


@memory_explained()
def attention_mass(
    pipeline: Chronos2VariantPipeline,
    series: Sequence[np.ndarray],
    prediction_length: int,
    *,
    batch_size: int = 32,
    context_length: int | None = None,
    exclude_reg_query: bool = False,
) -> AttentionMass:
    """Measure the attention mass of a model on series of any lengths.

    Parameters
    ----------
    pipeline:
        Gives the model; whatever its variant, the mass is that of `full`.
    series:
        Arrays of shape (T,), or (n, T) for n series that form a group; NaN where missing.
    prediction_length:
        Steps to forecast; as many future tokens take part, up to the model's limit.
    batch_size:
        Most series in a batch; on a GPU a number of tokens bounds it instead, as in `predict`.
    context_length:
        Most observations of context; None for the model's own limit.
    exclude_reg_query:
        Whether the REG token is left out as a query; it stays a key.

    Raises
    ------
    InputError
        If there is no series, or a number is below 1.
    """
    if len(series) == 0:
        raise InputError("no series to measure", mend="give at least one")
    patches, limit = pipeline.sizes(prediction_length, context_length)
    groups = [np.atleast_2d(as_float32(one))[:, -limit:] for one in series]
    sizes, lengths = np.array([group.shape for group in groups]).T
    most = whole_number(batch_size, "batch_size", 1)
    batches = pipeline.batches(lengths, sizes, most, patches * pipeline.model_output_patch_size)
    asked: dict[str, Any] = {"num_output_patches": patches, "exclude_reg_query": exclude_reg_query}

    def measured(batch: np.ndarray) -> AttentionMass:
        members = [groups[index] for index in batch]
        group_ids = torch.from_numpy(np.repeat(np.arange(len(members)), sizes[batch]))
        rows = left_pad_and_stack_1D([torch.from_numpy(row) for group in members for row in group])
        return probe_batch(pipeline.model, rows, group_ids=group_ids, **asked)

    return functools.reduce(operator.add, (mass for _, mass in in_halves(measured, batches)))
