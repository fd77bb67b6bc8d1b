"""The file of similarities: a row a series, a row group a batch, settings in the schema.

Columns: `task_name`, `window_index` (int32), `batch` (int32, counted within a task and window),
`item_id`, and `similarity`, a list of float64: the similarities to the series of the batch, in the
order of its rows. Batches are those that a forecast forms where series see each other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chronos2_attention.errors import InputError
from study.forecasts.files import KEY_TYPES, LISTS, RowWriter, group_sizes, matrix, read_metadata

COLUMN = "similarity"

_TYPES = {
    **{name: KEY_TYPES[name] for name in ("task_name", "window_index")},
    **{"batch": pa.int32(), "item_id": pa.string(), COLUMN: LISTS},
}


class SimilarityWriter(RowWriter):
    """Write a file of similarities, one batch at a time; `metadata` holds the settings."""

    def __init__(self, path: str | os.PathLike, metadata: Mapping[str, object]) -> None:
        super().__init__(path, _TYPES, metadata)


class SimilarityFile:
    """A file of similarities, opened once and read a batch at a time."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.metadata = read_metadata(path)
        self._file = pq.ParquetFile(path)
        sizes = group_sizes(self._file)
        firsts = np.cumsum(sizes) - sizes
        keys = self._file.read(["task_name", "window_index", "item_id"]).take(firsts)
        self._group_of = {tuple(row.values()): group for group, row in enumerate(keys.to_pylist())}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def batch(self, task_name: str, window_index: int, item_ids: Sequence[str]) -> np.ndarray:
        """Return the similarities of the n series of a batch, in its order: float64, shape (n, n).

        An item belongs to one batch of a window, so the items say which: jobs that share a forecast
        need not agree on how batches are counted.
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
