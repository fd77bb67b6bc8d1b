"""Upstream's model with a cost linear in the number of groups, all of one size."""

from __future__ import annotations

import torch
from chronos.chronos2 import Chronos2Model
from chronos.chronos2.layers import MHA, Chronos2RotaryEmbedding
from torch import nn


class GroupedChronos2Model(Chronos2Model):
    """`chronos.chronos2.Chronos2Model` (same parameters, same names) for groups of equal size."""

    def predict_grouped(
        self,
        context: torch.Tensor,
        group_size: int,
        output_patches: int,
        future_covariates: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Forecast quantiles in the model's normalised space, after standardisation and arcsinh.

        `context` is float32 (series, length), a multiple of the patch size, NaN where missing;
        groups are runs of consecutive rows; `future_covariates` (series, output_patches * patch
        size), NaN where not known. Returns (series, quantiles, output_patches * patch size), and
        mean and standard deviation of each context, (series, 1) each.
        """
        series = context.shape[0]
        patched, observed, loc_scale = self._prepare_patched_context(context)
        embedded = self.input_patch_embedding(patched)
        if self.chronos_config.use_reg_token:
            reg = self.shared.weight[self.config.reg_token_id].expand(series, 1, -1)
            embedded = torch.cat([embedded, reg.to(embedded.dtype)], dim=1)
            observed = torch.cat([observed, observed.new_ones(series, 1)], dim=1)
        future, _ = self._prepare_patched_future(
            future_covariates, None, loc_scale, output_patches, series
        )
        states = torch.cat([embedded, self.input_patch_embedding(future)], dim=1)
        observed = torch.cat([observed, observed.new_ones(series, output_patches)], dim=1)

        positions = torch.arange(states.shape[1], device=states.device)[None]
        time_mask = group_mask = None
        if not bool(observed.all()):
            hidden = torch.zeros(observed.shape, device=states.device)
            hidden = hidden.masked_fill(~observed, torch.finfo(torch.float32).min)
            time_mask = hidden[:, None, None, :]
            # keys of a group at one token: (groups, tokens, 1, 1, group_size)
            group_mask = hidden.view(-1, group_size, hidden.shape[1]).mT[:, :, None, None]
        for block in self.encoder.block:
            kept = output_patches if block is self.encoder.block[-1] else states.shape[1]
            states = self._time_attention(block.layer[0], states, positions, time_mask, kept)
            mask = None if group_mask is None else group_mask[:, -kept:].flatten(0, 1)
            states = self._group_attention(block.layer[1], states, group_size, mask)
            states = block.layer[2](states)
        states = self.encoder.final_layer_norm(states)
        out = self.output_patch_embedding(states)
        out = out.view(series, output_patches, self.num_quantiles, -1)
        return out.transpose(1, 2).reshape(series, self.num_quantiles, -1), loc_scale

    @staticmethod
    def _heads(layer: MHA, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:-1], layer.n_heads, layer.kv_proj_dim).transpose(1, 2)

    def _time_attention(
        self,
        layer: nn.Module,
        states: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor | None,
        kept: int,
    ) -> torch.Tensor:
        """Time attention with queries from the last `kept` tokens only."""
        attention = layer.self_attention
        normed = layer.layer_norm(states)
        query = self._heads(attention, attention.q(normed[:, -kept:]))
        key = self._heads(attention, attention.k(normed))
        value = self._heads(attention, attention.v(normed))
        cos, sin = attention.rope_embed(value, positions)
        rotate = Chronos2RotaryEmbedding.rotate_half
        cos, sin = cos[:, None], sin[:, None]
        query = query * cos[:, :, -kept:] + rotate(query) * sin[:, :, -kept:]
        key = key * cos + rotate(key) * sin
        mixed = self._attend(query, key, value, mask)
        mixed = mixed.transpose(1, 2).reshape(states.shape[0], kept, -1)
        return states[:, -kept:] + attention.o(mixed)

    def _group_attention(
        self, layer: nn.Module, states: torch.Tensor, group_size: int, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Attention among the series of a group, at each token."""
        attention = layer.self_attention
        normed = layer.layer_norm(states)
        value = attention.v(normed)
        if group_size == 1:
            return states + attention.o(value)
        series, tokens, _ = states.shape

        def by_group(x: torch.Tensor) -> torch.Tensor:
            """(series, tokens, inner) -> (groups * tokens, heads, group_size, head size)"""
            x = x.view(series // group_size, group_size, tokens, -1).transpose(1, 2)
            x = x.reshape(-1, group_size, x.shape[-1])
            return self._heads(attention, x)

        mixed = self._attend(
            by_group(attention.q(normed)), by_group(attention.k(normed)), by_group(value), mask
        )
        mixed = mixed.transpose(1, 2).reshape(series // group_size, tokens, group_size, -1)
        mixed = mixed.transpose(1, 2).reshape(series, tokens, -1)
        return states + attention.o(mixed)

    @staticmethod
    def _attend(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Attend without 1/sqrt(d), as upstream; faster than the fused kernel for few tokens."""
        scores = query @ key.transpose(-1, -2)
        if mask is not None:
            scores = scores + mask
        return torch.softmax(scores.float(), dim=-1).to(value.dtype) @ value
