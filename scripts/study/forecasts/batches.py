"""The items of one evaluation window, and which of them see each other in a forecast."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import fev
import numpy as np
import torch

from chronos2_attention import AttentionVariant, Chronos2VariantPipeline
from chronos2_attention.blocks import Block, form_blocks
from chronos2_attention.similarity import SimilaritySettings, similarity
from chronos2_attention.variants import Grouped
from study.config.models import context_limit
from study.config.suites import Suite
from study.forecasts.files import RowWriter, SimilarityFile
from study.forecasts.slices import task_slices
from study.forecasts.windows import (
    contexts,
    flat_series,
    last_timestamps,
    preparing,
    rows_of,
    windows_of,
)
from study.jobs.progress import progress

log = logging.getLogger("study.similarity")


class ForecastSettings(NamedTuple):
    """Settings `forecast` that results depend on; a `context_length` of None is the model's own."""

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
    """The n items of one window, as `Chronos2VariantPipeline.predict` takes them.

    Without covariates and with one target items are contexts, float32, oldest value first, NaN
    where missing; others have been prepared by upstream. `cutoffs`, datetime64 (n,), are the items'
    last times, `sizes` (n,) their series, covariates included, `groups` their values of each static
    column.
    """

    items: list[Any]
    prepare: Callable[[Sequence[int]], list[Any]] | None
    item_ids: list[str]
    cutoffs: np.ndarray
    lengths: np.ndarray
    sizes: np.ndarray
    groups: dict[str, list[Any]]
    task_name: str
    window_index: int
    targets: list[str]
    horizon: int
    batch_size: int

    @classmethod
    def of(
        cls, evaluation: fev.Task, batch_size: int, most: int | None = None
    ) -> Iterator[WindowBatches]:
        """Read the items of the windows (of the first `most`) that some series can fill."""
        for index, window, past in windows_of(evaluation, most):
            ids = past.data.table.column(window.id_column).to_pylist()
            columns = rows_of(window)
            lengths = flat_series(past, window.target_columns[0])[1]
            prepare = None if len(columns) == 1 else preparing(window, ids)
            yield cls(
                items=list(map(torch.from_numpy, contexts(past, columns[0])))
                if prepare is None
                else prepare(range(len(ids))),
                prepare=prepare,
                item_ids=ids,
                cutoffs=last_timestamps(past, window.timestamp_column),
                lengths=lengths,
                sizes=np.full(len(ids), len(columns)),
                groups={c: past.data.table.column(c).to_pylist() for c in window.static_columns},
                task_name=evaluation.task_name,
                window_index=index,
                targets=list(window.target_columns),
                horizon=window.horizon,
                batch_size=batch_size,
            )

    @property
    def values(self) -> int:
        """Values of context and, at 21 quantiles, of forecast: what it holds in memory."""
        return int((self.lengths * self.sizes).sum() + 21 * self.horizon * self.sizes.sum())

    @property
    def is_plain(self) -> bool:
        """Whether items are contexts alone."""
        return isinstance(self.items[0], torch.Tensor)

    def rows(self, batch: np.ndarray) -> list[np.ndarray]:
        """Return the series of some items, covariates included, each float32."""
        found = [self.items[index] for index in batch]
        if self.is_plain:
            return [item.numpy() for item in found]
        return [row.numpy() for item in found for row in item["context"]]

    def blocks(
        self, variant: AttentionVariant, similarities: SimilarityFile | None, seed: int
    ) -> list[tuple[np.ndarray, Block]]:
        """Return a mixing variant's blocks and their items; a block's seed is that of any job."""
        cutoffs = np.zeros(len(self.items)) if variant.leaking else self.cutoffs
        labels = self.groups.get(getattr(variant, "column", ""))
        if isinstance(variant, Grouped) and labels is None:  # as `full`
            labels = list(range(len(self.items)))
        options = self.batch_size, cutoffs, labels, None, seed
        found, items = [], list(self.items)
        alike = [np.flatnonzero(cutoffs == cutoff) for cutoff in np.unique(cutoffs)]
        if self.prepare is not None and len(alike) > 1:
            # A category of a later cutoff must not change the numbers of earlier ones.
            for which in alike:
                for index, item in zip(which, self.prepare(which), strict=True):
                    items[index] = item
        for batch, block in zip(*form_blocks(items, self.sizes, *options), strict=True):
            ids = [self.item_ids[index] for index in batch]
            name = f"{self.task_name}/{self.window_index}/{ids[0]}"
            given = None
            if similarities is not None:
                ids = np.repeat(ids, self.sizes[batch]).tolist()
                given = similarities.batch(self.task_name, self.window_index, ids)
            block = Block(block.inputs, given, (seed, crc32(name.encode()), 0, 0))
            found.append((batch, block))
        return found


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
    """Measure and write similarities by batch, on the last `context_length` observations."""
    for task in progress(suite.tasks, desc=f"similarity {measure}", unit="task"):
        counts: Counter[int] = Counter()
        for evaluation in task_slices(task, suite, data_paths[task.dataset]):
            for window in WindowBatches.of(evaluation, batch_size):
                joint = AttentionVariant.parse("joint")
                for batch, _ in window.blocks(joint, None, 0):
                    series = [row[-context_length:] for row in window.rows(batch)]
                    ids = [window.item_ids[index] for index in batch]
                    writer.write(
                        task_name=task.name,
                        window_index=window.window_index,
                        batch=counts[window.window_index],
                        item_id=np.repeat(ids, window.sizes[batch]).tolist(),
                        similarity=similarity(series, measure, settings),
                    )
                    counts[window.window_index] += 1
        log.info("%s: %d batches", task.name, counts.total())
