"""Group attention weighted by the similarity of the series instead of masked by their groups.

For series q and b of one batch, w = 1 within a group and the similarity s(q, b) across groups;
``temperature * log(w + 1e-10)`` is added to the group-attention scores at each token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from chronos.chronos2.layers import GroupSelfAttention
from torch.nn.functional import scaled_dot_product_attention

from .dense_layers import normalise
from .errors import InputError
from .similarity import SimilaritySettings, similarity
from .time_attention import aligned
from .variants import AttentionVariant, Soft

# Keeps the logarithm of a similarity of zero finite.
EPSILON = 1e-10
# Most elements of scores or masks that are written out; more tokens are taken in turns.
ELEMENTS_AT_ONCE = 1 << 25
# Finite in bfloat16 too, and far below any score.
LOWEST = torch.finfo(torch.bfloat16).min / 2


def checked_similarity(
    variant: AttentionVariant, similarities: np.ndarray, rows: int
) -> np.ndarray:
    """Return a float64 copy of similarities (rows, rows) in [0, 1]; others are an `InputError`."""
    if np.shape(similarities) != (rows, rows):
        raise InputError(
            f"similarities of shape {np.shape(similarities)} for {rows} series",
            f"variant '{variant}'",
            "give one similarity for each pair of series in the batch",
        )
    found = np.array(similarities, dtype=np.float64)
    if not ((found >= 0) & (found <= 1)).all():
        raise InputError("a similarity is not in [0, 1]", f"variant '{variant}'", "scale it")
    return found


def group_weights(
    variant: Soft, group_ids: np.ndarray, similarities: np.ndarray, seed: int | Sequence[int] = 0
) -> np.ndarray:
    """Return the weights w(q, b) of a batch before the temperature: float64, (B, B), symmetric.

    `similarities`, (B, B), are symmetric, and outside [0, 1] an `InputError`; `seed` is that of the
    shuffle of the control ``permuted``, for `numpy.random.default_rng`.
    """
    same = group_ids[:, None] == group_ids[None, :]
    weights = checked_similarity(variant, similarities, len(group_ids))
    pairs = np.triu(~same, k=1)
    values = weights[pairs]
    if len(values) and variant.control == "permuted":
        values = np.random.default_rng(seed).permutation(values)
    elif len(values) and variant.control == "uniform":
        values = np.full_like(values, values.mean())
    weights[pairs] = values
    weights.T[pairs] = values
    return np.where(same, 1.0, weights)


def group_bias(weights: np.ndarray, temperature: float) -> torch.Tensor:
    """Return ``temperature * log(weights + 1e-10)``: float32, (B, B), on the CPU, never above 0."""
    # Beyond 1e300 nothing changes, and products stay finite.
    bias = min(temperature, 1e300) * np.log(weights + EPSILON)
    return torch.from_numpy(np.clip(bias, LOWEST, 0.0)).to(torch.float32)


def soft_bias(
    variant: Soft,
    group_ids: torch.Tensor,
    context: torch.Tensor,
    settings: SimilaritySettings,
    given: np.ndarray | None = None,
    seed: int | Sequence[int] = 0,
) -> torch.Tensor:
    """Return the bias of a batch's soft mask, (B, B) on the CPU, see `group_bias`.

    The contexts, (B, T) and left-padded with NaN, are compared unless similarities are given.
    """
    if variant.measure == "uniform":
        given = np.full((len(group_ids),) * 2, settings.no_evidence)
    elif given is None:
        given = similarity(context.detach().cpu().float().numpy(), variant.measure, settings)
    weights = group_weights(variant, group_ids.cpu().numpy(), given, seed)
    return group_bias(weights, variant.temperature)


# Tokens, rows of blocks, their masks, (tokens g, 1, s, s), and which are observed, (tokens g, s).
Turn = tuple[slice, torch.Tensor, torch.Tensor, torch.Tensor | None]
# Soft masks of blocks of one size: their rows in the batch (g, s), and their biases (g, s, s).
Parts = list[tuple[torch.Tensor, torch.Tensor]]


def one_part(bias: torch.Tensor) -> Parts:
    """Return the bias (B, B) of a batch that is one block."""
    return [(torch.arange(len(bias))[None], bias[None])]


def as_parts(biases: Sequence[torch.Tensor]) -> Parts:
    """Stack the biases of consecutive blocks, (s, s) each, those of one size together."""
    sizes = [len(bias) for bias in biases]
    starts = np.cumsum([0, *sizes[:-1]])
    parts = []
    for size in sorted(set(sizes)):
        which = [index for index, other in enumerate(sizes) if other == size]
        rows = torch.from_numpy(starts[which])[:, None] + torch.arange(size)
        parts.append((rows, torch.stack([biases[index] for index in which])))
    return parts


def unrolled(parts: Parts, rows: int) -> torch.Tensor:
    """Return the bias, (rows, rows), of series unrolled along paths: a path sees its like only."""
    series = sum(of.numel() for of, _ in parts)
    bias = torch.full((series, series), LOWEST)
    for of, biases in parts:
        bias[of[:, :, None], of[:, None, :]] = biases
    paths = rows // max(1, series)
    same_path = torch.eye(paths, dtype=torch.bool).repeat(series, series)
    spread = bias.repeat_interleave(paths, 0).repeat_interleave(paths, 1)
    return spread.masked_fill(~same_path, LOWEST)


def soft_mask(
    bias: torch.Tensor, valid: torch.Tensor | None, dtype: torch.dtype, tokens: int = 1
) -> torch.Tensor:
    """Return (T, 1, B, B) to add to scores: the bias (B, B), query by key, where a key is valid.

    `valid` is boolean, (T, B); None makes the mask of `tokens` without padding. Of g blocks of s
    series, biases (g, s, s) and (T, g, s) make (T g, 1, s, s).
    """
    tokens = tokens if valid is None else len(valid)
    mask = aligned((tokens, *bias.shape), dtype=dtype, device=bias.device).copy_(bias)
    if valid is not None:
        mask.masked_fill_(~valid[..., None, :], torch.finfo(dtype).min)
    return mask.view(-1, 1, *mask.shape[-2:])


class SoftGroupAttention:
    """Soft group attention of one batch, called by every layer.

    `parts` are the blocks of the batch, B series together; `valid` is boolean (R, S), False at
    padding, or None. R is B, or n B where each series is unrolled along n paths (series-major):
    then a path sees its like only, as upstream has it.
    """

    def __init__(
        self, parts: Parts, valid: torch.Tensor | None, dtype: torch.dtype, device: torch.device
    ) -> None:
        on_device = partial(torch.Tensor.to, device=device, non_blocking=True)
        self.parts = [(on_device(rows), on_device(bias)) for rows, bias in parts]
        self.valid, self.dtype = None, dtype
        self.series = sum(rows.numel() for rows, _ in parts)
        if valid is not None:  # (n, S, B)
            self.valid = on_device(valid).unflatten(0, (self.series, -1)).permute(1, 2, 0)
        self._kept: dict[int, list[Turn]] = {}  # by the first token

    def _turns(self, first_token: int, tokens: int, costs: list[int]) -> Iterator[Turn]:
        """Yield which tokens of which blocks attend at once, as far as elements of each allow."""
        valid = None if self.valid is None else self.valid[:, first_token:].flatten(0, 1)
        for (rows, bias), elements in zip(self.parts, costs, strict=True):
            at_once = max(1, ELEMENTS_AT_ONCE // elements)
            for start in range(0, tokens, at_once):
                part = slice(start, min(start + at_once, tokens))
                observed = None if valid is None else valid[part][:, rows]
                size = 1 if len(rows) == 1 else part.stop - start
                mask = soft_mask(bias, observed, self.dtype, size)
                yield part, rows, mask, None if observed is None else observed.flatten(0, 1)

    def __call__(
        self, layer: GroupSelfAttention, hidden: torch.Tensor, first_token: int
    ) -> torch.Tensor:
        """Apply upstream's layer to tokens `first_token` and later, (R, T, d_model)."""
        attention = layer.self_attention
        normed = normalise(layer.layer_norm, hidden) if hidden.is_cuda else layer.layer_norm(hidden)
        rows, tokens, _ = normed.shape
        paths = rows // self.series

        def by_token(x: torch.Tensor) -> torch.Tensor:
            """(B * n, T, inner) -> (n * T, H, B, D)."""
            x = x.unflatten(-1, (attention.n_heads, attention.kv_proj_dim))
            return x.unflatten(0, (self.series, paths)).permute(1, 2, 3, 0, 4).flatten(0, 1)

        q, k, v = (by_token(f(normed)) for f in (attention.q, attention.k, attention.v))
        mixed = torch.empty_like(q)
        costs = [self._elements(attention.n_heads, *rows.shape) for rows, _ in self.parts]
        turns = self._kept.get(first_token) or self._turns(first_token, len(q), costs)
        if len(q) * sum(costs) <= ELEMENTS_AT_ONCE:
            turns = self._kept[first_token] = list(turns)
        for part, rows, mask, seen in turns:
            whole = rows.shape == (1, self.series)

            def of_blocks(x: torch.Tensor, rows=rows, part=part, whole=whole) -> torch.Tensor:
                """(.., H, B, D) of some tokens -> (tokens * g, H, s, D)."""
                return x[part] if whole else x[part][:, :, rows].transpose(1, 2).flatten(0, 1)

            out = self._attend(of_blocks(q), of_blocks(k), of_blocks(v), mask, seen)
            if whole:
                mixed[part] = out
            else:
                mixed[part][:, :, rows] = out.unflatten(0, (-1, len(rows))).transpose(1, 2)
        # (n * T, H, B, D) -> (B * n, T, inner)
        mixed = mixed.unflatten(0, (paths, tokens)).permute(3, 0, 1, 2, 4)
        return hidden + attention.o(mixed.flatten(0, 1).flatten(-2))

    def _elements(self, heads: int, blocks: int, size: int) -> int:
        """Return what is written out for a token; without padding, one mask serves all."""
        return 1 if self.valid is None and blocks == 1 else blocks * size**2

    def _attend(self, q, k, v, mask, observed) -> torch.Tensor:
        """Attend across series, (tokens, H, B, D) each; `observed` is (tokens, B) or None."""
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)


class MeasuredGroupAttention(SoftGroupAttention):
    """Soft group attention that measures, layer by layer, how much weight goes to other groups.

    `cross_group_mass` are means over heads and observed query tokens.
    """

    def __init__(self, group_ids: torch.Tensor, bias: torch.Tensor, *common) -> None:
        super().__init__(one_part(bias), *common)
        different = group_ids[:, None] != group_ids[None, :]
        self.different = different.to(self.parts[0][1].device, non_blocking=True)
        self._shares: list[torch.Tensor] = []

    @property
    def cross_group_mass(self) -> list[float]:
        return torch.stack(self._shares).tolist()

    def __call__(self, *layer_and_tokens) -> torch.Tensor:
        self._sum = self._count = torch.zeros((), device=self.different.device).double()
        mixed = super().__call__(*layer_and_tokens)
        self._shares.append(self._sum / self._count)
        return mixed

    def _elements(self, heads: int, blocks: int, size: int) -> int:
        return heads * size**2

    def _attend(self, q, k, v, mask, observed):
        weights = torch.softmax((q @ k.mT + mask).float(), dim=-1)
        crossing = (weights * self.different).sum(-1).mean(1)  # (tokens, B)
        if observed is not None:
            crossing = crossing * observed
        self._sum = self._sum + crossing.sum(dtype=torch.float64)
        self._count = self._count + (crossing.numel() if observed is None else observed.sum())
        return weights.to(v.dtype) @ v
