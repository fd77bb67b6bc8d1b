"""A task's data a slice at a time, whole or as a seeded sample, so that memory stays bounded."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fev
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chronos2_attention.errors import InputError, quote
from study.config.suites import Suite, TaskSpec
from study.data.series_table import ID, ROWS_AT_ONCE, TIMESTAMP, number_columns
from study.forecasts.files import group_sizes
from study.forecasts.windows import context_of, contexts, fev_task, preparing, rows_of, too_short


@dataclass(frozen=True)
class Piece:
    """The part of each data set that one of several jobs works on: `index`, from 0, of `count`."""

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
    """Load a task on consecutive rows of its data, in fev's order; a slice may fill no window."""
    total = pq.read_metadata(data_path).num_rows
    if task.num_windows > 1:
        task.check_length(longest_series(data_path), str(data_path))
    rows = piece.rows(total, multiple)
    if len(rows) == total <= rows_at_once:
        yield fev_task(task, suite, data_path)
        return
    for start in range(rows.start, rows.stop, rows_at_once):
        with _task_on(task, suite, data_path, rows[start - rows.start :][:rows_at_once]) as part:
            yield part


def features_of(suite: Suite, data_paths: Mapping[str, Path]) -> Callable[[str, str], str]:
    """Return what gives a series' feature by task and item: its column, else the task's name."""
    found: dict[str, dict[str, str] | None] = {}
    for task in suite.tasks:
        columns, path = task.generate_univariate_targets_from, data_paths[task.dataset]
        if isinstance(columns, str):
            columns = number_columns(pq.read_schema(path))
        if columns is not None:
            # As fev's `generate_univariate_targets_from_multivariate` names them.
            ids = pq.read_table(path, columns=[ID])[ID].to_pylist()
            found[task.name] = {f"{item}_{column}": column for item in ids for column in columns}

    def feature(task_name: str, item_id: str) -> str:
        try:
            return found[task_name][item_id] if task_name in found else task_name
        except KeyError:
            what = f"series {quote(item_id)} is of none of the columns of the data"
            mend = "make the forecasts again"
            raise InputError(what, f"task {task_name!r}", mend) from None

    return feature


def longest_series(path: Path) -> int:
    """Return the number of time steps of a data set's longest series."""
    batches = pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE, columns=[TIMESTAMP])
    return max(pc.max(pc.list_value_length(batch[TIMESTAMP])).as_py() for batch in batches)


def read_rows(path: Path, rows: Sequence[int]) -> pa.Table:
    """Read rows of a Parquet file, ascending, opening only the row groups that hold them."""
    file = pq.ParquetFile(path)
    rows, ends = np.asarray(rows), np.cumsum(group_sizes(file))
    tables = [
        file.read_row_group(group).take(part - (ends[group - 1] if group else 0))
        for group, part in enumerate(np.split(rows, np.searchsorted(rows, ends[:-1])))
        if len(part)
    ]
    return pa.concat_tables(tables)


@contextmanager
def _task_on(
    task: TaskSpec, suite: Suite, data_path: Path, rows: Sequence[int]
) -> Iterator[fev.Task]:
    """Load a task on some rows of its data set, which lie in a folder of this block."""
    with tempfile.TemporaryDirectory(prefix="slice-") as folder:
        path = Path(folder, data_path.name)
        pq.write_table(read_rows(data_path, rows), path)
        loaded = fev_task(task, suite, path)
        loaded.dataset_path = str(data_path)  # as of the whole: the folder is another at each run
        yield loaded


@dataclass(frozen=True)
class SampledWindow:
    """Some items of the window `index` of a task, as `WindowBatches` has them."""

    index: int
    horizon: int
    items: list[Any]

    @property
    def series(self) -> list[np.ndarray]:
        """Their contexts, those of covariates included: float32 (T,), NaN where missing."""
        rows = (item["context"] if isinstance(item, dict) else [item] for item in self.items)
        return [np.asarray(row) for part in rows for row in part]


def sample_windows(
    task: TaskSpec, suite: Suite, data_path: Path, *, max_windows: int, max_series: int, seed: int
) -> Iterator[SampledWindow]:
    """Draw windows of a task and items of each, without replacement and in the task's order.

    They have `max_series` series together, covariates included, or are one item. The draw depends
    on the seed and on names of task and window alone; of a data set with more rows than fit, rows
    are drawn first.
    """
    name = zlib.crc32(task.name.encode())
    rng = np.random.default_rng([seed, name])
    windows = _draw(rng, task.num_windows, max_windows)
    total, most = pq.read_metadata(data_path).num_rows, max(ROWS_AT_ONCE, max_series)
    with (
        nullcontext(fev_task(task, suite, data_path))
        if total <= most
        else _task_on(task, suite, data_path, _draw(rng, total, most))
    ) as evaluation:
        for index in windows.tolist():
            window = evaluation.get_window(index, num_proc=0)
            past = context_of(window)
            if past is None:
                raise too_short(task.name, str(data_path))
            columns = rows_of(window)
            most = max(1, max_series // len(columns))
            rows = _draw(np.random.default_rng([seed, name, index]), len(past), most)
            if len(columns) == 1:
                items = contexts(past.select(rows).flatten_indices(), columns[0])
            else:
                ids = past.data.table.column(window.id_column).to_pylist()
                items = preparing(window, ids)(rows)
            yield SampledWindow(index, window.horizon, items)


def _draw(rng: np.random.Generator, count: int, most: int) -> np.ndarray:
    return np.sort(rng.choice(count, size=min(count, most), replace=False))
