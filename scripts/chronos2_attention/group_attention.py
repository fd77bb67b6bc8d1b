"""Attention across the series of a batch, without the work that hard groups make needless.

Upstream scores every pair of series at every token and masks the pairs of different groups
(`chronos.chronos2.layers.GroupSelfAttention`). Here each group attends within itself only, and a
series alone in its group, whose softmax runs over one key, needs neither queries nor keys: the
layer is then exactly x + o(v(norm(x))), and the product of the two matrices is made beforehand.
"""

from __future__ import annotations

import torch
from chronos.chronos2.layers import MHA, GroupSelfAttention
from torch.nn.functional import scaled_dot_product_attention

from .dense_layers import add_product, normalise
from .time_attention import additive


def value_output_product(attention: MHA) -> torch.Tensor | None:
    """Return W_o W_v, shape (d_model, d_model): the layer of a series that attends to itself.

    Kept with the layer until its weights change; made in float32 or better and rounded once. None
    for weights made in inference mode, which do not tell when they change.
    """
    v, o = attention.v.weight, attention.o.weight
    if v.is_inference() or o.is_inference():
        return None
    key = (v.data_ptr(), v._version, o.data_ptr(), o._version, v.dtype, v.device)
    kept = getattr(attention, "_value_output_product", None)
    if kept is None or kept[0] != key:
        precise = torch.promote_types(v.dtype, torch.float32)
        kept = (key, (o.detach().to(precise) @ v.detach().to(precise)).to(v.dtype))
        attention._value_output_product = kept
    return kept[1]


class GroupAttention:
    """Group attention of one batch; its blocks and masks are built once and used by every layer.

    Parameters
    ----------
    group_ids:
        Integer tensor of shape (B,); equal ids form a group.
    valid:
        Boolean tensor of shape (B, S), False at padding, or None where nothing is padded.
    dtype:
        Of the scores.
    """

    def __init__(
        self, group_ids: torch.Tensor, valid: torch.Tensor | None, dtype: torch.dtype
    ) -> None:
        _, member_of, sizes = torch.unique(group_ids, return_inverse=True, return_counts=True)
        size_of_row = sizes[member_of]
        by_group = torch.argsort(member_of, stable=True)
        self.blocks: list[torch.Tensor] = []
        self.masks: list[torch.Tensor | None] = []
        for size in torch.unique(sizes).tolist():
            rows = by_group[size_of_row[by_group] == size].view(-1, size)
            self.blocks.append(rows)
            mask = None
            if valid is not None and size > 1:
                # (groups, size, S) -> (groups, S, 1 head, 1 query, size keys)
                mask = additive(valid[rows], dtype).transpose(1, 2)[:, :, None, None, :]
            self.masks.append(mask)
        self.all_alone = len(self.blocks) == 1 and self.blocks[0].shape[1] == 1

    def __call__(
        self, layer: GroupSelfAttention, hidden: torch.Tensor, first_token: int
    ) -> torch.Tensor:
        """Apply `layer` to `hidden`.

        Parameters
        ----------
        layer:
            Upstream's layer; its weights are used, its forward is not.
        hidden:
            Shape (B, T, d_model): tokens `first_token` and later of the batch.
        first_token:
            Position of the first token of `hidden` in the sequence.

        Returns
        -------
        Tensor of shape (B, T, d_model).
        """
        attention = layer.self_attention
        normed = normalise(layer.layer_norm, hidden)
        if self.all_alone:
            product = value_output_product(attention)
            if product is None:
                return add_product(hidden, attention.v(normed), attention.o.weight)
            return add_product(hidden, normed, product)
        mixed = normed.new_empty(*normed.shape[:2], attention.inner_dim)
        for rows, mask in zip(self.blocks, self.masks, strict=True):
            if rows.shape[1] == 1:
                mixed[rows[:, 0]] = attention.v(normed[rows[:, 0]])
            else:
                mixed[rows] = self._within(attention, normed[rows], mask, first_token)
        return add_product(hidden, mixed, attention.o.weight)

    @staticmethod
    def _within(attention, normed, mask, first_token) -> torch.Tensor:
        """Attend within groups of one size: (groups, size, T, d_model) -> (.., .., .., inner)."""
        groups, _, tokens, _ = normed.shape

        def heads(x: torch.Tensor) -> torch.Tensor:
            x = x.unflatten(-1, (attention.n_heads, attention.kv_proj_dim))
            return x.permute(0, 2, 3, 1, 4).flatten(0, 1)

        if mask is not None:
            mask = mask[:, first_token:].flatten(0, 1)
        out = scaled_dot_product_attention(
            heads(attention.q(normed)),
            heads(attention.k(normed)),
            heads(attention.v(normed)),
            attn_mask=mask,
            scale=1.0,
        )
        return out.unflatten(0, (groups, tokens)).permute(0, 3, 1, 2, 4).flatten(-2)
