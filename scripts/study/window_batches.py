"""The series of one evaluation window, and which of them see each other in a forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from chronos2_attention import AttentionVariant
from chronos2_attention.batching import batches_by_cutoff
from study.windows import context_of, flat_series, last_timestamps

if TYPE_CHECKING:
    import fev

    from study.similarity_files import SimilarityFile


@dataclass(frozen=True)
class WindowBatches:
    """The contexts of one window.

    Attributes
    ----------
    series:
        n arrays of float32, oldest value first, NaN where missing.
    item_ids:
        n identifiers.
    cutoffs:
        datetime64, shape (n,): the time of each series' last value.
    task_name, window_index:
        Which window.
    batch_size:
        Most series in a batch.
    """

    series: list[np.ndarray]
    item_ids: list[str]
    cutoffs: np.ndarray
    task_name: str
    window_index: int
    batch_size: int

    @classmethod
    def of(
        cls, window: fev.EvaluationWindow, task_name: str, window_index: int, batch_size: int
    ) -> WindowBatches | None:
        """Read the contexts of a window; None where all its series are too short for it.

        Values are single precision, as the model reads them.
        """
        past = context_of(window)
        if past is None:
            return None
        values, lengths = flat_series(past, window.target_columns[0])
        return cls(
            series=np.split(values.astype(np.float32), np.cumsum(lengths)[:-1]),
            item_ids=past.data.table.column(window.id_column).to_pylist(),
            cutoffs=last_timestamps(past, window.timestamp_column),
            task_name=task_name,
            window_index=window_index,
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
