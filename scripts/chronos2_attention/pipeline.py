"""A drop-in `Chronos2Pipeline` that forecasts with an attention variant."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from chronos.chronos2 import Chronos2Model, Chronos2Pipeline

from . import batching, checkpoint, finetuning
from .blocks import told_of_frame
from .blockwise import BlockwisePipeline
from .errors import InputError
from .kernels import planless_attention
from .model import Chronos2VariantModel, EngineSettings, precision
from .similarity import SimilaritySettings
from .variants import AttentionVariant, Cluster, Grouped, Soft
from .variants.base import whole_number

# Upstream's words.
DEPRECATED = (
    "The `predict_batches_jointly` argument is deprecated and will be removed in a future version. "
    "Please use `cross_learning=True` to enable the cross-learning mode."
)

SIZES = ("prediction_length", "batch_size", "context_length")


class Chronos2VariantPipeline(BlockwisePipeline):
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
        engine: dict[str, Any] = {"backend": backend, "chunk_size": chunk_size}
        engine["similarity_settings"] = similarity_settings
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

        Raises
        ------
        InputError
            For clusters and groups by a column, which no training batch has.
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
        """Return a forecast's future tokens in one pass, and the most observations of context."""
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
            "dtype": precision(self.model.dtype),
            "backend": "+".join(sorted(self.model.backends_used.copy())),
            "weights_fingerprint": self.weights_fingerprint,
        }

    @torch.no_grad()
    @batching.memory_explained()
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
        groups: Sequence | np.ndarray | None = None,
        **kwargs: Any,
    ) -> list[torch.Tensor]:
        """Forecast, in input order; parameters and results are `Chronos2Pipeline.predict`'s.

        Independent inputs are batched by length, which changes the cost only, on a GPU with a
        number of tokens whatever the `batch_size`; a batch that does not fit into memory is
        halved, with a warning, and what was done is kept. Where inputs mix
        (`joint`, clusters, soft masks, or ``cross_learning=True``) they do so in blocks of
        consecutive inputs of one cutoff, with `batch_size` series as upstream counts them, and with
        `groups` in blocks of one label; see `predict_blocks`.

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
        groups:
            A label of each input, shape (n,): those of one label, and one cutoff, are one group of
            whatever size. Of ``grouped_COLUMN`` the values of the column; other variants that mix
            series take none. What is missing (None, NaN) is a label too.

        Raises
        ------
        InputError
            If `cutoffs`, `similarity` or `groups` does not fit the inputs or the variant; also a
            `torch.OutOfMemoryError`, if inputs that see each other do not fit into memory.
        """
        options: dict[str, Any] = {
            "prediction_length": prediction_length,
            "batch_size": batch_size,
            "context_length": context_length,
            "limit_prediction_length": limit_prediction_length,
            **kwargs,
        }
        if kwargs.get("predict_batches_jointly") is not None:  # upstream's older name
            warnings.warn(DEPRECATED, category=FutureWarning, stacklevel=2)
            cross_learning = options.pop("predict_batches_jointly")
        mixing, grouped = cross_learning or self.variant.mixes_series, groups is not None
        if grouped != isinstance(self.variant, Grouped) and (mixing or not grouped):
            who = "cross_learning" if grouped and cross_learning else f"variant '{self.variant}'"
            what = f"{who} {'takes no' if grouped else 'needs'} groups"
            raise InputError(what, mend="give a label of each input, to full, sparse or grouped")
        if self.variant.splits_items and (mixing or grouped):
            what = f"variant '{self.variant}' takes neither groups nor cross_learning"
            raise InputError(what, mend="use with_variant('full')")
        call, upstream = self._for_call()
        limit, most = self.model_context_length, self.model_prediction_length
        horizon = most if prediction_length is None else prediction_length
        kept = limit if context_length is None else context_length
        usual = all(isinstance(n, int | np.integer) and n > 0 for n in (horizon, batch_size, kept))
        joined = grouped or (mixing and not isinstance(self.variant, Soft | Cluster))
        as_upstream = joined and not grouped and cutoffs is None and similarity is None
        if (mixing or grouped) and len(inputs) and not as_upstream:
            for name in SIZES:
                if options[name] is not None:
                    options[name] = whole_number(options[name], name, 1)
            return self._predict_mixed(inputs, cutoffs, similarity, seed, groups, joined, options)
        if self.variant.splits_items and len(inputs):
            return self._predict_targets(inputs, options)
        if as_upstream or len(inputs) < 2 or not usual or call.model.is_hindered:
            return upstream(inputs, cross_learning=joined, **options)

        plain = not kwargs and horizon <= most and kept <= limit
        kept = min(kept, limit)
        if plain and batching.is_univariate(inputs):
            series = batching.FlatSeries.of(inputs, kept)

            def of_padded(context: torch.Tensor) -> list[torch.Tensor]:
                return call._predict_batch(
                    context=context,
                    group_ids=torch.arange(len(context)),
                    future_covariates=torch.full((len(context), horizon), torch.nan),
                    unrolled_quantiles_tensor=torch.empty(0),
                    prediction_length=horizon,
                    max_output_patches=self.max_output_patches,
                    target_idx_ranges=[(row, row + 1) for row in range(len(context))],
                )

            batches = self.batches(series.lengths, np.ones(len(inputs), int), batch_size, horizon)
            return batching.in_batches(of_padded, batches, series.left_padded)
        prepared, sizes = self._prepare(inputs, horizon)
        lengths = np.minimum([item["context"].shape[-1] for item in prepared], kept)

        def forecast(batch: np.ndarray) -> list[torch.Tensor]:
            options["batch_size"] = max(1, int(sizes[batch].sum()))
            return upstream([prepared[index] for index in batch], **options)

        batches = self.batches(lengths, sizes, batch_size, horizon)
        return batching.in_batches(forecast, batches)

    def _predict_targets(self, inputs: Any, options: dict[str, Any]) -> list[torch.Tensor]:
        """Forecast each target of each input by itself."""
        prepared, _ = self._prepare(inputs, self._horizon(options))
        targets = [item["context"][: item["n_targets"]] for item in prepared]
        full = self.with_variant("full")
        full.model.backends_used = self.model.backends_used
        alone = full.predict([row for item in targets for row in item], **options)
        ends = np.cumsum([0, *map(len, targets)])
        return [torch.cat(alone[a:b]) for a, b in pairwise(ends)]

    def predict_df(self, df: pd.DataFrame, *args: Any, **kwargs: Any) -> pd.DataFrame:
        """Forecast a long data frame; parameters and result are `Chronos2Pipeline.predict_df`'s.

        Where series mix, those that end at different times do not see each other. `groups` is the
        name of a column, which is no covariate then, or a mapping of ids to labels.
        """
        groups = kwargs.pop("groups", None)
        if groups is not None or (self.variant.mixes_series and "cutoffs" not in kwargs):
            asked = inspect.signature(Chronos2Pipeline.predict_df).bind(self, df, *args, **kwargs)
            asked.apply_defaults()
            names = asked.arguments["id_column"], asked.arguments["timestamp_column"]
            if set(names) <= set(df.columns):  # else upstream says which is missing
                if isinstance(groups, str) and groups == names[0]:
                    groups = {name: name for name in df[groups]}
                df, told = told_of_frame(df, *names, groups)
                if isinstance(groups, str) and asked.arguments["future_df"] is not None:
                    future = asked.arguments["future_df"].drop(columns=groups, errors="ignore")
                    if "future_df" in kwargs:
                        kwargs["future_df"] = future
                    else:
                        args = (future, *args[1:])
                kwargs = {**told, **kwargs}
        return super().predict_df(df, *args, **kwargs)

    @batching.memory_explained()
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
        if self.variant.mixes_series or self.variant.splits_items:
            raise InputError(
                f"variant '{self.variant}' has no embeddings of single inputs",
                mend="embed with_variant('full')",
            )
        call: Any = self._for_call()[0]
        model = call.model
        # float16's lowest value does not drown scores, which upstream's padded tokens show.
        if not model.is_hindered and model.dtype != torch.float16:
            asked = {"chronos_config": model.chronos_config, "device": torch.device("cpu")}
            call.model = SimpleNamespace(encode=model.encode_on_host, **asked)
        with planless_attention(model.device.type):
            return super(Chronos2VariantPipeline, call).embed(inputs, batch_size, context_length)
