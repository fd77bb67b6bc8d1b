"""Forecasts and scores as matrices in the baseline's order, and how many share a batch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from chronos2_attention.errors import InputError
from study.evaluation.clusters import Pairs, covered, pairs_of
from study.forecasts.files import (
    KEY_COLUMNS,
    group_sizes,
    matrix,
    quantile_columns,
    ratio,
    read_metadata,
)


@dataclass(frozen=True)
class TaskForecasts:
    """One method's forecasts of a task: n rows, each of one series, window and target column.

    Float64, (n, horizon): median, lowest and highest quantile level, and absolute errors over the
    seasonal error, NaN where there is none; `loss`, (n,): mean quantile loss over levels and steps.
    """

    point: np.ndarray
    low: np.ndarray
    high: np.ndarray
    scaled_error: np.ndarray
    loss: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """MASE of each forecast, float64, shape (n,); NaN where no step has an error."""
        return row_means(self.scaled_error)


def row_means(values: np.ndarray) -> np.ndarray:
    """Mean of what is known in each row; NaN of nothing."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(1), known.sum(1))


def errors_of(forecasts: Mapping[str, TaskForecasts]) -> np.ndarray:
    """MASE of each forecast of all tasks, one after the other: float64, shape (n,)."""
    return np.concatenate([part.error for part in forecasts.values()])


@dataclass(frozen=True)
class Baseline:
    """Forecasts of full attention, with what all methods share; mappings are by task name.

    `keys` holds `KEY_COLUMNS` of the n forecasts, `truth` (n, horizon), NaN where missing, `scale`
    seasonal errors, (n,), NaN where zero or undefined.
    """

    keys: dict[str, pd.DataFrame]
    forecasts: dict[str, TaskForecasts]
    truth: dict[str, np.ndarray]
    scale: dict[str, np.ndarray]
    fingerprint: str

    @property
    def all_keys(self) -> pd.DataFrame:
        """Keys of all tasks, one after the other."""
        return pd.concat(self.keys.values(), ignore_index=True)

    def metrics_of(self, method: Mapping[str, TaskForecasts]) -> dict[str, np.ndarray]:
        """MASE, SQL, WQL and `covered`, as `forecast_errors`, (n,), of all tasks in order."""
        keys, loss = self.all_keys, np.concatenate([part.loss for part in method.values()])
        truth = pd.Series(np.concatenate([row_means(np.abs(x)) for x in self.truth.values()]))
        size = truth.groupby([keys[c] for c in KEY_COLUMNS if c != "item_id"]).transform("mean")
        inside = [covered(self.truth[t], part.low, part.high) for t, part in method.items()]
        return {
            "MASE": errors_of(method),
            "SQL": loss / np.concatenate(list(self.scale.values())),
            "WQL": loss / size.where(size > 0).to_numpy(),
            "covered": np.concatenate(inside),
        }


def read_baseline(scores: str | os.PathLike, forecasts: str | os.PathLike) -> Baseline:
    """Read the baseline's scores and forecasts."""
    frame = _read(scores, ["seasonal_error"]).to_pandas()
    keys, scale = {}, {}
    for name, part in frame.groupby("task_name", sort=False):
        keys[name] = part[list(KEY_COLUMNS)].reset_index(drop=True)
        scale[name] = part["seasonal_error"].where(part["seasonal_error"] > 0).to_numpy()
    found = _matrices(scores, ["scaled_abs_error", "truth"], keys)
    errors, truth = ({name: pair[i] for name, pair in found.items()} for i in (0, 1))
    fingerprint = read_metadata(scores).get("weights_fingerprint", "")
    made = _with_forecasts(forecasts, scores, keys, errors)
    return Baseline(keys, made, truth, scale, fingerprint)


def read_variant(
    baseline: Baseline, scores: str | os.PathLike, forecasts: str | os.PathLike
) -> dict[str, TaskForecasts]:
    """Read a variant's scores and forecasts by task in the baseline's order."""
    found = _matrices(scores, ["scaled_abs_error"], baseline.keys)
    errors = {name: scaled for name, (scaled,) in found.items()}
    return _with_forecasts(forecasts, scores, baseline.keys, errors)


def _with_forecasts(
    path: str | os.PathLike,
    scores: str | os.PathLike,
    keys: Mapping[str, pd.DataFrame],
    errors: Mapping[str, np.ndarray],
) -> dict[str, TaskForecasts]:
    levels = sorted(quantile_columns(pq.read_schema(path).names), key=float)
    if len(levels) < 2:
        raise InputError("fewer than two quantile levels", str(path), "give the suite more")
    found = _matrices(path, ["predictions", levels[0], levels[-1]], keys)
    losses = _matrices(scores, [f"ql_{level}" for level in levels], keys)
    return {
        name: TaskForecasts(*parts, errors[name], row_means(np.mean(losses[name], axis=0)))
        for name, parts in found.items()
    }


def _matrices(
    path: str | os.PathLike, columns: list[str], keys: Mapping[str, pd.DataFrame]
) -> dict[str, list[np.ndarray]]:
    """Read list columns as matrices by task, their rows in the order of the keys."""
    table = _read(path, columns)
    order = _order(table, pd.concat(keys.values(), ignore_index=True), path)
    lists = [table.column(name).combine_chunks() for name in columns]
    ends = np.cumsum([len(part) for part in keys.values()])
    return {
        name: [matrix(column.take(pa.array(rows)), str(path)) for column in lists]
        for name, rows in zip(keys, np.split(order, ends[:-1]), strict=True)
    }


def _read(path: str | os.PathLike, columns: list[str]) -> pa.Table:
    missing = sorted(set(columns) - set(pq.read_schema(path).names))
    if missing:
        raise InputError(f"no columns {missing}", str(path), "make the file again")
    return pq.read_table(path, columns=[*KEY_COLUMNS, *columns])


def _order(table: pa.Table, wanted: pd.DataFrame, path: str | os.PathLike) -> np.ndarray:
    """Row of the table for each wanted key."""
    mine = table.select(list(KEY_COLUMNS)).to_pandas()
    if len(mine) == len(wanted) and (mine.to_numpy() == wanted.to_numpy()).all():
        return np.arange(len(mine))
    index = pd.MultiIndex.from_frame(mine)
    order = index.get_indexer(pd.MultiIndex.from_frame(wanted)) if index.is_unique else None
    if order is None or len(mine) != len(wanted) or (order < 0).any():
        mend = "make the results of baseline and variants again"
        raise InputError("not the forecasts of the baseline, each once", str(path), mend)
    return order


def soft_pairs(
    baseline: Baseline,
    unit: str,
    batch_sizes: pd.Series,
    clusters: Mapping[str, tuple[str, str | None]],
) -> tuple[Pairs, np.ndarray]:
    """Return a study's pairs, in which series that share a batch count, and all batches' sizes."""
    keys = baseline.all_keys
    places = pd.MultiIndex.from_frame(keys[["task_name", "window_index", "item_id"]])
    sizes = batch_sizes.reindex(places).to_numpy()
    if np.isnan(sizes).any():
        what, where = f"{np.isnan(sizes).sum()} forecasts without a batch", "file of similarities"
        raise InputError(what, where, "make the similarities again for this suite")
    steps = np.concatenate(
        [(~np.isnan(part.scaled_error)).sum(axis=1) for part in baseline.forecasts.values()]
    )
    return pairs_of(keys, steps, unit, clusters).where(sizes > 1), sizes.astype(np.int64)


def read_batch_sizes(path: str | os.PathLike) -> pd.Series:
    """Series in each series' batch, by the row groups of a file of similarities: int64."""
    file = pq.ParquetFile(path)
    sizes = group_sizes(file)
    keys = file.read(["task_name", "window_index", "item_id"]).to_pandas()
    return pd.Series(np.repeat(sizes, sizes), pd.MultiIndex.from_frame(keys), name="batch_size")
