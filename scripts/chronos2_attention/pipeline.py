"""A drop-in `Chronos2Pipeline` that forecasts with an attention variant."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from chronos.chronos2 import Chronos2Model, Chronos2Pipeline
from chronos.chronos2.dataset import Chronos2Dataset, DatasetMode

from . import batching, checkpoint, finetuning
from .batching import split
from .errors import InputError
from .model import Chronos2VariantModel, EngineSettings
from .similarity import SimilaritySettings
from .soft_groups import soft_bias
from .variants import AttentionVariant
from .variants.base import whole_number

log = logging.getLogger("chronos2_attention")

# Tokens in a batch: enough to keep a CPU, or a GPU, busy; more only takes memory.
MAX_TOKENS = {False: 8192, True: 65536}

# What the start of a batch costs, in tokens: on 1 and 2 CPU cores 20 and 45 were measured; on a GPU
# the launches of some 500 kernels would compute thousands (not measured).
START_TOKENS = {False: 32, True: 4096}

# Upstream's words.
DEPRECATED = (
    "The `predict_batches_jointly` argument is deprecated and will be removed in a future version. "
    "Please use `cross_learning=True` to enable the cross-learning mode."
)


class Chronos2VariantPipeline(Chronos2Pipeline):
    """Chronos-2 under an attention variant.

    Everything that takes a `Chronos2Pipeline` takes this: `predict`, `predict_quantiles`,
    `predict_df`, `predict_fev` and `embed` keep upstream's signatures, results and errors. Threads
    may share a pipeline: a call changes nothing that another call reads.

    Parameters
    ----------
    model:
        Ours or upstream's, or an adapter around it; its weights are shared by all pipelines made
        by `with_variant`.
    variant:
        A variant or its name.
    backend:
        Backend of sparse time attention, see `chronos2_attention.backends.choose_backend`.
    chunk_size:
        Queries per chunk of the banded backend; None for the measured default.
    similarity_settings:
        How soft masks compare series.
    weights_fingerprint:
        Identifies the checkpoint; empty for a model that was not loaded from one.
    """

    # Of the call that a copy of the pipeline was made for; None on what users hold.
    _shares: batching.Shares | None = None

    def __init__(
        self,
        model: Chronos2Model,
        variant: str | AttentionVariant = "full",
        *,
        backend: str = "auto",
        chunk_size: int | None = None,
        similarity_settings: SimilaritySettings | None = None,
        weights_fingerprint: str = "",
    ) -> None:
        if chunk_size is not None:
            chunk_size = whole_number(chunk_size, "chunk_size", 1)
        similarity = similarity_settings or SimilaritySettings()
        settings = EngineSettings(backend, chunk_size, similarity)
        inner, variant = finetuning.innermost(model), AttentionVariant.parse(variant)
        inner = Chronos2VariantModel.with_variant(inner, variant, settings)
        super().__init__(model=finetuning.around(model, inner))
        self.weights_fingerprint = weights_fingerprint

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        variant: str | AttentionVariant = "full",
        device_map: str | int | torch.device | dict | None = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        backend: str = "auto",
        chunk_size: int | None = None,
        similarity_settings: SimilaritySettings | None = None,
        force_s3_download: bool = False,
        **kwargs: Any,
    ) -> Chronos2VariantPipeline:
        """Load a checkpoint strictly, from a folder, the hub or S3; an adapter is merged.

        Parameters
        ----------
        pretrained_model_name_or_path:
            Folder, hub repository or ``s3://`` address of a model, or of an adapter of `peft`.
        variant, backend, chunk_size, similarity_settings:
            See the class.
        device_map:
            A device, or a device for each part of the model; None for the CPU. ``"auto"`` is
            ``"cuda"`` where there is one, else ``"cpu"``.
        dtype, torch_dtype:
            Of the parameters, a torch dtype or its name; None and ``"auto"`` for the checkpoint's.
        force_s3_download:
            Fetch from S3 again what was fetched before.
        **kwargs:
            What else upstream takes: revision, subfolder, cache_dir, token, force_download,
            attn_implementation, max_memory, ..., and fields of the configuration to change.

        Raises
        ------
        InputError
            If a tensor is missing, unexpected, of another shape, not of floating point numbers, not
            finite in `dtype` or zero throughout; if the weights are not safetensors or not found;
            for an argument that would load pickles, remote code, or weights that do not fit.
        TypeError
            For an argument that upstream does not know.
        """
        variant = AttentionVariant.parse(variant)
        engine = {"chunk_size": chunk_size, "similarity_settings": similarity_settings}
        engine["backend"] = backend
        options = {"device_map": device_map, "dtype": torch_dtype or dtype, **kwargs}
        if str(pretrained_model_name_or_path).startswith("s3://"):
            # Fetches the files and comes back here with their folder.
            options |= {"variant": variant, "force_s3_download": force_s3_download, **engine}
            return super(Chronos2Pipeline, cls).from_pretrained(
                pretrained_model_name_or_path, **options
            )
        if device_map == "auto":
            options["device_map"] = "cuda" if torch.cuda.is_available() else "cpu"
        model, fingerprint = checkpoint.load(pretrained_model_name_or_path, **options)
        return cls(model, variant, weights_fingerprint=fingerprint, **engine)

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Save the weights, or an adapter's, as upstream does and loads; not the variant."""
        finetuning.as_upstream(self.model).save_pretrained(save_directory, *args, **kwargs)

    @functools.wraps(Chronos2Pipeline.fit, assigned=())
    def fit(self, *args: Any, **kwargs: Any) -> Chronos2VariantPipeline:
        """Fine-tune a copy of the model under the variant; parameters are `Chronos2Pipeline.fit`'s.

        The loss is computed with the variant's attention. Where series mix, those of a training
        batch do, as upstream draws it: their contexts end at different times.

        Returns
        -------
        A pipeline of the same variant and settings with the new weights.
        """
        return finetuning.fit(self, *args, **kwargs)

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
        """Return a pipeline of another variant, or its name, on the same weights, without a copy.

        Backend and chunk size (queries of a chunk) are this pipeline's by default.

        Raises
        ------
        InputError
            If the variant is unknown. A backend is checked by the first forecast that needs it.
        """
        settings = self.model.settings
        return type(self)(
            self.model,
            variant,
            backend=settings.backend if backend is None else backend,
            chunk_size=settings.chunk_size if chunk_size is None else chunk_size,
            similarity_settings=settings.similarity,
            weights_fingerprint=self.weights_fingerprint,
        )

    def sizes(self, prediction_length: int, context_length: int | None) -> tuple[int, int]:
        """Return a forecast's future tokens in one pass, and the most observations of context.

        A length below 1 is an `InputError`.
        """
        steps = whole_number(prediction_length, "prediction_length", 1)
        limit = self.model_context_length
        if context_length is not None:
            limit = min(limit, whole_number(context_length, "context_length", 1))
        patches = -(-steps // self.model_output_patch_size)
        return min(patches, self.max_output_patches), limit

    def describe(self) -> dict[str, str]:
        """Say what runs: variant, device, dtype, backends that have run, weights fingerprint."""
        device = self.model.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
        return {
            "variant": self.variant.name,
            "device": name,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "backend": "+".join(sorted(self.model.backends_used.copy())),
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
        cutoffs: Sequence | np.ndarray | None = None,
        similarity: np.ndarray | None = None,
        seed: int | Sequence[int] = 0,
        **kwargs: Any,
    ) -> list[torch.Tensor]:
        """Forecast, in input order; parameters and results are `Chronos2Pipeline.predict`'s.

        Independent inputs are batched by length, which changes the cost only; a batch that does
        not fit into memory is halved, with a warning, and what was done is kept. Where series mix
        (`joint`, soft masks, or ``cross_learning=True``) batches are consecutive inputs of one
        cutoff, because there the batch decides who attends to whom; there a lack of memory is an
        error.

        Parameters
        ----------
        cutoffs:
            Time of each input's last observation, shape (n,), where series mix: those of
            different cutoffs never share a batch, or one would see another's future. None says
            that all have the same. A leaking variant ignores them.
        similarity:
            Of all series, targets and covariates in input order, shape (rows, rows), for soft
            masks; by default that of the contexts in each batch.
        seed:
            Of the control ``permuted``.

        Raises
        ------
        InputError
            If `cutoffs` or `similarity` does not fit the inputs.
        """
        options = {
            "prediction_length": prediction_length,
            "batch_size": batch_size,
            "context_length": context_length,
            "limit_prediction_length": limit_prediction_length,
            **kwargs,
        }
        if kwargs.get("predict_batches_jointly") is not None:  # upstream's older name
            warnings.warn(DEPRECATED, category=FutureWarning, stacklevel=2)
            cross_learning = options.pop("predict_batches_jointly")
        call = copy.copy(self)  # no other call sees what it holds
        call.model = self.model.for_call()
        upstream = super(Chronos2VariantPipeline, call).predict
        if cross_learning or self.variant.mixes_series:
            return call._predict_mixed(inputs, cutoffs, similarity, seed, options)
        limit, most = self.model_context_length, self.model_prediction_length
        horizon = most if prediction_length is None else prediction_length
        kept = limit if context_length is None else context_length
        usual = all(isinstance(n, Integral) and n > 0 for n in (horizon, batch_size, kept))
        if len(inputs) < 2 or not usual or call.model.is_hindered:
            return upstream(inputs, **options)

        plain = not kwargs and horizon <= most and kept <= limit
        kept = min(kept, limit)
        if plain and batching.is_univariate(inputs):
            series = batching.FlatSeries.of(inputs, kept)
            lengths, sizes = series.lengths, np.ones(len(inputs), dtype=int)

            def forecast(batch: np.ndarray) -> list[torch.Tensor]:
                return call._predict_batch(
                    context=series.left_padded(batch),
                    group_ids=torch.arange(len(batch)),
                    future_covariates=torch.full((len(batch), horizon), torch.nan),
                    unrolled_quantiles_tensor=torch.empty(0),
                    prediction_length=horizon,
                    max_output_patches=self.max_output_patches,
                    target_idx_ranges=[(row, row + 1) for row in range(len(batch))],
                )
        else:
            prepared, sizes = self._prepare(inputs, horizon)
            lengths = np.minimum([item["context"].shape[-1] for item in prepared], kept)

            def forecast(batch: np.ndarray) -> list[torch.Tensor]:
                return upstream([prepared[index] for index in batch], **options)

        on_gpu, patch_size = self.model.device.type == "cuda", self.model_output_patch_size
        waiting = batching.batches_by_length(
            lengths,
            sizes,
            batch_size=batch_size,
            patch_size=patch_size,
            extra_tokens=1 + math.ceil(horizon / patch_size),
            max_tokens=MAX_TOKENS[on_gpu],
            start_tokens=START_TOKENS[on_gpu],
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
                said = "out of memory on %s with %d inputs in a batch; going on with at most %d"
                log.warning(said, self.model.device, len(batch), half)
                waiting = [part for full in (batch, *waiting) for part in split(full, half)]
                torch.cuda.empty_cache()
                continue
            for index, tensor in zip(batch, found, strict=True):
                forecasts[index] = tensor
        return forecasts

    def _predict_mixed(
        self,
        inputs: Any,
        cutoffs: Sequence | np.ndarray | None,
        similarity: np.ndarray | None,
        seed: int | Sequence[int],
        options: dict[str, Any],
    ) -> list[torch.Tensor]:
        """Forecast inputs that see each other, cutoff by cutoff, in upstream's own batches.

        Called on the copy of one call, which it changes.
        """
        options = {**options, "cross_learning": not self.variant.softens_groups}
        if self.variant.leaking:
            cutoffs = None
        if cutoffs is None and similarity is None:
            self._shares = batching.Shares(None, (*np.atleast_1d(seed), 0))
            return super().predict(inputs, **options)
        horizon = options["prediction_length"]
        horizon = self.model_prediction_length if horizon is None else horizon
        prepared, sizes = self._prepare(inputs, horizon)
        if cutoffs is None:
            cutoffs = np.zeros(len(prepared), dtype=int)
        if len(cutoffs) != len(prepared):
            told = f"{len(cutoffs)} cutoffs for {len(prepared)} inputs"
            raise InputError(told, mend="give one for each")
        if similarity is not None and np.shape(similarity) != (sizes.sum(),) * 2:
            raise InputError(
                f"similarities of shape {np.shape(similarity)} for {sizes.sum()} series",
                mend="give one for each pair, covariates included",
            )
        rows = np.split(np.arange(sizes.sum()), np.cumsum(sizes)[:-1])
        forecasts: list[torch.Tensor | None] = [None] * len(prepared)
        for number, batch in enumerate(batching.batches_by_cutoff(cutoffs, len(prepared))):
            order = np.concatenate([rows[index] for index in batch])
            given = None if similarity is None else similarity[np.ix_(order, order)]
            self._shares = batching.Shares(given, (*np.atleast_1d(seed), number))
            found = super().predict([prepared[index] for index in batch], **options)
            for index, tensor in zip(batch, found, strict=True):
                forecasts[index] = tensor
        return forecasts

    def _predict_batch(self, context: torch.Tensor, group_ids: torch.Tensor, **kwargs: Any):
        """Upstream's; a soft mask is made once and serves the steps of an unrolled forecast too."""
        call = self
        if self.variant.softens_groups:
            share = self._shares.take(len(context)) if self._shares else (None, (0, 0))
            settings = self.model.settings.similarity
            bias = soft_bias(self.variant, group_ids, context, settings, *share)
            call = copy.copy(self)
            call.model = self.model.with_batch_bias(bias)
        return super(Chronos2VariantPipeline, call)._predict_batch(
            context=context, group_ids=group_ids, **kwargs
        )

    @staticmethod
    def _prepare(inputs: Any, horizon: int) -> tuple[Sequence[Mapping[str, Any]], np.ndarray]:
        """Turn any input of `predict` into upstream's, one a forecast; count the series of each."""
        unused = {"context_length": 1, "batch_size": 1, "output_patch_size": 1}
        prepared = Chronos2Dataset(
            inputs, prediction_length=horizon, mode=DatasetMode.TEST, **unused
        ).inputs
        return prepared, np.array([item["context"].shape[0] for item in prepared])

    def predict_df(self, df: pd.DataFrame, *args: Any, **kwargs: Any) -> pd.DataFrame:
        """Forecast a long data frame; parameters and result are `Chronos2Pipeline.predict_df`'s.

        Where series mix, those that end at different times do not see each other.
        """
        if self.variant.mixes_series and "cutoffs" not in kwargs:
            asked = inspect.signature(Chronos2Pipeline.predict_df).bind(self, df, *args, **kwargs)
            asked.apply_defaults()
            names = asked.arguments["id_column"], asked.arguments["timestamp_column"]
            if set(names) <= set(df.columns):  # else upstream says which is missing
                times = pd.to_datetime(df[names[1]])
                kwargs["cutoffs"] = times.groupby(df[names[0]], sort=False).max().to_numpy()
        return super().predict_df(df, *args, **kwargs)

    def embed(
        self,
        inputs: torch.Tensor | np.ndarray | Sequence,
        batch_size: int = 256,
        context_length: int | None = None,
    ) -> tuple[list[torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]]:
        """Return encoder embeddings; parameters and results are `Chronos2Pipeline.embed`'s.

        Of each input of shape (n_variates, T), a tensor (n_variates, num_patches + 2, d_model) in
        the model's dtype, on the CPU: context patches, REG, the masked output patch; and its
        location and scale, each (n_variates, 1).

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
