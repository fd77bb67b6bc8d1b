"""A task's data a few thousand series at a time, so that memory does not grow with their number."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.datasets import ROWS_AT_ONCE
from study.series_table import TIMESTAMP
from study.suites import Suite, TaskSpec, fev_task

if TYPE_CHECKING:
    import fev


@dataclass(frozen=True)
class Piece:
    """The part of each data set that one of several jobs works on.

    Attributes
    ----------
    index, count:
        This is piece `index` of `count`, counted from 0.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, scatteritem: str) -> Piece:
        """Read Snakemake's scatter item, ``"2-of-8"``."""
        index, count = scatteritem.split("-of-")
        return cls(int(index) - 1, int(count))

    def rows(self, n: int, multiple: int = 1) -> range:
        """Return this piece's share of n rows, cut at multiples of `multiple` rows."""
        units = -(-n // multiple)
        first, last = (units * i // self.count * multiple for i in (self.index, self.index + 1))
        return range(min(first, n), min(last, n))


WHOLE = Piece()


def task_slices(
    task: TaskSpec,
    suite: Suite,
    data_path: Path,
    *,
    piece: Piece = WHOLE,
    multiple: int = 1,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Iterator[fev.Task]:
    """Load a task on consecutive rows of its data set.

    A data set that fits is loaded as it is. fev drops series that are too short for a window, and
    refuses a slice in which none is long enough, see `study.windows.context_of`.

    Parameters
    ----------
    task, suite, data_path:
        See `study.suites.fev_task`.
    piece:
        Part of the rows.
    multiple:
        Pieces are cut at multiples of so many rows.
    rows_at_once:
        Most rows of a slice.

    Yields
    ------
    The task on each slice, its data loaded, in the order of the data set, which is fev's.

    Raises
    ------
    InputError
        If the task has several windows and no series is long enough for the first.
    """
    total = pq.read_metadata(data_path).num_rows
    if task.num_windows > 1:
        task.check_length(longest_series(data_path), str(data_path))
    rows = piece.rows(total, multiple)
    if len(rows) == total <= rows_at_once:
        yield fev_task(task, suite, data_path)
        return
    for start in range(rows.start, rows.stop, rows_at_once):
        table = read_rows(data_path, range(start, min(start + rows_at_once, rows.stop)))
        with tempfile.TemporaryDirectory(prefix="slice-") as folder:
            path = Path(folder, data_path.name)
            pq.write_table(table, path)
            del table
            yield fev_task(task, suite, path)


def longest_series(path: Path) -> int:
    """Return the number of time steps of a data set's longest series."""
    batches = pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE, columns=[TIMESTAMP])
    return max(pc.max(pc.list_value_length(batch[TIMESTAMP])).as_py() for batch in batches)


def read_rows(path: Path, rows: range) -> pa.Table:
    """Read consecutive rows of a Parquet file, opening only the row groups that hold them."""
    file = pq.ParquetFile(path)
    tables, first = [], 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        low, high = max(rows.start - first, 0), min(rows.stop - first, count)
        if low < high:
            tables.append(file.read_row_group(group).slice(low, high - low))
        first += count
    return pa.concat_tables(tables)
