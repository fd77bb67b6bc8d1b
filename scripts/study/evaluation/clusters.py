"""Forecasts, the pairs that a test compares, and the clusters that pairs come from.

A pair's error is the mean over its cells of the mean over a cell's forecasts: of a task a cell is a
window and target column, of a series a forecast.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chronos2_attention import AttentionVariant
from study.evaluation.statistics import USUAL, Criteria, PairedResult, paired_test, ratio_of_means
from study.forecasts.files import KEY_COLUMNS, quantile_columns, ratio

TASK = "task"
METRICS = ("MASE", "SQL", "WQL")
# Enough for a standard error, by Efron and Tibshirani (1993), section 6.4.
DRAWS = 200
# Observations of a token, and tokens of context beside those: REG.
PATCH, REG = 16, 1


@dataclass(frozen=True)
class Pairs:
    """The pairs of a study, tasks or series (`unit`), with a row of `labels` each.

    `labels` holds `task_name`, for series `item_id` and `target`, and `cluster`. Of each of the n
    forecasts, in the baseline's order: its `pair`, `cell`, `member` (items of a task that are one
    cluster), and `steps` with an error, 0 if it does not count; of each cell its pair and its
    window, a block; of members and blocks their task.
    """

    unit: str
    labels: pd.DataFrame
    pair: np.ndarray
    cell: np.ndarray
    member: np.ndarray
    steps: np.ndarray
    cell_pair: np.ndarray
    cell_block: np.ndarray
    member_task: np.ndarray
    block_task: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        """Pairs of which a forecast counts, bool, shape (n_pairs,)."""
        return np.bincount(self.pair[self.steps > 0], minlength=len(self.labels)) > 0

    def where(self, chosen: np.ndarray) -> Pairs:
        """Return the same pairs, of which only the chosen forecasts count, bool, shape (n,)."""
        return replace(self, steps=self.steps * chosen)

    def mean(
        self, error: np.ndarray, members: np.ndarray | None = None, blocks: np.ndarray | None = None
    ) -> np.ndarray:
        """Mean error (n_pairs,) of forecasts' (n,); `members`, `blocks` say how often drawn."""
        weight = self.steps * np.isfinite(error)
        if members is not None:
            weight = weight * members[self.member]
        error = np.where(weight > 0, error, 0.0)
        cells = ratio(np.bincount(self.cell, weight * error), np.bincount(self.cell, weight))
        drawn = np.isfinite(cells) * (1.0 if blocks is None else blocks[self.cell_block])
        sums = np.bincount(self.cell_pair, drawn * np.nan_to_num(cells), len(self.labels))
        return ratio(sums, np.bincount(self.cell_pair, drawn, len(self.labels)))

    @cached_property
    def draws(self) -> tuple[np.ndarray, np.ndarray]:
        """How often members, and windows by circular blocks, are drawn: (DRAWS, n) each."""
        rng = np.random.default_rng(0)
        members = np.ones((DRAWS, len(self.member_task)))
        for places in _places(self.member_task) if self.unit == TASK else []:
            count = len(places)
            members[:, places] = rng.multinomial(count, np.full(count, 1 / count), DRAWS)
        blocks = np.ones((DRAWS, len(self.block_task)))
        for places in _places(self.block_task):
            count = len(places)
            length = round(count ** (1 / 3))
            starts = rng.integers(0, count, (DRAWS, -(-count // length)))
            found = (starts[:, :, None] + np.arange(length)).reshape(DRAWS, -1)[:, :count] % count
            blocks[:, places] = (found[:, :, None] == np.arange(count)).sum(axis=1)
        return members, blocks


def _places(groups: np.ndarray) -> list[np.ndarray]:
    """Places of each group's members, of groups numbered from 0."""
    return np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])


def pairs_of(
    keys: pd.DataFrame, steps: np.ndarray, unit: str, clusters: Mapping[str, tuple[str, str | None]]
) -> Pairs:
    """Return the pairs of forecasts by their `KEY_COLUMNS` and steps; see `Suite.clusters`."""
    source, named = (keys["task_name"].map({t: c[i] for t, c in clusters.items()}) for i in (0, 1))
    cluster = named.where(named.notna(), keys["item_id"])
    frame = keys.assign(cluster=source if unit == TASK else source + "/" + cluster)
    cell = ["task_name", "window_index", "target"]
    columns = ["task_name"]
    if unit != TASK:
        cell, columns = [*KEY_COLUMNS], ["task_name", "item_id", "target"]
    pair, cells, block, member, task = (
        frame.assign(member=cluster).groupby(by, sort=False).ngroup().to_numpy()
        for by in (
            *(columns, cell, ["task_name", "window_index"], ["task_name", "member"], "task_name"),
        )
    )
    first, of_member, of_block = (
        np.unique(x, return_index=True)[1] for x in (cells, member, block)
    )
    labels = frame[[*columns, "cluster"]].drop_duplicates(columns, ignore_index=True)
    return Pairs(
        unit, labels, pair, cells, member, np.asarray(steps, dtype=float),
        pair[first], block[first], task[of_member], task[of_block],
    )  # fmt: skip


class Errors:
    """Errors of several methods by pair, and in draws from within its clusters, ready to test."""

    def __init__(self, pairs: Pairs, errors: Mapping[Hashable, np.ndarray]) -> None:
        self.labels = pairs.labels["cluster"].to_numpy()
        self.means = {name: pairs.mean(error) for name, error in errors.items()}
        self.drawn = {
            name: np.array([pairs.mean(error, *one) for one in zip(*pairs.draws, strict=True)])
            for name, error in errors.items()
        }

    def __or__(self, other: Errors) -> Errors:
        """Return these methods and others of the same pairs."""
        both = copy(self)
        both.means, both.drawn = self.means | other.means, self.drawn | other.drawn
        return both

    def test(
        self,
        baseline: Hashable,
        variant: Hashable,
        criteria: Criteria = USUAL,
        *,
        among: np.ndarray,
    ) -> PairedResult:
        """Test one method against another, by `paired_test`, among the chosen pairs."""
        one, other = (self.means[name][among] for name in (baseline, variant))
        drawn = tuple(self.drawn[name][:, among] for name in (baseline, variant))
        return paired_test(one, other, criteria, clusters=self.labels[among], drawn=drawn)


def forecast_errors(
    scores: str | os.PathLike, forecasts: str | os.PathLike | None = None
) -> pd.DataFrame:
    """Return what is to be told of each forecast in a file of scores, in its order.

    The columns of `KEY_COLUMNS`, `steps` that have a score, and its `METRICS`, NaN without any;
    with its file of forecasts, also `context_length` and `covered`, the share of steps within the
    lowest and the highest level.
    """
    names = pq.read_schema(scores).names
    losses = [name for name in names if name.startswith("ql_")]
    table = pq.read_table(scores, columns=[*KEY_COLUMNS, "seasonal_error"])
    found = table.select(list(KEY_COLUMNS)).to_pandas()
    steps, found["MASE"] = _means(scores, "scaled_abs_error")
    loss = np.mean([_means(scores, name)[1] for name in losses], axis=0) if losses else np.nan
    scale = table["seasonal_error"].to_pandas()
    found["SQL"] = loss / scale.where(scale > 0)
    truth = pd.Series(_means(scores, "truth", absolute=True)[1])
    size = truth.groupby([found[c] for c in KEY_COLUMNS if c != "item_id"]).transform("mean")
    found["WQL"] = loss / size.where(size > 0).to_numpy()
    found["steps"] = steps
    if forecasts is None:
        return found
    levels = sorted(quantile_columns(pq.read_schema(forecasts).names), key=float)
    ends = [levels[0], levels[-1]]
    other = pq.read_table(forecasts, columns=[*KEY_COLUMNS, "context_length", *ends]).to_pandas()
    truths = pq.read_table(scores, columns=[*KEY_COLUMNS, "truth"]).to_pandas()
    merged = truths.merge(other, on=list(KEY_COLUMNS), how="left", validate="one_to_one")
    found["context_length"] = merged["context_length"].to_numpy()
    found["covered"] = [float(covered(*row)) for row in merged[["truth", *ends]].to_numpy()]
    return found


def covered(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Return the share of known steps, the last axis, whose truth lies within the interval."""
    known = ~np.isnan(truth)
    return ratio(((truth >= low) & (truth <= high) & known).sum(-1), known.sum(-1))


def _means(
    path: str | os.PathLike, column: str, *, absolute: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Count and mean of what is known in each row of a column of lists; NaN of nothing."""
    lists = pq.read_table(path, columns=[column])[column].combine_chunks()
    lengths = pc.list_value_length(lists).to_numpy()  # tasks differ in horizon
    values = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
    values = np.abs(values) if absolute else values
    owner, known = np.repeat(np.arange(len(lengths)), lengths), ~np.isnan(values)
    counts = np.bincount(owner[known], minlength=len(lengths))
    return counts, ratio(np.bincount(owner[known], values[known], len(lengths)), counts)


def cut_edges(context_length: np.ndarray, variant: AttentionVariant) -> np.ndarray:
    """Share of the context's attention edges that a variant removes, per forecast."""
    sizes, size = np.unique(-(-np.asarray(context_length) // PATCH) + REG, return_inverse=True)
    places = map(np.arange, sizes)
    seen = [variant.sees(at[:, None], at[None, :], len(at)).mean() for at in places]
    return 1 - np.array(seen)[size]


def task_log_ratios(
    baseline: pd.DataFrame, variant: pd.DataFrame, *, alpha: float = 0.05
) -> pd.DataFrame:
    """Compare two methods, from `forecast_errors` of the same forecasts, within each task.

    A row a task: `task_name`, `n` pairs, `log_ratio` of mean errors, `ci_low`, `ci_high`, too
    narrow where the windows of a series depend on each other.
    """
    pairs = baseline.merge(variant, on=list(KEY_COLUMNS), suffixes=("_baseline", "_variant"))
    pairs = pairs.dropna(subset=["MASE_baseline", "MASE_variant"])
    rows = []
    for task, group in pairs.groupby("task_name", sort=False):
        base, other = group["MASE_baseline"].to_numpy(), group["MASE_variant"].to_numpy()
        found, half = ratio_of_means(base, other, alpha)
        middle, half = (np.log(found), half / found) if found > 0 else (np.nan, np.nan)
        rows.append((task, len(group), middle, middle - half, middle + half))
    return pd.DataFrame(rows, columns=["task_name", "n", "log_ratio", "ci_low", "ci_high"])
