"""Scores of forecasts: per item, window and step, and per task as fev counts them.

Of one forecast, one value a step of the horizon: `scaled_abs_error`, |y - point| / the mean |y[t] -
y[t - m]| over the context, NaN where the truth is missing or the scale zero or undefined;
`abs_error`; `truth`, y; `ql_<level>`, the quantile loss 2 |(y - q) (1[y <= q] - level)|;
`scaled_quantile_loss`, its mean over levels, by the same scale. Single numbers: `seasonal_error`,
that scale, and `wape_epsilon` and `wql_epsilon`, the least divisors of the task's WAPE and WQL.

fev's figures follow from them: for each window and target column, MASE and SQL are the means of the
scaled ones over items and steps, WAPE and WQL at a level those of `abs_error` and `ql_<level>` over
the mean of |`truth`|; means leave out NaN; then plain means over levels, columns and windows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby

import datasets
import fev
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from fev.metrics import AVAILABLE_METRICS

from chronos2_attention.errors import InputError
from study.forecasts.files import (
    KEY_TYPES,
    LISTS,
    RUN_COLUMNS,
    RowWriter,
    gather_pieces,
    matrix,
    quantile_columns,
    ratio,
    read_metadata,
    read_window,
)
from study.forecasts.windows import (
    METRICS,
    epsilons,
    flat_series,
    lagged_differences,
    too_short,
    windows_of,
)
from study.jobs.progress import progress

SEASONAL_NAIVE = "seasonal_naive"
# What is known of a task in each of its pieces.
PIECE_COLUMNS = ("task_name", "num_forecasts", "ctx_used", "num_slices")
CHANGED = "the data or the suite changed since: make the forecasts again"


def seasonal_error(values: np.ndarray, lengths: np.ndarray, seasonality: int) -> np.ndarray:
    """Mean absolute seasonal difference, the scale of MASE: float64 (n_series,), NaN of none."""
    differences, series = lagged_differences(values, lengths, seasonality)
    known = ~np.isnan(differences)
    sums = np.bincount(series[known], np.abs(differences[known]), minlength=len(lengths))
    counts = np.bincount(series[known], minlength=len(lengths))
    return ratio(sums, counts)


def score_window(
    truth: np.ndarray,
    point: np.ndarray,
    quantiles: Mapping[float, np.ndarray],
    scale: np.ndarray,
    epsilon: Mapping[str, float],
) -> dict[str, np.ndarray | float]:
    """Score the forecasts of one window and target column; return each score's matrix.

    `truth` (NaN where missing), `point` and the forecasts at each level are (n, horizon), `scale`
    is (n,), see `seasonal_error`; `epsilon` is the least divisor of each metric.
    """
    error = np.abs(truth - point)

    def usable(metric: str) -> np.ndarray:
        least = np.clip(scale, epsilon[metric], None)
        return np.where(least > 0, least, np.nan)[:, None]  # false for NaN as well

    losses = {
        f"ql_{level}": 2 * np.abs((truth - forecast) * ((truth <= forecast) - level))
        for level, forecast in quantiles.items()
    }
    return {
        "scaled_abs_error": error / usable("MASE"),
        "scaled_quantile_loss": np.mean(list(losses.values()), axis=0) / usable("SQL"),
        "abs_error": error,
        "truth": truth,
        "wape_epsilon": epsilon["WAPE"],
        "wql_epsilon": epsilon["WQL"],
    } | losses


def score_task(task: fev.Task, files: Sequence[ScoredFile]) -> list[dict[str, object]]:
    """Score the forecasts of one task in several files, cutting its windows once; write the scores.

    Returns for each file fev's `evaluation_summary`, plus `ctx_used`, the longest context given
    (time steps); of a slice that fev cannot evaluate, with too short series for a window,
    `task_name`, `num_forecasts` and `ctx_used` only.
    """
    predictions: list[list[datasets.DatasetDict]] = [[] for _ in files]
    used = [0] * len(files)
    num_forecasts = 0
    columns = ["predictions", *map(str, task.quantile_levels)]
    for index, window, past in windows_of(task):
        future = window.get_ground_truth()
        item_ids = future.data.table.column(task.id_column).to_pylist()
        num_forecasts += len(item_ids) * len(task.target_columns)
        predicted = [datasets.DatasetDict() for _ in files]
        for target in task.target_columns:
            values, _ = flat_series(future, target)
            truth = values.reshape(len(item_ids), task.horizon)
            scale = seasonal_error(*flat_series(past, target), task.seasonality)
            for number, file in enumerate(files):
                table = file.score(task, index, target, item_ids, truth, scale)
                used[number] = max(used[number], pc.max(table["context_length"]).as_py())
                # A name of our own spares the library from pickling the table to find one.
                predicted[number][target] = datasets.Dataset(
                    table.select(columns).combine_chunks(), fingerprint=f"{index}-{target}"
                )
        for found, part in zip(predictions, predicted, strict=True):
            found.append(part)
    if len(predictions[0]) < task.num_windows:
        part = {"task_name": task.task_name, "num_forecasts": num_forecasts}
        return [{**part, "ctx_used": longest} for longest in used]
    summaries = []
    for file, found, longest in zip(files, predictions, used, strict=True):
        try:
            summary = task.evaluation_summary(found, model_name=file.name)
        except ValueError as error:  # what fev raises on forecasts that are not finite
            where = f"task {task.task_name!r} in {file.forecasts}"
            raise InputError(str(error), where) from error
        summaries.append({**summary, "ctx_used": longest})
    return summaries


class ScoredFile:
    """A file of forecasts, the writer of its scores, fev's `model_name` and its `RUN_COLUMNS`."""

    def __init__(self, forecasts: str | os.PathLike, scores: str | os.PathLike) -> None:
        metadata = read_metadata(forecasts)
        missing = [key for key in ("study", "variant", "model") if not metadata.get(key)]
        if missing:
            raise InputError(f"no metadata {missing}", str(forecasts), "make the forecasts again")
        variant, levels = metadata["variant"], quantile_columns(pq.read_schema(forecasts).names)
        lists = ["scaled_abs_error", "scaled_quantile_loss", "abs_error", "truth"]
        lists += [f"ql_{q}" for q in levels]
        numbers = ("seasonal_error", "wape_epsilon", "wql_epsilon")
        types = {**KEY_TYPES, **dict.fromkeys(lists, LISTS), **dict.fromkeys(numbers, pa.float64())}
        self.forecasts, self.source = forecasts, pads.dataset(forecasts)  # opened once
        self.writer = RowWriter(scores, types, metadata)
        self.name = variant if variant == SEASONAL_NAIVE else f"{metadata['model']}/{variant}"
        self.run = {column: metadata.get(column, "") for column in RUN_COLUMNS}

    def score(
        self,
        task: fev.Task,
        window_index: int,
        target: str,
        item_ids: list[str],
        truth: np.ndarray,
        scale: np.ndarray,
    ) -> pa.Table:
        """Write the scores of a window and target; return its forecasts in fev's order."""
        span = (min(item_ids), max(item_ids))
        table = read_window(self.source, task.task_name, window_index, target, span)
        where = f"{self.forecasts}, task {task.task_name!r}, window {window_index}"
        levels = list(map(str, task.quantile_levels))
        if levels != quantile_columns(table.column_names):
            what = f"forecasts at levels {quantile_columns(table.column_names)}, not {levels}"
            raise InputError(what, where, "the suite changed since: make the forecasts again")
        wanted = pa.array(item_ids, pa.string())
        order = pc.index_in(wanted, table["item_id"].combine_chunks().cast(pa.string()))
        if order.null_count or len(item_ids) != table.num_rows:
            what = f"{table.num_rows} forecasts for {len(item_ids)} items"
            what += f" ({order.null_count} items without one)"
            raise InputError(what, where, CHANGED)
        table = table.take(order)
        point, *found = (matrix(table[name], where) for name in ("predictions", *levels))
        if point.shape[1] != task.horizon:
            what = f"forecasts have {point.shape[1]} steps, the task {task.horizon}"
            raise InputError(what, where, "make the forecasts again")
        quantiles = dict(zip(task.quantile_levels, found, strict=True))
        self.writer.write(
            task_name=task.task_name,
            window_index=window_index,
            target=target,
            item_id=item_ids,
            seasonal_error=scale,
            **score_window(truth, point, quantiles, scale, epsilons(task)),
        )
        return table


def score_files(
    tasks: Iterable[fev.Task],
    *paths: tuple[str | os.PathLike, str | os.PathLike],
    total: int | None = None,
    is_piece: bool = False,
) -> list[pd.DataFrame]:
    """Score files of forecasts of one suite, each with the file of scores to write, task by task.

    Consecutive `tasks` of one name are slices of its data. Returns a table a file, with one row a
    task: fev's summary, unchanged, then `ctx_used` and `RUN_COLUMNS`. If the tasks hold a part of
    the series only (`is_piece`), the tables are for `gather_scores`: they also have `num_slices`,
    means are those of some slice, and a task may lack all but `PIECE_COLUMNS`.
    """
    rows: list[list[dict[str, object]]] = [[] for _ in paths]
    with ExitStack() as stack:
        files = [ScoredFile(*pair) for pair in paths]
        for file in files:
            stack.enter_context(file.writer)
        names = " ".join(file.name for file in files)
        bar = progress(desc=f"score {names}", unit="task", total=total)
        for task_name, slices in groupby(tasks, key=lambda task: task.task_name):
            bar.set_postfix_str(task_name)
            by_file = zip(*(score_task(part, files) for part in slices), strict=True)
            for file, found, summaries in zip(files, rows, by_file, strict=True):
                found.append({**_joined(summaries), **file.run})
            bar.update()
        bar.close()
    if is_piece:  # which may hold no series of any task
        return [pd.DataFrame(found, columns=None if found else PIECE_COLUMNS) for found in rows]
    return [_table(found, *pair) for found, pair in zip(rows, paths, strict=True)]


def gather_scores(
    pieces: Sequence[str | os.PathLike],
    tables: Sequence[str | os.PathLike],
    forecasts: str | os.PathLike,
    path: str | os.PathLike,
    tasks: Sequence[str],
) -> pd.DataFrame:
    """Join the scores of pieces of a suite's series, in their order, into what `score_files` gives.

    `pieces` are files of scores, `tables` the CSV files that `score_files` gave with them. What
    fev's summaries say alike in all pieces is text.
    """
    gather_pieces(pieces, path, tasks)
    numbers = dict.fromkeys(PIECE_COLUMNS[1:], int) | dict.fromkeys((*METRICS, "test_error"), float)
    found: dict[str, list[dict[str, object]]] = {name: [] for name in tasks}
    columns: list[str] = []
    for table in tables:
        # As text, or an empty cell would make floats of a column of integers.
        frame = pd.read_csv(table, dtype=str, keep_default_na=False, na_values=[""])
        frame = frame.astype({c: kind for c, kind in numbers.items() if c in frame})
        columns = max(columns, list(frame.columns), key=len)
        for row in frame.to_dict("records"):
            known = {column: value for column, value in row.items() if not pd.isna(value)}
            found[known["task_name"]].append(known)
    rows = [_joined(summaries) for summaries in found.values() if summaries]
    return _table(rows, forecasts, path).reindex(columns=[c for c in columns if c != "num_slices"])


def _table(
    rows: list[dict[str, object]], forecasts: str | os.PathLike, scores: str | os.PathLike
) -> pd.DataFrame:
    """Check that all forecasts were scored, and take the means of sliced tasks from the scores."""
    for row in rows:
        if "model_name" not in row:
            raise too_short(row["task_name"])
    table = pd.DataFrame(rows)
    sliced = table.pop("num_slices") > 1
    asked, done = (pq.read_metadata(path).num_rows for path in (forecasts, scores))
    if asked != done:
        raise InputError(f"{asked} forecasts for {done} items", str(forecasts), CHANGED)
    if sliced.any():
        # fev's means over slices do not add up to its mean over all; those of the scores do.
        whole = aggregate_scores(scores).set_index("task_name")
        for metric in METRICS:
            values = table["task_name"].map(whole[metric])
            table[metric] = table[metric].where(~sliced, values)
        # Of other metrics there is no figure: that of a slice would be wrong.
        others = sorted({*AVAILABLE_METRICS, "test_error"} & {*table} - {*METRICS})
        table.loc[sliced, others] = np.nan
        for metric in METRICS:
            named = table["eval_metric"].astype(str).str.contains(rf"\b{metric}\b", case=False)
            table["test_error"] = table["test_error"].where(~(sliced & named), table[metric])
    return table


def _joined(summaries: Sequence[dict[str, object]]) -> dict[str, object]:
    """Join the summaries of a task's slices or pieces; means are left to the caller."""
    whole = [summary for summary in summaries if "model_name" in summary]
    joined = {**(whole or summaries)[0]}
    joined["num_slices"] = sum(summary.get("num_slices", 1) for summary in summaries)
    joined["num_forecasts"] = sum(summary["num_forecasts"] for summary in summaries)
    joined["ctx_used"] = max(summary["ctx_used"] for summary in summaries)
    if len(summaries) > 1 and whole:
        prints = "".join(str(summary["dataset_fingerprint"]) for summary in whole)
        joined["dataset_fingerprint"] = hashlib.sha256(prints.encode()).hexdigest()[:16]
    return joined


def run_of(perf: pd.DataFrame) -> dict[str, object]:
    """What a table of performance says of its run: the values of `RUN_COLUMNS` in its first row."""
    return {} if perf.empty else perf.iloc[0].reindex(RUN_COLUMNS).dropna().to_dict()


def aggregate_scores(path: str | os.PathLike) -> pd.DataFrame:
    """Compute `METRICS` of each task from a file of scores, as fev counts them."""
    file = pq.ParquetFile(path)
    losses = [c for c in file.schema_arrow.names if c.startswith("ql_")]
    columns = ["scaled_abs_error", "scaled_quantile_loss", "abs_error", "truth", *losses]
    least: dict[tuple, list[float]] = {}
    totals: dict[tuple, np.ndarray] = {}  # (sums, counts) of the columns
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        if not table.num_rows:
            continue
        key = tuple(table.column(k)[0].as_py() for k in ("task_name", "window_index", "target"))
        part = np.array([_sum_and_count(table, column) for column in columns]).T
        totals[key] = totals.get(key, 0) + part
        least[key] = [table.column(name)[0].as_py() for name in ("wape_epsilon", "wql_epsilon")]
    parts = []
    for key, (sums, counts) in totals.items():
        # A mean over nothing is NaN, as in fev.
        mase, sql, error, target, *loss = ratio(sums, counts)
        shares = zip((error, np.mean(loss)), np.maximum(target, least[key]), strict=True)
        wape, wql = (share / size if size else np.nan for share, size in shares)
        parts.append((*key, mase, sql, wape, wql))
    frame = pd.DataFrame(parts, columns=["task_name", "window_index", "target", *METRICS])
    # A window or column without a value leaves the task without one, as in fev.
    for keys in (["task_name", "window_index"], ["task_name"]):
        groups = frame.groupby(keys, sort=False, as_index=False)[list(METRICS)]
        frame = groups.agg(lambda values: float(np.mean(values.to_numpy())))
    return frame[["task_name", *METRICS]]


def _sum_and_count(table: pa.Table, column: str) -> tuple[float, int]:
    values = table.column(column).combine_chunks().flatten().to_numpy(zero_copy_only=False)
    known = values[~np.isnan(values)]
    return float((np.abs(known) if column == "truth" else known).sum()), len(known)
