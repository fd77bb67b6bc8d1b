"""A seeded sample of a task's windows and series, for measurements that need not see them all."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from study.suites import Suite, TaskSpec, fev_task
from study.windows import flat_series


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
    is the same whatever other tasks a suite has.

    Parameters
    ----------
    task, suite, data_path:
        See `study.suites.fev_task`.
    max_windows, max_series:
        Most windows of the task, and most series of a window.
    seed:
        Of the draw.
    """
    evaluation = fev_task(task, suite, data_path)
    name = zlib.crc32(task.name.encode())
    windows = _draw(np.random.default_rng([seed, name]), task.num_windows, max_windows)
    for index in windows.tolist():
        window = evaluation.get_window(index, num_proc=0)
        past, _ = window.get_input_data()
        rows = _draw(np.random.default_rng([seed, name, index]), len(past), max_series)
        values, lengths = flat_series(past.select(rows).flatten_indices(), window.target_columns[0])
        series = np.split(values.astype(np.float32), np.cumsum(lengths)[:-1])
        yield SampledWindow(index, window.horizon, series)


def _draw(rng: np.random.Generator, count: int, most: int) -> np.ndarray:
    return np.sort(rng.choice(count, size=min(count, most), replace=False))
