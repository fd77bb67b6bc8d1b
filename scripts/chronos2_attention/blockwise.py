"""Forecasts of blocks of inputs, several in one pass."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from chronos.chronos2 import Chronos2Pipeline
from chronos.chronos2.dataset import Chronos2Dataset, DatasetMode
from torch.nn.functional import pad

from . import batching
from .blocks import Block, form_blocks, groups_of_blocks
from .model import Chronos2VariantModel
from .variants.base import whole_number

# Tokens in a batch: enough to keep a CPU, or a GPU, busy; more only takes memory.
MAX_TOKENS = {False: 8192, True: 65536}

# What the start of a batch costs, in tokens: on 1 and 2 CPU cores 20 and 45 were measured; on a GPU
# the launches of some 350 kernels would compute thousands (not measured).
START_TOKENS = {False: 32, True: 4096}


def weighted_quantiles(
    levels: torch.Tensor, weights: torch.Tensor, samples: torch.Tensor
) -> torch.Tensor:
    """Return quantiles (..., q) of float32 samples (..., n) with weights (n,) at levels (q,).

    As `chronos.utils.weighted_quantile`, bit for bit, without checks that wait for a GPU.
    """
    samples, order = samples.sort(dim=-1)
    reached = (weights / weights.sum(dim=-1, keepdim=True))[order].cumsum(dim=-1).clamp(max=1.0)
    reached = pad(pad(reached, (1, 0)), (0, 1), value=1.0)
    samples = torch.cat([samples[..., :1], samples, samples[..., -1:]], dim=-1)
    asked = levels.expand(*samples.shape[:-1], -1).contiguous()
    above = torch.searchsorted(reached, asked, right=True)
    (low, high), (least, most) = (
        [of.gather(-1, index) for index in (above - 1, above)] for of in (reached, samples)
    )
    return least + (asked - low) / (high - low) * (most - least)


class BlockwisePipeline(Chronos2Pipeline):
    """What `Chronos2VariantPipeline` does where inputs see each other."""

    model: Chronos2VariantModel
    # The blocks of a batch and the rows of each, on the copy of the pipeline that forecasts it.
    _blocks: list[tuple[Block, int]] | None = None
    _joined = False

    def _for_call(self) -> tuple[Self, Callable[..., list[torch.Tensor]]]:
        """Return a copy for one call, of which no other sees what it holds, and its upstream."""
        call = copy.copy(self)
        call.model = self.model.for_call()
        return call, partial(Chronos2Pipeline.predict, call)

    def batches(
        self, lengths: np.ndarray, sizes: np.ndarray, batch_size: int, horizon: int
    ) -> list[np.ndarray]:
        """Return the batches that cost least of units of `sizes` series and `lengths`, both (n,).

        On a GPU the number of tokens bounds them, whatever the `batch_size`.
        """
        on_gpu, patch_size = self.model.device.type == "cuda", self.model_output_patch_size
        return batching.batches_by_length(
            lengths,
            sizes,
            batch_size=max(batch_size, MAX_TOKENS[True]) if on_gpu else batch_size,
            patch_size=patch_size,
            extra_tokens=1 + math.ceil(horizon / patch_size),
            max_tokens=MAX_TOKENS[on_gpu],
            start_tokens=START_TOKENS[on_gpu],
        )

    def _horizon(self, options: Mapping[str, Any]) -> int:
        asked = options.get("prediction_length")
        return self.model_prediction_length if asked is None else asked

    def _predict_mixed(
        self,
        inputs: Any,
        cutoffs: Sequence | np.ndarray | None,
        similarity: np.ndarray | None,
        seed: int | Sequence[int],
        groups: Sequence | np.ndarray | None,
        joined: bool,
        options: dict[str, Any],
    ) -> list[torch.Tensor]:
        """Forecast inputs that see each other, in blocks of one cutoff and label."""
        cutoffs = None if self.model.variant.leaking else cutoffs
        prepared, sizes = self._prepare(inputs, self._horizon(options))
        if cutoffs is not None and len(cutoffs) == len(prepared):
            # Codes of categories depend on all that are prepared together.
            for part in batching.batches_by_cutoff(cutoffs, len(prepared)):
                alike, _ = self._prepare([inputs[index] for index in part], self._horizon(options))
                for index, item in zip(part, alike, strict=True):
                    prepared[index] = item
        told = cutoffs, groups, similarity, seed
        members, blocks = form_blocks(prepared, sizes, options.pop("batch_size"), *told)
        found = self.predict_blocks(blocks, joined=joined, **options)
        forecasts: list[Any] = [None] * len(prepared)
        for part, results in zip(members, found, strict=True):
            for index, tensor in zip(part, results, strict=True):
                forecasts[index] = tensor
        return forecasts

    @torch.no_grad()
    @batching.memory_explained()
    def predict_blocks(
        self,
        blocks: Sequence[Block],
        prediction_length: int | None = None,
        *,
        context_length: int | None = None,
        joined: bool | None = None,
        **options: Any,
    ) -> list[list[torch.Tensor]]:
        """Forecast blocks of inputs that may see each other, several in one pass.

        No block sees another, whatever their cutoffs, and none is split: how they share passes, up
        to a number of tokens, changes the cost only. Passes that do not fit into memory are halved.

        Parameters
        ----------
        blocks:
            Their inputs, similarities and seeds.
        prediction_length, context_length, options:
            As in `predict`.
        joined:
            Whether all series of a block are one group; by default as the variant has it.

        Returns
        -------
        For each block a list with, for each input, a float32 tensor of shape (n_targets,
        n_quantiles, prediction_length) on the CPU.

        Raises
        ------
        InputError
            If similarities do not fit their block, or a length is below 1.
        """
        given = {"prediction_length": prediction_length, "context_length": context_length}
        for name, length in given.items():
            if length is not None:
                given[name] = whole_number(length, name, 1)
        if self.model.variant.splits_items:
            return [self.predict(block.inputs, **given, **options) for block in blocks]
        if not blocks:
            return []
        call, upstream = self._for_call()
        call._joined = self.model.variant.joins_groups if joined is None else joined
        options |= given
        horizon, limit = self._horizon(options), self.model_context_length
        kept = min(limit, given["context_length"] or limit)
        prepared, counts, longest = [], [], []
        for block in blocks:
            items, sizes = self._prepare(block.inputs, horizon)
            prepared.append(items)
            counts.append(int(sizes.sum()))
            longest.append(min(kept, max(item["context"].shape[-1] for item in items)))

        def forecast(batch: np.ndarray) -> list[list[torch.Tensor]]:
            call._blocks = [(blocks[index], counts[index]) for index in batch]
            options["batch_size"] = sum(rows for _, rows in call._blocks)
            found = upstream([item for index in batch for item in prepared[index]], **options)
            ends = np.cumsum([0, *(len(prepared[index]) for index in batch)])
            return [found[a:b] for a, b in pairwise(ends)]

        batches = self.batches(np.array(longest), np.array(counts), sum(counts), horizon)
        return batching.in_batches(forecast, batches)

    def _predict_batch(self, context: torch.Tensor, group_ids: torch.Tensor, **kwargs: Any):
        """Upstream's; what blocks are is decided once and serves an unrolled forecast too."""
        call, bias, settings = copy.copy(self), None, self.model.settings.similarity
        if self._blocks is not None:
            asked = self.model.variant, self._blocks, self._joined, group_ids, context, settings
            group_ids, bias = groups_of_blocks(*asked)
        call.model = self.model.for_batch(group_ids, bias)
        return Chronos2Pipeline._predict_batch(call, context=context, group_ids=group_ids, **kwargs)

    def _autoregressive_unroll_for_long_horizon(
        self, context, group_ids, future_covariates, prediction, num_output_patches, **unrolled
    ):
        """Upstream's, of contexts (B, paths, T), without anything that waits for a GPU."""
        to_device = partial(torch.Tensor.to, device=prediction.device, non_blocking=True)
        levels, quantiles = torch.tensor(self.quantiles), unrolled["unrolled_quantiles"]
        paths = to_device((levels == quantiles[:, None]).int().argmax(dim=1))
        context = torch.cat([context, prediction.index_select(1, paths)], dim=-1)
        context, future_covariates = self._slide_context_and_future_covariates(
            context[..., -self.model_context_length :], future_covariates, prediction.shape[-1]
        )
        rows = (x.flatten(0, 1) for x in (context, group_ids, future_covariates))
        samples = self._predict_step(*rows, num_output_patches)
        samples = samples.unflatten(0, context.shape[:2]).flatten(1, 2).mT
        asked = to_device(levels), to_device(unrolled["unrolled_sample_weights"].flatten())
        return weighted_quantiles(*asked, samples).mT, context, future_covariates

    @staticmethod
    def _prepare(inputs: Any, horizon: int) -> tuple[list[Mapping[str, Any]], np.ndarray]:
        """Turn any input of `predict` into upstream's, one a forecast; count the series of each."""
        unused = {"context_length": 1, "batch_size": 1, "output_patch_size": 1}
        prepared = Chronos2Dataset(
            inputs, prediction_length=horizon, mode=DatasetMode.TEST, **unused
        ).inputs
        return list(prepared), np.array([item["context"].shape[0] for item in prepared])
