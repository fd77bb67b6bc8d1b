"""An fev evaluation window as flat arrays: series end to end, (total,), beside their lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import fev
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fev.metrics import get_metric

from chronos2_attention.errors import InputError, quote
from study.config.suites import Suite, TaskSpec
from study.data.series_table import TIMESTAMP, number_columns, quiet_frequencies


def flat_series(data: datasets.Dataset, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a list column as flat values, float64 (total,), and lengths, int64 (n_series,)."""
    lists = data.data.table.column(column)
    values = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(lists).to_numpy()
    return np.asarray(values, dtype=np.float64), np.asarray(lengths, dtype=np.int64)


def lagged_differences(
    values: np.ndarray, lengths: np.ndarray, lag: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return y[t] - y[t - lag] within each flat series, (m,), NaN where missing, and its series."""
    series = np.repeat(np.arange(len(lengths)), lengths)
    # A pair `lag` apart in the flat array counts only if both ends are of one series.
    within = series[lag:] == series[:-lag]
    differences = values[lag:][within] - values[:-lag][within]
    return differences, series[lag:][within]


def last_timestamps(data: datasets.Dataset, column: str) -> np.ndarray:
    """Return the last time stamp of each series, its cutoff: datetime64, shape (n_series,)."""
    lists = data.data.table.column(column)
    ends = np.cumsum(pc.list_value_length(lists).to_numpy())
    return pc.list_flatten(lists).to_numpy()[ends - 1]


def staggered_tasks(suite: Suite, data_paths: Mapping[str, Path]) -> list[str]:
    """Return the tasks whose windows have several cutoffs, since their series end as they do."""
    ends = {}
    for name, path in data_paths.items():
        stamps = datasets.Dataset(pq.read_table(path, columns=[TIMESTAMP]), fingerprint=name)
        ends[name] = len(np.unique(last_timestamps(stamps, TIMESTAMP)))
    counted = [task for task in suite.tasks if not isinstance(task.initial_cutoff, str)]
    return [task.name for task in counted if ends[task.dataset] > 1]


def contexts(past: datasets.Dataset, column: str) -> list[np.ndarray]:
    """Return one list column of n series as n arrays of float32, as models take them."""
    values, lengths = flat_series(past, column)
    return np.split(values.astype(np.float32), np.cumsum(lengths)[:-1])


def rows_of(window: fev.EvaluationWindow) -> list[str]:
    """Return the columns that are series of an item: targets and covariates."""
    columns = window.target_columns, window.known_dynamic_columns, window.past_dynamic_columns
    return [name for part in columns for name in part]


def preparing(window: fev.EvaluationWindow, ids: list[str]) -> Callable[[Sequence[int]], list[Any]]:
    """Return what prepares items by places in `ids`; categories are numbered over those given."""
    # Late, since most jobs that read windows need no torch, whose import takes longer than they do.
    from chronos.chronos2 import Chronos2Pipeline
    from chronos.chronos2.preprocess import from_data_frame

    past, future, targets = Chronos2Pipeline._fev_window_to_df(window, as_univariate=False)
    names = {"id_column": window.id_column, "timestamp_column": window.timestamp_column}

    def prepare(which: Sequence[int]) -> list[Any]:
        wanted = [ids[index] for index in which]
        frames = [f if f is None else f[f[window.id_column].isin(wanted)] for f in (past, future)]
        prepared = from_data_frame(frames[0], targets, window.horizon, frames[1], **names)
        order = dict(zip(sorted(wanted), prepared, strict=True))
        return [order[name] for name in wanted]

    return prepare


def context_of(window: fev.EvaluationWindow) -> datasets.Dataset | None:
    """Return what is known at a window's cutoff, None where all series are too short for it."""
    data = window.full_dataset
    used = [window.id_column, window.timestamp_column, *rows_of(window), *window.static_columns]
    if len(data.column_names) > len(used):
        data = data.select_columns(used)
    past, _ = fev.utils.past_future_split(
        data,
        timestamp_column=window.timestamp_column,
        cutoff=window.cutoff,
        horizon=window.horizon,
        min_context_length=window.min_context_length,
        max_context_length=window.max_context_length,
    )
    return past if len(past) else None


def windows_of(
    task: fev.Task, most: int | None = None
) -> Iterator[tuple[int, fev.EvaluationWindow, datasets.Dataset]]:
    """Yield index, window and context of those (of the first `most`) that some series can fill."""
    for index, window in enumerate(islice(task.iter_windows(num_proc=0), most)):
        past = context_of(window)
        if past is not None:
            yield index, window, past


def too_short(task_name: str, where: str = "") -> InputError:
    """Return the error to raise where no series of a task is long enough for its windows."""
    what = f"all series of task '{task_name}' are too short for its windows"
    mend = "give the task a shorter horizon, fewer windows or longer series"
    return InputError(what, where, mend)


# What a suite says of a task in fev's own words, and what is scored besides, whatever it says.
_DEFINITION = (
    *("horizon", "num_windows", "initial_cutoff", "window_step_size", "min_context_length"),
    *("max_context_length", "seasonality", "target", "generate_univariate_targets_from"),
    *("known_dynamic_columns", "past_dynamic_columns", "static_columns", "eval_metric"),
)
METRICS = ("MASE", "SQL", "WAPE", "WQL")


def epsilons(task: TaskSpec | fev.Task, scored: Sequence[str] = METRICS) -> dict[str, float]:
    """Return the least divisor of each metric that is scored or a task's, 0 where it says none."""
    metrics = map(get_metric, (*scored, task.eval_metric, *task.extra_metrics))
    return {metric.name: float(getattr(metric, "epsilon", 0.0)) for metric in metrics}


def fev_task(task: TaskSpec, suite: Suite, data_path: str | Path) -> fev.Task:
    """Return the `fev` task on a data set's file, its data loaded.

    Past the cache of `datasets`, which would hand out old data for a file that was replaced with
    its time kept. The path becomes the `dataset_path` in fev's summaries, so give it relative.
    """
    data_path = Path(data_path)
    if not data_path.is_file():
        mend = "run the rule fetch_dataset first"
        raise InputError(f"task {task.name!r} has no data", str(data_path), mend)
    definition = {name: getattr(task, name) for name in _DEFINITION}
    definition = {k: list(v) if isinstance(v, tuple) else v for k, v in definition.items()}
    if task.generate_univariate_targets_from == "__ALL__":  # also labels, to fev
        definition["generate_univariate_targets_from"] = number_columns(pq.read_schema(data_path))
    try:
        more = [metric for metric in METRICS if metric not in epsilons(task, ())]
        loaded = fev.Task(
            dataset_path=str(data_path),
            **definition,
            extra_metrics=[*task.extra_metrics, *more],
            quantile_levels=list(suite.quantile_levels),
            task_name=task.name,
        )
    except (AssertionError, ValueError, TypeError, AttributeError, KeyError) as error:
        # pydantic's first line only says how many errors there are.
        lines = str(error).splitlines() or [type(error).__name__]
        text = lines[min(1, len(lines) - 1)].partition("[type=")[0].strip()
        what, where = f"fev has no task {task.name!r}: {text}", f"suite {suite.name!r}"
        raise InputError(what, where, "mend the task") from error
    try:
        with _read_directly(), quiet_frequencies():
            # 0 is "in this process": a pool would be forked after torch has started its threads.
            ids = loaded.load_full_dataset(num_proc=0).data.table.column(loaded.id_column)
    except (AssertionError, RuntimeError, ValueError, KeyError, OSError) as error:
        cause = error.__cause__ or error.__context__ or error
        text = (str(cause).splitlines() or [type(cause).__name__])[0]
        what = f"fev cannot load task {task.name!r}: {text}"
        mend = "name columns that it has in the suite, or remove it so that it is fetched again"
        raise InputError(what, str(data_path), mend) from error
    twice = [name for name, count in Counter(ids.to_pylist()).items() if count > 1]
    if twice:
        what = f"task {task.name!r}: the series of two columns are both named {quote(twice[0])}"
        mend = "rename a series or a column: fev joins their names by an underscore"
        raise InputError(what, str(data_path), mend)
    return loaded


@contextmanager
def _read_directly() -> Iterator[None]:
    """Let fev read Parquet files as they are while the block lasts."""
    earlier = datasets.load_dataset
    datasets.load_dataset = _read
    try:
        yield
    finally:
        datasets.load_dataset = earlier


def _read(data_files: str, **_: object) -> datasets.Dataset:
    """Read a Parquet file as `datasets.load_dataset` does, by the same types, without its cache."""
    table = pq.read_table(data_files)
    schema = datasets.Features.from_arrow_schema(table.schema).arrow_schema
    return datasets.Dataset(table.cast(schema), fingerprint="file")
