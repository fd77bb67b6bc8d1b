"""Inputs that see each other: which form a block, and what the rows of blocks are to each other."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.cluster.hierarchy import linkage, to_tree
from scipy.spatial.distance import squareform

from .batching import batches_by_cutoff
from .errors import InputError, explained
from .similarity import SimilaritySettings, similarity
from .soft_groups import Parts, as_parts, checked_similarity, soft_bias
from .variants import AttentionVariant, Cluster, Soft


class Block(NamedTuple):
    """Inputs that may see each other; those of another block never do.

    `similarity` is that of all their series, (rows, rows), covariates included, or None; `seed`
    that of the control ``permuted``.
    """

    inputs: Sequence[Any]
    similarity: np.ndarray | None = None
    seed: tuple[int, ...] = (0,)


def split_by_rows(batch: np.ndarray, sizes: np.ndarray, most: int) -> list[np.ndarray]:
    """Cut consecutive inputs of `sizes` series as upstream does: until there are `most` or more."""
    parts, first, rows = [], 0, 0
    for last, index in enumerate(batch, 1):
        rows += sizes[index]
        if rows >= most or last == len(batch):
            parts.append(batch[first:last])
            first, rows = last, 0
    return parts


def form_blocks(
    prepared: Sequence[Mapping[str, Any]],
    sizes: np.ndarray,
    batch_size: int,
    cutoffs: Sequence | np.ndarray | None,
    groups: Sequence | np.ndarray | None,
    similarities: np.ndarray | None,
    seed: int | Sequence[int],
) -> tuple[list[np.ndarray], list[Block]]:
    """Return the blocks of inputs of `sizes` series, and the inputs of each, as indices.

    A block has one cutoff and, of `groups`, one label; without these `batch_size` series.
    """
    cutoffs = np.zeros(len(prepared), dtype=int) if cutoffs is None else cutoffs
    for name, given in (("cutoffs", cutoffs), ("groups", groups)):
        if given is not None and len(given) != len(prepared):
            told = f"{len(given)} {name} for {len(prepared)} inputs"
            raise InputError(told, mend="give one for each")
    if similarities is not None and np.shape(similarities) != (sizes.sum(),) * 2:
        raise InputError(
            f"similarities of shape {np.shape(similarities)} for {sizes.sum()} series",
            mend="give one for each pair, covariates included",
        )
    rows = np.split(np.arange(sizes.sum()), np.cumsum(sizes)[:-1])
    members, blocks = [], []
    for number, alike in enumerate(batches_by_cutoff(cutoffs, len(prepared))):
        if groups is None:
            parts = split_by_rows(alike, sizes, batch_size)
        else:
            # A tensor's elements are no labels: they differ though they be equal.
            labels = groups.tolist() if hasattr(groups, "tolist") else groups
            labels = np.fromiter(labels, dtype=object, count=len(prepared))[alike]
            with explained("groups cannot be told apart", "groups", "give names or numbers"):
                codes, _ = pd.factorize(labels, use_na_sentinel=False)
            parts = [alike[codes == code] for code in range(codes.max() + 1)]
        for k, part in enumerate(parts):
            order = np.concatenate([rows[index] for index in part])
            given = None if similarities is None else similarities[np.ix_(order, order)]
            own = (*np.atleast_1d(seed).tolist(), number, k)
            members.append(part)
            blocks.append(Block([prepared[index] for index in part], given, own))
    return members, blocks


def clustered(
    variant: Cluster,
    group_ids: torch.Tensor,
    context: torch.Tensor,
    settings: SimilaritySettings,
    given: np.ndarray | None = None,
) -> torch.Tensor:
    """Return group ids (B,) in which similar items, told apart by `group_ids`, are one group."""
    if given is None:
        given = similarity(context.detach().cpu().float().numpy(), variant.measure, settings)
    given = checked_similarity(variant, given, len(group_ids))
    _, item_of = np.unique(group_ids.cpu().numpy(), return_inverse=True)
    items = item_of.max() + 1
    if items == 1:
        return torch.zeros_like(group_ids)
    member = np.eye(items)[item_of] / np.bincount(item_of)[item_of, None]
    between = 1 - member.T @ given @ member
    np.fill_diagonal(between, 0.0)
    tree = to_tree(linkage(squareform(between, checks=False), "average"))
    label, left = np.zeros(items, dtype=int), 0
    waiting: list[Any] = [tree]  # a branch beside leaves has both of its own
    while waiting:
        branch = waiting.pop()
        if branch.count <= variant.most:
            label[branch.pre_order()] = left
            left += 1
        else:
            waiting += [branch.right, branch.left]
    return torch.from_numpy(label[item_of]).to(group_ids)


def groups_of_blocks(
    variant: AttentionVariant,
    blocks: Sequence[tuple[Block, int]],
    joined: bool,
    group_ids: torch.Tensor,
    context: torch.Tensor,
    settings: SimilaritySettings,
) -> tuple[torch.Tensor, Parts | None]:
    """Return the group ids (B,) of a batch of blocks, and the soft masks of a variant that has any.

    `blocks` come with their numbers of rows, B in all; `context`, (B, T), is left-padded with NaN.
    `joined` makes each block one group.
    """
    counts = [rows for _, rows in blocks]
    if joined:
        return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)), None
    parts = [slice(a, b) for a, b in pairwise(np.cumsum([0, *counts]).tolist())]
    told = [
        (group_ids[part], _own_width(context[part]), settings, block.similarity)
        for part, (block, _) in zip(parts, blocks, strict=True)
    ]
    if isinstance(variant, Cluster):
        labels = [clustered(variant, *given) for given in told]
        return torch.cat([a + p.start for a, p in zip(labels, parts, strict=True)]), None
    if isinstance(variant, Soft):
        seeds = [block.seed for block, _ in blocks]
        biases = [soft_bias(variant, *given, own) for given, own in zip(told, seeds, strict=True)]
        return group_ids, as_parts(biases)
    return group_ids, None


def _own_width(context: torch.Tensor) -> torch.Tensor:
    """Return contexts (B, T) without the padding that is another block's, which rounds anew."""
    observed = torch.isfinite(context).any(dim=0)
    return context[:, int(observed.int().argmax()) :]


def told_of_frame(
    df: pd.DataFrame, id_column: str, timestamp_column: str, groups: str | Mapping | None
) -> tuple[pd.DataFrame, dict[str, list[Hashable] | np.ndarray]]:
    """Return a long data frame without its column of groups, and the `cutoffs` and `groups`."""
    stamps = pd.to_datetime(df[timestamp_column])
    times = stamps.groupby(df[id_column], sort=False).max()
    told: dict[str, Any] = {"cutoffs": times.to_numpy()}
    if isinstance(groups, str):
        if groups not in df:
            raise InputError(f"no column '{groups}' of groups", mend="name a column of the data")
        labels = df.groupby(id_column, sort=False)[groups].agg(["first", "nunique"])
        if (labels["nunique"] > 1).any():
            raise InputError(f"column '{groups}' varies within an id", mend="give one label each")
        groups, df = labels["first"].to_dict(), df.drop(columns=groups)
    if groups is not None:
        if lacking := [name for name in times.index if name not in groups]:
            raise InputError(f"no group of id {lacking[0]!r}", mend="give a label of each id")
        told["groups"] = [groups[name] for name in times.index]
    return df, told
