"""A seeded sample of a task's windows and series, for measurements that need not see them all."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fev
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chronos2_attention.errors import InputError
from study.datasets import ROWS_AT_ONCE
from study.suites import Suite, TaskSpec, fev_task
from study.windows import context_of, flat_series


@dataclass(frozen=True)
class SampledWindow:
    """Some series of one evaluation window.

    Attributes
    ----------
    index:
        The window's position in its task.
    horizon:
        Steps to forecast.
    series:
        Contexts, float32 arrays of shape (T,), NaN where missing.
    """

    index: int
    horizon: int
    series: list[np.ndarray]


def sample_windows(
    task: TaskSpec,
    suite: Suite,
    data_path: Path,
    *,
    max_windows: int,
    max_series: int,
    seed: int,
) -> Iterator[SampledWindow]:
    """Draw windows of a task and series of each, without replacement and in the task's order.

    The draw depends on the seed and on the names of task and window alone, so that a task's sample
    is the same whatever other tasks a suite has. Of a data set with more rows than fit, rows are
    drawn first.

    Parameters
    ----------
    task, suite, data_path:
        See `study.suites.fev_task`.
    max_windows, max_series:
        Most windows of the task, and most series of a window.
    seed:
        Of the draw.

    Raises
    ------
    InputError
        If all series are too short for a window.
    """
    name = zlib.crc32(task.name.encode())
    rng = np.random.default_rng([seed, name])
    windows = _draw(rng, task.num_windows, max_windows)
    with _loaded(task, suite, data_path, max(ROWS_AT_ONCE, max_series), rng) as evaluation:
        for index in windows.tolist():
            window = evaluation.get_window(index, num_proc=0)
            past = context_of(window)
            if past is None:
                raise InputError(
                    f"all series of task '{task.name}' are too short for its window {index}",
                    str(data_path),
                    "give the task a shorter horizon, fewer windows or longer series",
                )
            rows = _draw(np.random.default_rng([seed, name, index]), len(past), max_series)
            drawn = past.select(rows).flatten_indices()
            values, lengths = flat_series(drawn, window.target_columns[0])
            series = np.split(values.astype(np.float32), np.cumsum(lengths)[:-1])
            yield SampledWindow(index, window.horizon, series)


@contextmanager
def _loaded(
    task: TaskSpec, suite: Suite, data_path: Path, max_rows: int, rng: np.random.Generator
) -> Iterator[fev.Task]:
    """Load a task on its data set, or on some rows of it where it has more than `max_rows`."""
    file = pq.ParquetFile(data_path)
    total = file.metadata.num_rows
    if total <= max_rows:
        yield fev_task(task, suite, data_path)
        return
    rows = _draw(rng, total, max_rows)
    tables, first = [], 0
    for group in range(file.num_row_groups):
        last = first + file.metadata.row_group(group).num_rows
        inside = rows[(rows >= first) & (rows < last)] - first
        tables.append(file.read_row_group(group).take(inside))
        first = last
    with tempfile.TemporaryDirectory(prefix="sample-") as folder:
        path = Path(folder, data_path.name)
        pq.write_table(pa.concat_tables(tables), path)
        yield fev_task(task, suite, path)


def _draw(rng: np.random.Generator, count: int, most: int) -> np.ndarray:
    return np.sort(rng.choice(count, size=min(count, most), replace=False))
