"""The file of similarities: a row a series, a row group a batch, settings in the schema.

Columns: `task_name`, `window_index` (int32), `batch` (int32, counted within a task and window),
`item_id`, and `similarity`, a list of float64: the similarities to the series of the batch, in the
order of its rows. Batches are those that a forecast forms where series see each other.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chronos2_attention.batching import batches_by_cutoff
from chronos2_attention.errors import InputError
from chronos2_attention.similarity import SimilaritySettings, similarity
from study.forecast_files import list_column, matrix, read_metadata
from study.models import context_limit
from study.progress import progress
from study.slices import task_slices
from study.suites import Suite
from study.window_batches import WindowBatches

log = logging.getLogger("study.similarity")

COLUMN = "similarity"
_FIELDS = [
    pa.field("task_name", pa.string()),
    pa.field("window_index", pa.int32()),
    pa.field("batch", pa.int32()),
    pa.field("item_id", pa.string()),
    pa.field(COLUMN, pa.list_(pa.float64())),
]


class SimilarityWriter:
    """Write a file of similarities, one batch at a time.

    Parameters
    ----------
    path:
        File to write; wrap it in `study.files.atomic_path`.
    metadata:
        Key/value strings for the file's schema: study, measure, settings, batch size.
    """

    def __init__(self, path: str | os.PathLike, metadata: Mapping[str, object]) -> None:
        texts = {str(key): str(value) for key, value in metadata.items()}
        self._schema = pa.schema(_FIELDS, metadata=texts)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> SimilarityWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def write(
        self,
        task_name: str,
        window_index: int,
        batch: int,
        item_ids: Sequence[str],
        similarities: np.ndarray,
    ) -> None:
        """Append a batch of n series: their ids, and the matrix (n, n) of their similarities."""
        n = len(item_ids)
        columns = [
            pa.array([task_name] * n, pa.string()),
            pa.array(np.full(n, window_index), pa.int32()),
            pa.array(np.full(n, batch), pa.int32()),
            pa.array(item_ids, pa.string()),
            list_column(similarities),
        ]
        table = pa.table(columns, schema=self._schema)
        self._writer.write_table(table, row_group_size=max(1, n))


class SimilarityFile:
    """A file of similarities, read a batch at a time.

    Parameters
    ----------
    path:
        The file; opened once, and no similarity is read before it is asked for.

    Attributes
    ----------
    metadata:
        Key/value strings of the file's schema.

    Raises
    ------
    InputError
        If the file is no Parquet file.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.metadata = read_metadata(path)
        self._file = pq.ParquetFile(path)
        sizes = [
            self._file.metadata.row_group(group).num_rows
            for group in range(self._file.num_row_groups)
        ]
        firsts = (np.cumsum(sizes) - sizes).astype(np.int64)
        keys = self._file.read(["task_name", "window_index", "item_id"]).take(firsts)
        self._group_of = {tuple(row.values()): group for group, row in enumerate(keys.to_pylist())}

    def __enter__(self) -> SimilarityFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def batch(self, task_name: str, window_index: int, item_ids: Sequence[str]) -> np.ndarray:
        """Return the similarities of one batch.

        An item belongs to one batch of a window, so the items say which: jobs that share a
        forecast need not agree on how batches are counted.

        Parameters
        ----------
        item_ids:
            The batch's n series, in its order.

        Returns
        -------
        float64, shape (n, n).

        Raises
        ------
        InputError
            If the file has no batch of exactly these series in this order.
        """
        group = self._group_of.get((task_name, window_index, item_ids[0]))
        rows = None
        if group is not None:
            rows = self._file.read_row_group(group, ["item_id", COLUMN])
        if rows is None or rows["item_id"].to_pylist() != list(item_ids):
            raise InputError(
                f"no similarities of a batch of {len(item_ids)} series from {item_ids[0]!r} "
                f"(task {task_name!r}, window {window_index})",
                str(self.path),
                "make the file again with the batch size and the suite of the forecast",
            )
        return matrix(rows[COLUMN], str(self.path))


def seen_by_model(config: str | os.PathLike, context_length: int | None) -> int:
    """Return the most observations of context that a model is given.

    Parameters
    ----------
    config:
        The model's ``config.json``.
    context_length:
        The setting; None for the model's own limit.

    Raises
    ------
    InputError
        If the setting exceeds the limit.
    """
    with open(config, encoding="utf-8") as handle:
        limit = int(json.load(handle)["chronos_config"]["context_length"])
    return context_limit(context_length, limit)


def write_similarities(
    suite: Suite,
    data_paths: Mapping[str, Path],
    writer: SimilarityWriter,
    measure: str,
    settings: SimilaritySettings,
    *,
    batch_size: int,
    context_length: int,
) -> None:
    """Measure the similarities of all batches of a suite and write them batch by batch.

    Parameters
    ----------
    suite:
        Its tasks.
    data_paths:
        Data set name to Parquet file.
    writer:
        Receives the batches.
    measure, settings:
        See `chronos2_attention.similarity.similarity`.
    batch_size:
        Most series in a batch.
    context_length:
        Most observations of context, as the model sees them.
    """
    for task in progress(suite.tasks, desc=f"similarity {measure}", unit="task"):
        counts: Counter[int] = Counter()
        for evaluation in task_slices(task, suite, data_paths[task.dataset]):
            for window_index, window in enumerate(evaluation.iter_windows(num_proc=0)):
                batches = WindowBatches.of(window, task.name, window_index, batch_size)
                if batches is None:
                    continue
                for batch in batches_by_cutoff(batches.cutoffs, batch_size):
                    series = [batches.series[index][-context_length:] for index in batch]
                    writer.write(
                        task.name,
                        window_index,
                        counts[window_index],
                        [batches.item_ids[index] for index in batch],
                        similarity(series, measure, settings),
                    )
                    counts[window_index] += 1
        log.info("%s: %d batches", task.name, counts.total())
