"""Paired comparison of two methods over tasks: tests, intervals, equivalence.

All numbers come from scipy and statsmodels. Errors are such that less is
better; a difference is always variant minus baseline, and a ratio variant over
baseline.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, nan
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from study.forecasts.files import KEY_COLUMNS, ratio

# Spread below this share of the values that were subtracted is rounding.
_ROUNDING = 8 * np.finfo(np.float64).eps

NO_GAIN, YES, NO, UNDECIDED = "no gain", "yes", "no", "undecided"


class Criteria(NamedTuple):
    """What verdicts rest on: the level of the tests, and the relative margin of equivalence."""

    alpha: float = 0.05
    margin: float = 0.01

    @classmethod
    def of(cls, statistics: Mapping[str, float]) -> Criteria:
        """Take them from the part `statistics` of the settings."""
        return cls(statistics["alpha"], statistics["tost_margin"])


USUAL = Criteria()


@dataclass(frozen=True)
class PairedResult:
    """What `paired_test` finds of `n` pairs; NaN stands for what they cannot tell.

    `mean_delta` and `sd_delta` (n - 1) are of variant minus baseline, `t`, `p`, `test` their paired
    t-test, two-sided, with its name in scipy, `ci_low`, `ci_high` the mean's interval at level 1 -
    alpha, `cohens_dz` is mean over standard deviation. `wilcoxon_p`: signed-rank test, two-sided,
    zero differences left out. `log_ratio_*`: mean of log(variant / baseline), its interval and
    paired t-test. `tost_p`: two one-sided tests that it lies within +- log(1 + tost_margin).
    `verdict`: better, worse, equivalent or inconclusive. `reason`: why a number is missing or a
    verdict needs a word.
    """

    n: int
    mean_delta: float = nan
    sd_delta: float = nan
    t: float = nan
    p: float = nan
    test: str = "ttest_rel"
    ci_low: float = nan
    ci_high: float = nan
    cohens_dz: float = nan
    wilcoxon_p: float = nan
    log_ratio_mean: float = nan
    log_ratio_ci_low: float = nan
    log_ratio_ci_high: float = nan
    log_ratio_p: float = nan
    tost_margin: float = nan
    tost_p: float = nan
    verdict: str = "inconclusive"
    reason: str = ""


def paired_test(
    baseline: Sequence[float], variant: Sequence[float], criteria: Criteria = USUAL
) -> PairedResult:
    """Compare the errors of two methods on the same tasks, both of shape (n,).

    The verdict rests on the log ratios, because differences are ruled by the tasks with the largest
    errors. In this order:

    1. ``equivalent``: all pairs are identical, or the mean log ratio lies within the margin
       (`tost_p` < alpha). This goes before the next two: a difference that is both significant and
       within the margin is real but too small to matter, and `reason` then says so.
    2. ``better`` / ``worse``: the mean log ratio is below / above zero with `log_ratio_p` < alpha.
    3. ``inconclusive``: neither.

    Fewer than two pairs, or a value that is not finite, give NaN throughout. Without spread (every
    difference the same) the tests of the differences are NaN; with a value of zero or less, or
    without spread of the log ratios, those of the log ratios. `reason` says which.
    """
    alpha, margin = criteria
    base = np.asarray(baseline, dtype=np.float64)
    other = np.asarray(variant, dtype=np.float64)
    if base.shape != other.shape or base.ndim != 1:
        raise ValueError(f"pairs of shapes {base.shape} and {other.shape}")
    if not (margin > 0 and 0 < alpha < 1):
        raise ValueError(f"margin {margin} or alpha {alpha} out of range")
    n = len(base)
    bad = int((~(np.isfinite(base) & np.isfinite(other))).sum())
    if bad or n < 2:
        reason = f"{bad} of {n} pairs are not finite" if bad else f"{n} pairs, fewer than 2"
        return PairedResult(n, tost_margin=margin, reason=reason)

    delta = other - base
    found = {"mean_delta": float(delta.mean()), "sd_delta": float(delta.std(ddof=1))}
    found["tost_margin"] = margin
    if not delta.any():
        if (base > 0).all():
            found["log_ratio_mean"] = 0.0
        return PairedResult(n, **found, verdict="equivalent", reason="every pair is identical")

    reasons = []
    if _has_spread(delta, base, other):
        found |= _t_test(base, other, alpha)
        found["cohens_dz"] = found["mean_delta"] / found["sd_delta"]
        found["wilcoxon_p"] = float(stats.wilcoxon(delta).pvalue)
    else:
        reasons.append("all differences are the same")

    verdict = "inconclusive"
    if (base <= 0).any() or (other <= 0).any():
        reasons.append("errors of zero or less have no log ratio")
    else:
        log_base, log_other = np.log(base), np.log(other)
        ratios = log_other - log_base
        found["log_ratio_mean"] = float(ratios.mean())
        if _has_spread(ratios, log_base, log_other, np.ones(1)):
            logs = _t_test(log_base, log_other, alpha)
            found |= {f"log_ratio_{name}": logs[name] for name in ("ci_low", "ci_high", "p")}
            limit = log(1 + margin)
            found["tost_p"] = float(ttost_paired(log_other, log_base, -limit, limit)[0])
            significant = logs["p"] < alpha
            if found["tost_p"] < alpha:
                verdict = "equivalent"
                if significant:
                    reasons.append(
                        f"the difference is significant but within the margin of {margin:.2%}"
                    )
            elif significant:
                verdict = "better" if found["log_ratio_mean"] < 0 else "worse"
        else:
            reasons.append("all log ratios are the same")
    return PairedResult(n, **found, verdict=verdict, reason="; ".join(reasons))


def _has_spread(differences: np.ndarray, *terms: np.ndarray) -> bool:
    scale = max(np.abs(values).max() for values in (differences, *terms))
    return bool(differences.std() > _ROUNDING * scale)


def _t_test(base: np.ndarray, other: np.ndarray, alpha: float) -> dict[str, float]:
    result = stats.ttest_rel(other, base)
    interval = result.confidence_interval(1 - alpha)
    return {
        "t": float(result.statistic),
        "p": float(result.pvalue),
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
    }


def holm(pvalues: Sequence[float]) -> np.ndarray:
    """Adjust p-values, shape (m,), by Holm's method; NaN, a test not made, stays NaN."""
    adjusted = np.array(pvalues, dtype=np.float64)
    known = ~np.isnan(adjusted)
    if known.any():
        adjusted[known] = multipletests(adjusted[known], method="holm")[1]
    return adjusted


def correct_family(table: pd.DataFrame, *, alpha: float = 0.05) -> pd.DataFrame:
    """Correct a family of tests for their number by Holm's method.

    The table has a row a test, with `p`, `log_ratio_p`, `tost_p`, `log_ratio_mean` and `verdict` as
    `paired_test` finds them, and gets `p_holm`, `log_ratio_p_holm`, `tost_p_holm` and
    `verdict_holm`. The last is `paired_test`'s verdict with the corrected p-values; where there are
    none, because pairs are identical or cannot be tested, the verdict stands.
    """
    table = table.assign(
        **{f"{name}_holm": holm(table[name]) for name in ("p", "log_ratio_p", "tost_p")}
    )
    tested = table["tost_p_holm"].notna() & table["log_ratio_p_holm"].notna()
    verdict = np.select(
        [~tested, table["tost_p_holm"] < alpha, table["log_ratio_p_holm"] < alpha],
        [table["verdict"], "equivalent", np.where(table["log_ratio_mean"] < 0, "better", "worse")],
        default="inconclusive",
    )
    return table.assign(verdict_holm=verdict)


def geometric_mean_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Geometric mean of numerator / denominator; NaN unless all are positive and finite."""
    top = np.asarray(numerator, dtype=np.float64)
    bottom = np.asarray(denominator, dtype=np.float64)
    usable = np.isfinite(top) & np.isfinite(bottom) & (top > 0) & (bottom > 0)
    if not len(top) or not usable.all():
        return nan
    return exp(float(np.mean(np.log(top) - np.log(bottom))))


def forecast_errors(path: str | os.PathLike) -> pd.DataFrame:
    """Return the MASE of each forecast in a file of scores.

    The columns of `KEY_COLUMNS` and `error`, float64, NaN where no step has a score.
    """
    table = pq.read_table(path, columns=[*KEY_COLUMNS, "scaled_abs_error"])
    lists = table["scaled_abs_error"].combine_chunks()
    lengths = pc.list_value_length(lists).to_numpy()  # tasks differ in horizon
    values = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
    owner, known = np.repeat(np.arange(len(lengths)), lengths), ~np.isnan(values)
    sums = np.bincount(owner[known], values[known], minlength=len(lengths))
    counts = np.bincount(owner[known], minlength=len(lengths))
    return table.select(list(KEY_COLUMNS)).to_pandas().assign(error=ratio(sums, counts))


def ratio_of_means(baseline: np.ndarray, variant: np.ndarray, alpha: float) -> tuple[float, float]:
    """Return the ratio of the mean errors of the same forecasts, and half its interval's width.

    By the delta method, on finite pairs, the ratio varies as mean (v_i - ratio b_i) / mean b.
    Both are NaN where the baseline's mean is not positive, the width also where n < 2. It is too
    narrow where the forecasts depend on each other.
    """
    n = len(baseline)
    mean = baseline.mean() if n else 0.0
    if not mean > 0:
        return nan, nan
    found = variant.mean() / mean
    if n < 2:
        return float(found), nan
    spread = (variant - found * baseline).std(ddof=1) / mean / np.sqrt(n)
    return float(found), float(stats.t.ppf(1 - alpha / 2, n - 1) * spread)


def task_log_ratios(
    baseline: pd.DataFrame, variant: pd.DataFrame, *, alpha: float = 0.05
) -> pd.DataFrame:
    """Compare two methods, from `forecast_errors` of the same forecasts, within each task.

    A row a task, in the baseline's order: `task_name`, `n` pairs, `log_ratio` of the mean errors,
    `ci_low`, `ci_high`. Forecasts of one series in several windows count as separate pairs, so
    where these depend on each other the interval, of `ratio_of_means`, is too narrow.
    """
    pairs = baseline.merge(variant, on=list(KEY_COLUMNS), suffixes=("_baseline", "_variant"))
    pairs = pairs.dropna(subset=["error_baseline", "error_variant"])
    rows = []
    for task, group in pairs.groupby("task_name", sort=False):
        base, other = group["error_baseline"].to_numpy(), group["error_variant"].to_numpy()
        found, half = ratio_of_means(base, other, alpha)
        middle, half = (np.log(found), half / found) if found > 0 else (nan, nan)
        rows.append((task, len(group), middle, middle - half, middle + half))
    return pd.DataFrame(rows, columns=["task_name", "n", "log_ratio", "ci_low", "ci_high"])
