"""A drop-in `Chronos2Pipeline` that forecasts with an attention variant."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chronos.chronos2 import Chronos2Pipeline, preprocess

from . import batching, checkpoint
from .batching import split
from .errors import InputError
from .model import Chronos2VariantModel, EngineSettings
from .variants import AttentionVariant

log = logging.getLogger("chronos2_attention")

# Tokens in a batch: enough to keep a CPU, or a GPU, busy; more only takes memory.
MAX_TOKENS = {False: 8192, True: 65536}

HUB_ARGUMENTS = ("revision", "cache_dir", "token", "local_files_only")


class Chronos2VariantPipeline(Chronos2Pipeline):
    """Chronos-2 under an attention variant.

    Everything that takes a `Chronos2Pipeline` takes this: `predict`, `predict_quantiles`,
    `predict_df`, `predict_fev` and `embed` keep upstream's signatures and results.

    Parameters
    ----------
    model:
        The model; its weights are shared by all pipelines made by `with_variant`.
    variant:
        A variant or its name.
    backend:
        Backend of sparse time attention, see `chronos2_attention.backends.choose_backend`.
    chunk_size:
        Queries per chunk of the banded backend; None for the measured default.
    weights_fingerprint:
        Identifies the checkpoint; empty for a model that was not loaded from one.
    """

    def __init__(
        self,
        model: Chronos2VariantModel,
        variant: str | AttentionVariant = "full",
        *,
        backend: str = "auto",
        chunk_size: int | None = None,
        weights_fingerprint: str = "",
    ) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise InputError(f"chunk_size {chunk_size} is below 1", mend="use 1 or more")
        settings = EngineSettings(backend=backend, chunk_size=chunk_size)
        super().__init__(model=model.with_variant(AttentionVariant.parse(variant), settings))
        self.weights_fingerprint = weights_fingerprint

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        variant: str | AttentionVariant = "full",
        device_map: str | torch.device = "cpu",
        dtype: torch.dtype | str = torch.float32,
        backend: str = "auto",
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Chronos2VariantPipeline:
        """Load a checkpoint strictly, from a folder or from the hub.

        Parameters
        ----------
        pretrained_model_name_or_path:
            Folder with ``config.json`` and safetensors, or a hub repository.
        variant, backend, chunk_size:
            See the class.
        device_map:
            One device for the whole model: ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``"auto"`` is
            ``"cuda"`` where there is one, else ``"cpu"``.
        dtype:
            Of the parameters, a torch dtype or its name.
        **kwargs:
            For the hub: revision, cache_dir, token, local_files_only.

        Raises
        ------
        InputError
            If a tensor is missing, unexpected or of another shape, if the weights are not
            safetensors, or if the checkpoint cannot be found.
        TypeError
            For any other argument.
        """
        variant = AttentionVariant.parse(variant)
        if "torch_dtype" in kwargs:
            dtype = kwargs.pop("torch_dtype")
        if kwargs.pop("trust_remote_code", False):
            raise InputError("trust_remote_code is not supported", mend="leave it out")
        unknown = sorted(kwargs.keys() - set(HUB_ARGUMENTS))
        if unknown:
            raise TypeError(f"unexpected arguments: {', '.join(unknown)}")
        if isinstance(dtype, str):
            dtype = getattr(torch, dtype.removeprefix("torch."), None)
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise InputError("unknown dtype", mend="use float32, bfloat16 or float16")
        if device_map == "auto":
            device_map = "cuda" if torch.cuda.is_available() else "cpu"
        folder = checkpoint.resolve(pretrained_model_name_or_path, **kwargs)
        model, fingerprint = checkpoint.load_model(folder, dtype)
        return cls(
            model.to(device_map),
            variant,
            backend=backend,
            chunk_size=chunk_size,
            weights_fingerprint=fingerprint,
        )

    @property
    def variant(self) -> AttentionVariant:
        """The attention variant in force."""
        return self.model.variant

    def with_variant(
        self,
        variant: str | AttentionVariant,
        *,
        backend: str | None = None,
        chunk_size: int | None = None,
    ) -> Chronos2VariantPipeline:
        """Return a pipeline of another variant on the same weights, without reload or copy.

        Parameters
        ----------
        variant:
            A variant or its name.
        backend, chunk_size:
            This pipeline's by default.
        """
        settings = self.model.settings
        return type(self)(
            self.model,
            variant,
            backend=settings.backend if backend is None else backend,
            chunk_size=settings.chunk_size if chunk_size is None else chunk_size,
            weights_fingerprint=self.weights_fingerprint,
        )

    def describe(self) -> dict[str, str]:
        """Say what runs: variant, device, dtype, backends that have run, weights fingerprint."""
        device = self.model.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
        return {
            "variant": self.variant.name,
            "device": name,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "backend": "+".join(sorted(self.model.backends_used)),
            "weights_fingerprint": self.weights_fingerprint,
        }

    @torch.no_grad()
    def predict(
        self,
        inputs: torch.Tensor | np.ndarray | Sequence,
        prediction_length: int | None = None,
        batch_size: int = 256,
        context_length: int | None = None,
        cross_learning: bool = False,
        limit_prediction_length: bool = False,
        **kwargs: Any,
    ) -> list[torch.Tensor]:
        """Forecast, in input order; parameters and results are `Chronos2Pipeline.predict`'s.

        Independent inputs are batched by length, which changes the cost only; a batch that does
        not fit into memory is halved, with a warning, and what was done is kept. Where series mix
        (`joint`, or ``cross_learning=True``) batches are consecutive inputs, as upstream forms
        them, because there the batch decides who attends to whom; there a lack of memory is an
        error.
        """
        options = {
            "prediction_length": prediction_length,
            "batch_size": batch_size,
            "context_length": context_length,
            "limit_prediction_length": limit_prediction_length,
            **kwargs,
        }
        cross_learning = cross_learning or self.variant.mixes_series
        mixes = cross_learning or kwargs.get("predict_batches_jointly")
        if mixes or len(inputs) < 2:
            return super().predict(inputs, cross_learning=cross_learning, **options)

        horizon = prediction_length or self.model_prediction_length
        kept = min(context_length or self.model_context_length, self.model_context_length)
        plain = not kwargs and horizon <= self.model_prediction_length
        if plain and batching.is_univariate(inputs):
            series = batching.FlatSeries.of(inputs, kept)
            lengths, sizes = series.lengths, np.ones(len(inputs), dtype=int)

            def forecast(batch: np.ndarray) -> list[torch.Tensor]:
                return self._predict_univariate(series.left_padded(batch), horizon)
        else:
            prepared = _prepare(inputs, horizon)
            lengths = np.minimum([item["context"].shape[-1] for item in prepared], kept)
            sizes = np.array([item["context"].shape[0] for item in prepared])
            upstream = super().predict

            def forecast(batch: np.ndarray) -> list[torch.Tensor]:
                return upstream([prepared[index] for index in batch], **options)

        waiting = batching.batches_by_length(
            lengths,
            sizes,
            batch_size=batch_size,
            patch_size=self.model_output_patch_size,
            max_tokens=MAX_TOKENS[self.model.device.type == "cuda"],
        )
        forecasts: list[torch.Tensor | None] = [None] * len(inputs)
        while waiting:
            batch = waiting.pop(0)
            try:
                found = forecast(batch)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                half = math.ceil(len(batch) / 2)
                log.warning(
                    "out of memory on %s with %d inputs in a batch; going on with at most %d",
                    *(self.model.device, len(batch), half),
                )
                waiting = [part for full in (batch, *waiting) for part in split(full, half)]
                torch.cuda.empty_cache()
                continue
            for index, tensor in zip(batch, found, strict=True):
                forecasts[index] = tensor
        return forecasts

    def _predict_univariate(self, context: torch.Tensor, horizon: int) -> list[torch.Tensor]:
        """Forecast independent series (b, T): b tensors of shape (1, quantiles, horizon)."""
        rows = len(context)
        return self._predict_batch(
            context=context,
            group_ids=torch.arange(rows),
            future_covariates=torch.full((rows, horizon), torch.nan),
            unrolled_quantiles_tensor=torch.empty(0),
            prediction_length=horizon,
            max_output_patches=self.max_output_patches,
            target_idx_ranges=[(row, row + 1) for row in range(rows)],
        )

    def embed(
        self,
        inputs: torch.Tensor | np.ndarray | Sequence,
        batch_size: int = 256,
        context_length: int | None = None,
    ) -> tuple[list[torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]]:
        """Return encoder embeddings; parameters and results are `Chronos2Pipeline.embed`'s.

        Raises
        ------
        InputError
            For variants that mix series: upstream embeds each input on its own.
        """
        if self.variant.mixes_series:
            raise InputError(
                f"variant '{self.variant}' has no embeddings of single inputs",
                mend="embed with_variant('full')",
            )
        return super().embed(inputs, batch_size=batch_size, context_length=context_length)


def _prepare(inputs: Any, prediction_length: int) -> list[Mapping[str, Any]]:
    """Turn any input of `predict` into upstream's prepared inputs, one a forecast."""
    if isinstance(inputs, torch.Tensor | np.ndarray):
        return preprocess.from_tensor(inputs, prediction_length=prediction_length)
    if isinstance(inputs[0], torch.Tensor | np.ndarray):
        return preprocess.from_list_of_tensors(inputs, prediction_length=prediction_length)
    if "context" in inputs[0]:
        return inputs
    return preprocess.from_list_of_dicts(inputs, prediction_length=prediction_length)
