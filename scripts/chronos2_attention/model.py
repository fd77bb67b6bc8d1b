"""Chronos-2 with a variant's attention, on upstream's modules and weights.

`Chronos2VariantModel.encode` is the reference: upstream's blocks with the variant's mask, all
tokens, attention weights on request, training. `Chronos2VariantModel.forward` gives the same result
with the work that cannot matter left out: groups are attended blockwise, masks are built once per
batch, and the last block computes the future tokens only.

A call changes nothing that another call reads, so that threads share a model: what belongs to one
batch or call lies on a copy of the model that no other call knows (`for_call`, `for_batch`).
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, field

import torch
from accelerate.hooks import add_hook_to_module
from chronos.chronos2.model import Chronos2EncoderOutput, Chronos2Model, Chronos2Output
from torch.nn.functional import pad

from .backends import time_attention
from .dense_layers import feed_forward, obstacle, rotation, time_layer
from .errors import InputError
from .group_attention import GroupAttention
from .kernels import planless_attention
from .similarity import SimilaritySettings
from .soft_groups import Parts, SoftGroupAttention, one_part, soft_bias, soft_mask, unrolled
from .time_attention import TimeAttention, TokenLayout, additive, allowed_pairs
from .variants import AttentionVariant, Full, Soft

log = logging.getLogger("chronos2_attention")


@dataclass(frozen=True)
class EngineSettings:
    """How a variant is computed, see `Chronos2VariantPipeline`."""

    backend: str = "auto"
    chunk_size: int | None = None
    similarity: SimilaritySettings = field(default_factory=SimilaritySettings)


@dataclass(frozen=True)
class TokenBatch:
    """A batch after patching and embedding."""

    embeddings: torch.Tensor  # (B, S, d_model): context patches, REG, future patches
    mask: torch.Tensor  # (B, S), model dtype: 1 for tokens with an observation, 0 for padding
    layout: TokenLayout
    num_context_patches: int  # REG not counted
    loc_scale: tuple[torch.Tensor, torch.Tensor]  # of each series, (B, 1) both
    future_mask: torch.Tensor  # (B, F, patch): 1 where a future covariate is known


def precision(dtype: torch.dtype) -> str:
    """Name the precision of products: that of `dtype`, or ``tf32`` where torch may round to it."""
    if dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
        return "tf32"
    return str(dtype).removeprefix("torch.")


def on_weights_of(model: Chronos2Model, kind: type[Chronos2Model]) -> Chronos2Model:
    """Return a model of class `kind`, upstream's or ours, that shares the modules of `model`."""
    shared = copy.copy(model)
    shared.__class__ = kind
    if "_hf_hook" in vars(shared):  # accelerate's, which would call `model`
        del shared._old_forward, shared.forward
        add_hook_to_module(shared, vars(shared).pop("_hf_hook"))
    return shared


class Chronos2VariantModel(Chronos2Model):
    """Upstream's model with another attention variant; parameters and their names are upstream's.

    `backends_used` names those that have run, ``"upstream"`` for upstream's blocks.
    """

    def __init__(self, config) -> None:
        super().__init__(config)
        self.variant: AttentionVariant = Full()
        self.settings = EngineSettings()
        self.backends_used: set[str] = set()
        # Of one batch, on the copy that forecasts it; None asks the ids that are given.
        self.batch_groups: torch.Tensor | None = None
        # The same; None compares the contexts that are given.
        self.batch_bias: Parts | None = None
        # Whether the fast path cannot run, on the copy of one call; None asks for each batch.
        self.is_hindered: bool | None = None
        self._said: dict[str, object] = {}

    def with_variant(
        self: Chronos2Model, variant: AttentionVariant, settings: EngineSettings
    ) -> Chronos2VariantModel:
        """Return a model of another variant on these weights, which may be upstream's."""
        model = on_weights_of(self, Chronos2VariantModel)
        model.variant, model.settings, model.backends_used = variant, settings, set()
        model.batch_groups = model.batch_bias = model.is_hindered = None
        model._said = vars(self).get("_said", {})
        return model

    def for_call(self) -> Chronos2VariantModel:
        """Return a model for one call, which asks but once whether the fast path can run."""
        model = on_weights_of(self, Chronos2VariantModel)
        model.is_hindered = self._is_hindered()
        return model

    def for_batch(self, groups: torch.Tensor, bias: Parts | None) -> Chronos2VariantModel:
        """Return a model for one batch, which shares all else: group ids, (B,), and soft masks.

        The batch has as many rows or a multiple, the paths of an unrolled forecast.
        """
        model = on_weights_of(self, Chronos2VariantModel)
        model.batch_groups, model.batch_bias = groups.cpu(), bias
        return model

    def obstacle(self) -> str:
        """Say why the fast path cannot run now, see `dense_layers.obstacle`; empty if it can."""
        return obstacle(self.encoder, self.device)

    def probed_tokens(self, context: torch.Tensor, num_output_patches: int) -> TokenBatch:
        """Return the tokens of a batch to measure; `InputError` where the fast path cannot run."""
        if reason := self.obstacle():
            raise InputError(f"attention cannot be measured: {reason}", mend="use plain layers")
        context = context.to(self.device, non_blocking=True)
        return self.tokens(context, num_output_patches=num_output_patches)

    def save_pretrained(self, *args, **kwargs):
        """Save as upstream does, under upstream's name, so that upstream loads what was saved."""
        return on_weights_of(self, Chronos2Model).save_pretrained(*args, **kwargs)

    def tokens(
        self,
        context: torch.Tensor,
        context_mask: torch.Tensor | None = None,
        future_covariates: torch.Tensor | None = None,
        future_covariates_mask: torch.Tensor | None = None,
        num_output_patches: int = 1,
    ) -> TokenBatch:
        """Patch, scale and embed a batch with upstream's own functions, see `forward`."""
        batch_size = context.shape[0]
        patches, patch_mask, loc_scale = self._prepare_patched_context(context, context_mask)
        future, future_mask = self._prepare_patched_future(
            future_covariates, future_covariates_mask, loc_scale, num_output_patches, batch_size
        )
        parts = [self.input_patch_embedding(patches)]
        if self.chronos_config.use_reg_token:
            reg = torch.full((batch_size, 1), self.config.reg_token_id, device=self.device)
            parts.append(self.shared(reg))
        parts.append(self.input_patch_embedding(future))
        embeddings = torch.cat(parts, dim=1)

        num_tokens = embeddings.shape[1]
        num_patches = patch_mask.shape[1]
        valid = pad(patch_mask, (0, num_tokens - num_patches), value=True)
        mask = valid.to(self.dtype)
        valid = valid.cpu()  # a GPU is waited for here, and nowhere else
        layout = TokenLayout(
            num_context=num_tokens - num_output_patches,
            num_tokens=num_tokens,
            valid=None if bool(valid.all()) else valid,
        )
        return TokenBatch(embeddings, mask, layout, num_patches, loc_scale, future_mask)

    def encode(
        self,
        context: torch.Tensor,
        context_mask: torch.Tensor | None = None,
        group_ids: torch.Tensor | None = None,
        future_covariates: torch.Tensor | None = None,
        future_covariates_mask: torch.Tensor | None = None,
        num_output_patches: int = 1,
        future_target: torch.Tensor | None = None,
        future_target_mask: torch.Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Chronos2EncoderOutput, tuple[torch.Tensor, torch.Tensor], torch.Tensor, int]:
        """As `Chronos2Model.encode`: all tokens, upstream's blocks, the variant's masks."""
        covariates = future_covariates, future_covariates_mask, num_output_patches
        targets = future_target, future_target_mask
        self._validate_input(context, context_mask, group_ids, *covariates, *targets)
        tokens = self.tokens(context, context_mask, *covariates)
        if future_target is not None and self.variant.joins_groups:
            group_ids = None  # training makes batches without regard to the variant
        group_ids = self._group_ids(context, group_ids).to(self.device)
        bias = self._group_bias(context, group_ids)
        if not (self.variant.sparse_in_time or isinstance(self.variant, Soft)):
            output = self.encoder(
                inputs_embeds=tokens.embeddings,
                attention_mask=tokens.mask,
                group_ids=group_ids,
                output_attentions=output_attentions,
            )
        else:
            output = self._encode_masked(tokens, group_ids, bias, output_attentions)
        return output, tokens.loc_scale, tokens.future_mask, tokens.num_context_patches

    def encode_on_host(self, context: torch.Tensor, group_ids: torch.Tensor) -> tuple[tuple, tuple]:
        """As `encode`, without known covariates, by the fast path, whatever hinders it.

        Contexts (B, T), float32, and ids (B,), integers, give hidden states (B, S, d_model), in the
        model's dtype, and location and scale, (B, 1) and float32. All are in main memory, so that a
        GPU is waited for thrice. Padded tokens are upstream's too.
        """
        tokens = self.tokens(context.to(self.device, non_blocking=True))
        valid = tokens.layout.valid
        group = GroupAttention(group_ids, valid, self.dtype, self.device, all_tokens=True)
        # The other backends leave padded tokens open.
        time = self.time_attention(tokens, None if valid is None else "reference")
        hidden = self.run_blocks(tokens, group, time)
        scales = torch.stack(tokens.loc_scale).cpu().unbind()
        return (hidden.cpu(),), scales

    def _encode_masked(
        self,
        tokens: TokenBatch,
        group_ids: torch.Tensor,
        bias: Parts | None,
        output_attentions: bool,
    ) -> Chronos2EncoderOutput:
        """Run upstream's blocks with the variant's masks: time (B, 1, S, S), group (S, 1, B, B)."""
        encoder, device = self.encoder, self.device.type
        # Autocast casts masks too, and the lowest value of float32 is infinite in bfloat16.
        low = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        dtype = low or tokens.embeddings.dtype
        allowed = allowed_pairs(self.variant, tokens.layout, self.device)
        time_mask = additive(allowed & (tokens.mask > 0)[:, None, None, :], dtype)
        if bias is None:
            group_mask = encoder._construct_and_invert_group_time_mask(
                group_ids, tokens.mask, dtype
            )
        else:
            dense = unrolled(bias, len(tokens.mask)).to(self.device)
            group_mask = soft_mask(dense, tokens.mask.mT > 0, dtype)
        hidden = encoder.dropout(tokens.embeddings)
        time_weights, group_weights = [], []
        for block in encoder.block:
            output = block(
                hidden,
                position_ids=torch.arange(tokens.layout.num_tokens, device=self.device)[None],
                attention_mask=time_mask,
                group_time_mask=group_mask,
                output_attentions=output_attentions,
            )
            hidden = output.hidden_states
            time_weights.append(output.time_self_attn_weights)
            group_weights.append(output.group_self_attn_weights)
        return Chronos2EncoderOutput(
            last_hidden_state=encoder.dropout(encoder.final_layer_norm(hidden)),
            all_time_self_attn_weights=tuple(time_weights) if output_attentions else (),
            all_group_self_attn_weights=tuple(group_weights) if output_attentions else (),
        )

    def forward(
        self,
        context: torch.Tensor,
        context_mask: torch.Tensor | None = None,
        group_ids: torch.Tensor | None = None,
        future_covariates: torch.Tensor | None = None,
        future_covariates_mask: torch.Tensor | None = None,
        num_output_patches: int = 1,
        future_target: torch.Tensor | None = None,
        future_target_mask: torch.Tensor | None = None,
        output_attentions: bool = False,
    ) -> Chronos2Output:
        """Forecast a batch; parameters, result and errors are those of `Chronos2Model.forward`.

        Training, gradients, and what `dense_layers.obstacle` names take upstream's path.
        """
        covariates = future_covariates, future_covariates_mask, num_output_patches
        wants_more = future_target is not None or output_attentions or num_output_patches < 1
        if self.training or wants_more or torch.is_grad_enabled() or self._is_hindered():
            more = future_target, future_target_mask, output_attentions
            return super().forward(context, context_mask, group_ids, *covariates, *more)
        self._validate_input(context, context_mask, group_ids, *covariates, None, None)
        tokens = self.tokens(context, context_mask, *covariates)
        group_ids = self._group_ids(context, group_ids).cpu()
        bias = self._group_bias(context, group_ids)
        time = self.time_attention(tokens)
        common = tokens.layout.valid, self.dtype, self.device
        group: GroupAttention | SoftGroupAttention
        if bias is None or max(rows.shape[1] for rows, _ in bias) == 1:  # nothing to mix
            group = GroupAttention(group_ids, *common)
        else:
            group = SoftGroupAttention(bias, *common)
        hidden = self.run_blocks(tokens, group, time, last_block_from=tokens.layout.num_context)
        # (B, F, quantiles * patch) -> (B, quantiles, F * patch)
        quantiles = self.output_patch_embedding(hidden).unflatten(-1, (self.num_quantiles, -1))
        quantiles = quantiles.transpose(1, 2).flatten(1)
        quantiles = self.instance_norm.inverse(quantiles, tokens.loc_scale)
        return Chronos2Output(quantile_preds=quantiles.unflatten(1, (self.num_quantiles, -1)))

    def _is_hindered(self) -> bool:
        """Whether the fast path cannot run; each reason is told once."""
        if self.is_hindered is not None:
            return self.is_hindered
        reason = self.obstacle()
        if reason:
            self.backends_used.add("upstream")
            mine = object()
            if self._said.setdefault(reason, mine) is mine:  # one of several threads
                log.warning("%s: forecasting by upstream's slower path", reason)
        return bool(reason)

    def _group_ids(self, context: torch.Tensor, group_ids: torch.Tensor | None) -> torch.Tensor:
        if self.batch_groups is not None:  # as upstream numbers the paths of an unrolled forecast
            paths = len(context) // max(1, len(self.batch_groups))
            return (self.batch_groups[:, None] * paths + torch.arange(paths)).flatten()
        if group_ids is not None and not self.variant.splits_items:
            return group_ids
        every = torch.arange(len(context))
        return torch.zeros_like(every) if self.variant.joins_groups else every

    def _group_bias(self, context: torch.Tensor, group_ids: torch.Tensor) -> Parts | None:
        """Return the soft masks of a batch, on the CPU, or None where groups are hard."""
        if not isinstance(self.variant, Soft) or self.batch_bias is not None:
            return self.batch_bias
        return one_part(soft_bias(self.variant, group_ids, context, self.settings.similarity))

    def time_attention(self, tokens: TokenBatch, backend: str | None = None) -> TimeAttention:
        """Prepare the variant's time attention for one batch, by the backend of the settings."""
        time = time_attention(
            self.variant,
            tokens.layout,
            dtype=tokens.embeddings.dtype,
            device=tokens.embeddings.device,
            backend=backend or self.settings.backend,
            chunk_size=self.settings.chunk_size,
        )
        self.backends_used.add(time.backend)
        return time

    def run_blocks(
        self,
        tokens: TokenBatch,
        group: GroupAttention | SoftGroupAttention,
        time: TimeAttention,
        last_block_from: int = 0,
    ) -> torch.Tensor:
        """Run the encoder with prepared attention, without gradients; embeddings are overwritten.

        The last block computes tokens from `last_block_from` on: (B, S - last_block_from, d_model).
        """
        hidden, blocks = tokens.embeddings, [list(block.layer) for block in self.encoder.block]
        rope = rotation(blocks[0][0].self_attention.rope_embed, hidden)
        with planless_attention(hidden.device.type):
            for time_self_attention, group_self_attention, forward in blocks:
                first = last_block_from if forward is blocks[-1][-1] else 0
                hidden = time_layer(time_self_attention, hidden, time, rope, first)
                hidden = group(group_self_attention, hidden, first)
                hidden = feed_forward(forward, hidden)
        return self.encoder.final_layer_norm(hidden)
