"""Attention across the series of a batch, without the work that hard groups make needless.

Upstream scores every pair of series and masks those of different groups
(`chronos.chronos2.layers.GroupSelfAttention`). Here each group attends within itself only, and a
series alone in its group needs neither queries nor keys: its layer is x + o(v(norm(x))).
"""

from __future__ import annotations

import torch
from chronos.chronos2.layers import MHA, GroupSelfAttention
from torch.nn.functional import scaled_dot_product_attention

from .dense_layers import add_product, normalise
from .time_attention import additive


def value_output_product(attention: MHA) -> torch.Tensor:
    """Return W_o W_v, (d_model, d_model), made in float32 or better and rounded once.

    On a CPU it is kept with the layer, beside the bits of both weights, which alone tell of every
    change; a GPU would have to wait for them, and makes it each time,
    by one product, whose sums are float32 anyway.
    """
    v, o = attention.v.weight.detach(), attention.o.weight.detach()
    bits = [w.contiguous().view(torch.int16).numpy().tobytes() for w in (v, o) if w.is_cpu]
    made_of, product = getattr(attention, "_value_output_product", ([], v))
    if not bits or bits != made_of or product.dtype != v.dtype:
        precise = v.dtype if v.is_cuda else torch.promote_types(v.dtype, torch.float32)
        product = (o.to(precise) @ v.to(precise)).to(v.dtype)
        if bits:
            attention._value_output_product = bits, product
    return product


class GroupAttention:
    """Group attention of one batch; its blocks and masks are built once and used by every layer.

    `group_ids` are integers (B,), equal ones form a group; `valid` is boolean (B, S), False at
    padding, or None; both in main memory. `dtype` and `device` are those of the scores.

    `all_tokens` makes padded tokens upstream's, too: where no series of a group is observed, all
    keys are masked alike, and a query attends evenly to the whole batch.
    """

    def __init__(
        self,
        group_ids: torch.Tensor,
        valid: torch.Tensor | None,
        dtype: torch.dtype,
        device: torch.device,
        all_tokens: bool = False,
    ) -> None:
        _, member_of, sizes = torch.unique(group_ids, return_inverse=True, return_counts=True)
        size_of_row = sizes[member_of]
        by_group = torch.argsort(member_of, stable=True)
        self.blocks: list[tuple[torch.Tensor, torch.Tensor | None]] = []  # rows, mask
        for size in torch.unique(sizes).tolist():
            rows = by_group[size_of_row[by_group] == size].view(-1, size)
            mask = None
            if valid is not None and size > 1:
                # (groups, size, S) -> (groups * S, 1 head, 1 query, size keys)
                seen = valid[rows].transpose(1, 2).flatten(0, 1)[:, None, None, :]
                mask = additive(seen.to(device, non_blocking=True), dtype)
            self.blocks.append((rows.to(device, non_blocking=True), mask))
        self.unseen = None  # (B, S, 1)
        if valid is not None and all_tokens:
            seen = torch.zeros(len(sizes), valid.shape[1]).index_add_(0, member_of, valid.float())
            self.unseen = (seen == 0)[member_of, :, None].to(device, non_blocking=True)
        self.all_alone = len(self.blocks) == 1 and self.blocks[0][0].shape[1] == 1

    def __call__(
        self, layer: GroupSelfAttention, hidden: torch.Tensor, first_token: int
    ) -> torch.Tensor:
        """Apply upstream's layer to tokens `first_token` and later, (B, T, d_model), in place.

        It is 0, or the first of the future's, none of which is padded.
        """
        attention = layer.self_attention
        normed = normalise(layer.layer_norm, hidden)
        if self.unseen is not None:  # the mean of values is the value of the mean
            normed = torch.where(self.unseen[:, first_token:], normed.mean(0), normed)
        if self.all_alone:
            return add_product(hidden, normed, value_output_product(attention))
        mixed = normed.new_empty(*normed.shape[:2], attention.inner_dim)
        for rows, mask in self.blocks:
            if rows.shape[1] == 1:
                mixed[rows[:, 0]] = attention.v(normed[rows[:, 0]])
            else:
                seen = None if first_token else mask
                mixed[rows] = self._within(attention, normed[rows], seen)
        return add_product(hidden, mixed, attention.o.weight)

    @staticmethod
    def _within(attention: MHA, normed: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Attend within groups of one size: (groups, size, T, d_model) -> (.., .., .., inner)."""
        groups, _, tokens, _ = normed.shape

        def heads(layer: torch.nn.Module) -> torch.Tensor:
            x = layer(normed).unflatten(-1, (attention.n_heads, attention.kv_proj_dim))
            return x.permute(0, 2, 3, 1, 4).flatten(0, 1)

        q, k, v = map(heads, (attention.q, attention.k, attention.v))
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        return out.unflatten(0, (groups, tokens)).permute(0, 3, 1, 2, 4).flatten(-2)
