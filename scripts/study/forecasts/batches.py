"""The series of one evaluation window, and which of them see each other in a forecast."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import fev
import numpy as np

from chronos2_attention import AttentionVariant, Chronos2VariantPipeline
from chronos2_attention.batching import batches_by_cutoff
from chronos2_attention.similarity import SimilaritySettings, similarity
from study.config.models import context_limit
from study.config.suites import Suite
from study.forecasts.files import RowWriter, SimilarityFile
from study.forecasts.slices import task_slices
from study.forecasts.windows import contexts, last_timestamps, windows_of
from study.jobs.progress import progress

log = logging.getLogger("study.similarity")


class ForecastSettings(NamedTuple):
    """Settings `forecast` on which results depend, the same wherever a model runs.

    `batch_size` is the most series in a batch, `context_length` the most observations of context,
    None for the model's own limit, `seed` that of all that is drawn.
    """

    batch_size: int
    context_length: int | None = None
    seed: int = 0

    @classmethod
    def of(cls, forecast: Mapping[str, Any]) -> ForecastSettings:
        """Take them from the part `forecast` of the settings."""
        return cls(*(forecast[name] for name in cls._fields))

    def limit(self, pipeline: Chronos2VariantPipeline) -> int:
        """Return the most observations of context that the model is given."""
        return context_limit(self.context_length, pipeline.model_context_length)


@dataclass(frozen=True)
class WindowBatches:
    """The contexts of one window's n series: float32, oldest value first, NaN where missing.

    `cutoffs`, datetime64 of shape (n,), are the times of the series' last values.
    """

    series: list[np.ndarray]
    item_ids: list[str]
    cutoffs: np.ndarray
    task_name: str
    window_index: int
    target: str
    horizon: int
    batch_size: int

    @classmethod
    def of(
        cls, evaluation: fev.Task, batch_size: int, most: int | None = None
    ) -> Iterator[WindowBatches]:
        """Read the contexts of the windows (of the first `most`) that some series can fill."""
        for index, window, past in windows_of(evaluation, most):
            yield cls(
                series=contexts(past, window.target_columns[0]),
                item_ids=past.data.table.column(window.id_column).to_pylist(),
                cutoffs=last_timestamps(past, window.timestamp_column),
                task_name=evaluation.task_name,
                window_index=index,
                target=window.target_columns[0],
                horizon=window.horizon,
                batch_size=batch_size,
            )

    @property
    def lengths(self) -> np.ndarray:
        """Observations of each series, missing ones included: int64, shape (n,)."""
        return np.fromiter(map(len, self.series), np.int64, len(self.series))

    def batches(self, variant: AttentionVariant) -> list[np.ndarray]:
        """Return index arrays: the batches of a variant that mixes series, else all in one."""
        if not variant.mixes_series:
            return [np.arange(len(self.series))]
        cutoffs = np.zeros(len(self.series)) if variant.leaking else self.cutoffs
        return batches_by_cutoff(cutoffs, self.batch_size)

    def mixing(
        self,
        batch: np.ndarray,
        variant: AttentionVariant,
        similarities: SimilarityFile | None,
        seed: int,
    ) -> dict[str, Any]:
        """Return what `Chronos2VariantPipeline.predict` is told of a batch whose series mix.

        The seed belongs to the batch, whichever job forecasts it.
        """
        if not variant.mixes_series:
            return {}
        ids = [self.item_ids[index] for index in batch]
        name = f"{self.task_name}/{self.window_index}/{ids[0]}"
        told = {"cutoffs": self.cutoffs[batch], "seed": (seed, crc32(name.encode()))}
        if similarities is not None:
            told["similarity"] = similarities.batch(self.task_name, self.window_index, ids)
        return told


def write_similarities(
    suite: Suite,
    data_paths: Mapping[str, Path],
    writer: RowWriter,
    measure: str,
    settings: SimilaritySettings,
    *,
    batch_size: int,
    context_length: int,
) -> None:
    """Measure the similarities of all batches of a suite and write them batch by batch.

    `context_length` is the most observations of context that the model sees.
    """
    for task in progress(suite.tasks, desc=f"similarity {measure}", unit="task"):
        counts: Counter[int] = Counter()
        for evaluation in task_slices(task, suite, data_paths[task.dataset]):
            for window in WindowBatches.of(evaluation, batch_size):
                for batch in batches_by_cutoff(window.cutoffs, batch_size):
                    series = [window.series[index][-context_length:] for index in batch]
                    writer.write(
                        task_name=task.name,
                        window_index=window.window_index,
                        batch=counts[window.window_index],
                        item_id=[window.item_ids[index] for index in batch],
                        similarity=similarity(series, measure, settings),
                    )
                    counts[window.window_index] += 1
        log.info("%s: %d batches", task.name, counts.total())
