"""Paired comparison of two methods: tests by cluster, intervals, equivalence, power, families.

docs/method.md says why each is the one. Less error is better; differences are variant minus
baseline, ratios variant over baseline. Intervals: Davison and Hinkley (1997), equivalence:
Schuirmann (1987), families: Westfall and Young (1993).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from math import exp, inf, log1p, nan, sqrt
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, stats
from statsmodels.stats.power import TTestPower

# Spread below this share of the values that were subtracted is rounding.
_ROUNDING = 8 * np.finfo(np.float64).eps

NO_GAIN, YES, NO, UNDECIDED = "no gain", "yes", "no", "undecided"
BETTER, WORSE, EQUIVALENT = "better", "worse", "equivalent"
OPEN, NOT_TESTED = "open", "not tested"
# Bounds of a relative error, as in `fev.pairwise_comparison`.
CLIP = (0.01, 100.0)
# Five clusters have 32 ways to flip signs: no two-sided p value below 1/16.
FEWEST_CLUSTERS = 6
# Most ways to flip signs that are gone through; of more, as many are drawn.
FLIPS = 9_999
POWER = 0.8


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

    Over pairs: `mean_delta` and `sd_delta` (n - 1), the paired t-test and its interval, `cohens_dz`
    mean over standard deviation; `wilcoxon_p` is of the log ratios.

    Over the `n_clusters` means of log(variant / baseline): `log_ratio_mean`, its interval, `_p` by
    sign flips; `tost_low`, `tost_high` at level 1 - 2 alpha; `least_margin`, the smallest that
    would be equivalent; `effect_80` and `margin_80`, the smallest relative change found, and margin
    shown of no change, in 80 % of such studies; `n_for_1_percent`: the clusters for which
    `effect_80` is that; `without_one_*`: the range leaving one out; `trimmed_mean`: without a tenth
    at each end. `n_left_out`: pairs without a ratio. `means`: of the clusters.
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
    n_clusters: int = 0
    n_left_out: int = 0
    tost_margin: float = nan
    tost_p: float = nan
    tost_low: float = nan
    tost_high: float = nan
    least_margin: float = nan
    effect_80: float = nan
    margin_80: float = nan
    n_for_1_percent: float = nan
    n_for_2_percent: float = nan
    without_one_low: float = nan
    without_one_high: float = nan
    trimmed_mean: float = nan
    most_influential: Hashable = ""
    verdict: str = NOT_TESTED
    reason: str = ""
    means: pd.Series = field(default_factory=lambda: pd.Series(dtype=float), repr=False)


# Those of its fields that are of the plain tests over pairs.
PLAIN = ("n", "mean_delta", "sd_delta", "t", "p", "test", "ci_low", "ci_high", "cohens_dz")


def log_ratios(baseline: np.ndarray, variant: np.ndarray) -> np.ndarray:
    """Return log(variant / baseline), the ratio within `CLIP`; NaN where it is undefined."""
    known = (baseline >= 0) & (variant >= 0) & (baseline + variant > 0)
    known &= np.isfinite(baseline) & np.isfinite(variant)
    found = np.full(np.shape(baseline), nan)
    with np.errstate(divide="ignore", over="ignore"):
        found[known] = np.log(np.clip(variant[known] / baseline[known], *CLIP))
    return found


def paired_test(
    baseline: Sequence[float],
    variant: Sequence[float],
    criteria: Criteria = USUAL,
    *,
    clusters: Sequence[Hashable] | None = None,
    drawn: tuple[np.ndarray, np.ndarray] | None = None,
) -> PairedResult:
    """Compare the errors of two methods on the same pairs, both of shape (n,).

    `clusters` names the cluster of each pair, (n,), by default each pair is one; `drawn` are both
    methods' errors in samples drawn from within the clusters, (draws, n) each, whose spread widens
    the interval. `verdicts` says in what order the verdict is found: a difference both significant
    and within the margin is equivalent.
    """
    alpha, margin = criteria
    base = np.asarray(baseline, dtype=np.float64)
    other = np.asarray(variant, dtype=np.float64)
    if base.shape != other.shape or base.ndim != 1:
        raise ValueError(f"pairs of shapes {base.shape} and {other.shape}")
    if not (margin > 0 and 0 < alpha < 1):
        raise ValueError(f"margin {margin} or alpha {alpha} out of range")
    labels = np.arange(len(base)) if clusters is None else np.asarray(clusters)
    ratios = log_ratios(base, other)
    known = ~np.isnan(ratios)
    found, reasons = _plain(base, other, alpha)
    found |= {"tost_margin": margin, "n_left_out": int((~known).sum())}
    if found["n_left_out"]:
        reasons.append(f"{found['n_left_out']} of {len(base)} pairs have no relative error")
    # Clipped, so that rounding of equal pairs is no difference.
    ratios = np.where(np.abs(ratios) <= _ROUNDING, 0.0, ratios)[known]
    if len(ratios) > 1 and ratios.any():
        found["wilcoxon_p"] = float(stats.wilcoxon(ratios).pvalue)
    values = pd.Series(ratios).groupby(labels[known], sort=False).mean()
    within = 0.0
    if drawn is not None and known.any():
        spread = pd.DataFrame(log_ratios(*drawn)[:, known].T).groupby(labels[known], sort=False)
        within = float(spread.mean().var(axis=1, ddof=1).fillna(0).sum())
    found |= {"n_clusters": len(values), "means": values}
    if len(values) < 2:
        reasons.append(f"{len(values)} clusters, fewer than 2")
        mean = float(values.iloc[0]) if len(values) else nan
        return PairedResult(**found, log_ratio_mean=mean, reason="; ".join(reasons))
    found |= _by_cluster(values, within, alpha, margin)
    mean, p = found["log_ratio_mean"], nan
    if len(values) < FEWEST_CLUSTERS:
        found["tost_p"] = nan
        reasons.append(f"{len(values)} clusters, fewer than {FEWEST_CLUSTERS}: no p value")
    else:
        p = found["log_ratio_p"] = sign_flip_p(values.to_numpy())
        if not values.any():
            reasons.append("every pair is identical")
        elif found["tost_p"] < alpha and p < alpha:
            word = BETTER if mean < 0 else WORSE
            reasons.append(f"significantly {word}, but within the margin of {margin:.2%}")
    verdict = str(verdicts(found["tost_p"], p, mean, alpha))
    return PairedResult(**found, verdict=verdict, reason="; ".join(reasons))


def verdicts(tost_p: np.ndarray, p: np.ndarray, mean: np.ndarray, alpha: float) -> np.ndarray:
    """Return the first verdict that p values and a mean log ratio meet, in this order."""
    tost_p, p, mean = map(np.asarray, (tost_p, p, mean))
    conditions = [np.isnan(p), tost_p < alpha, (p < alpha) & (mean < 0), p < alpha]
    return np.select(conditions, [NOT_TESTED, EQUIVALENT, BETTER, WORSE], OPEN)


def _plain(base: np.ndarray, other: np.ndarray, alpha: float) -> tuple[dict, list[str]]:
    """Return the paired t-test of the differences, of pairs that are finite, and what ails it."""
    finite = np.isfinite(base) & np.isfinite(other)
    base, other = base[finite], other[finite]
    delta = other - base
    found = {"n": len(delta)}
    if len(delta) < 2:
        return found, [f"{len(delta)} pairs, fewer than 2"]
    found |= {"mean_delta": float(delta.mean()), "sd_delta": float(delta.std(ddof=1))}
    scale = max(np.abs(x).max() for x in (delta, base, other))
    if not found["sd_delta"] > _ROUNDING * scale:
        return found, ["all differences are the same"] if delta.any() else []
    result = stats.ttest_rel(other, base)
    interval = result.confidence_interval(1 - alpha)
    found |= {"t": float(result.statistic), "p": float(result.pvalue)}
    found |= {"ci_low": float(interval.low), "ci_high": float(interval.high)}
    return found | {"cohens_dz": found["mean_delta"] / found["sd_delta"]}, []


def _by_cluster(
    values: pd.Series, within: float, alpha: float, margin: float
) -> dict[str, float | Hashable]:
    """Return interval, equivalence, power and influence of the mean of two and more clusters."""
    count, mean = len(values), float(values.mean())
    # A bootstrap over clusters in closed form, free of its bias, and its second stage within them.
    error = sqrt(float(values.var(ddof=1)) / count + within / count**2)
    if error <= _ROUNDING * abs(mean):
        error = 0.0
    wide, narrow = (float(stats.t.ppf(1 - a, count - 1) * error) for a in (alpha / 2, alpha))
    low, high = mean - narrow, mean + narrow
    room = log1p(margin) - abs(mean)
    one_out = (count * mean - values) / (count - 1)
    sd = error * sqrt(count)
    effect_80 = detectable(count, alpha)
    # Without a difference, each of the two one-sided tests may miss with half of what is left.
    margin_80 = detectable(count, alpha, (1 + POWER) / 2, "larger")
    return {
        "log_ratio_mean": mean,
        "log_ratio_ci_low": mean - wide,
        "log_ratio_ci_high": mean + wide,
        "tost_low": low,
        "tost_high": high,
        "tost_p": float(stats.t.sf(room / error if error else inf * np.sign(room), count - 1)),
        "least_margin": exp(max(-low, high)) - 1,
        "effect_80": exp(min(effect_80 * sd, 50)) - 1,
        "margin_80": exp(min(margin_80 * sd, 50)) - 1,
        **{f"n_for_{k}_percent": clusters_for(log1p(k / 100), sd, alpha) for k in (1, 2)},
        "without_one_low": float(one_out.min()),
        "without_one_high": float(one_out.max()),
        "trimmed_mean": float(stats.trim_mean(values, 0.1)),
        "most_influential": (one_out - mean).abs().idxmax(),
    }


def _power(effect: float, count: float, alpha: float, alternative: str = "two-sided") -> float:
    """Power of a t-test; statsmodels has NaN where the effect is so large that it is 1."""
    return float(np.nan_to_num(TTestPower().power(effect, count, alpha, None, alternative), nan=1))


@lru_cache(maxsize=512)
def detectable(
    count: int, alpha: float, power: float = POWER, alternative: str = "two-sided"
) -> float:
    """Return the effect that is found with this power, in standard deviations."""
    return optimize.brentq(lambda d: _power(d, count, alpha, alternative) - power, 1e-6, 1e3)


@lru_cache(maxsize=512)
def clusters_for(effect: float, sd: float, alpha: float) -> float:
    """Return how many clusters of this spread find an effect with `POWER`; at least 2."""
    if not sd > 0:
        return nan
    size = min(effect / sd, 1e3)
    if _power(size, 2, alpha) >= POWER:
        return 2.0
    return float(np.ceil(optimize.brentq(lambda n: _power(size, n, alpha) - POWER, 2, 1e9)))


def sign_flip_p(values: np.ndarray) -> float:
    """Return the two-sided p value of a mean by sign flips: exact, or of `FLIPS` drawn."""
    return _sign_flip_p(tuple(values))


@lru_cache(maxsize=512)  # other margins ask for the same
def _sign_flip_p(values: tuple[float, ...]) -> float:
    return float(
        stats.permutation_test(
            (np.array(values),),
            lambda x, axis: x.mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=FLIPS,
            rng=np.random.default_rng(0),
        ).pvalue
    )


def flipped_t(values: np.ndarray) -> np.ndarray:
    """|t| of the means of values (clusters, m), NaN for none, under joint flips: (flips, m)."""
    known = ~np.isnan(values)
    count, filled = known.sum(axis=0), np.where(known, values, 0.0)
    clusters = len(values)
    if 2**clusters <= FLIPS + 1:
        signs = np.array(list(product([1.0, -1.0], repeat=clusters)))
    else:
        signs = np.random.default_rng(0).choice([1.0, -1.0], (FLIPS + 1, clusters))
        signs[0] = 1.0
    square = (filled**2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.round((signs @ filled) ** 2 / (count * square), 12)
        return np.nan_to_num(np.sqrt((count - 1) * share / (1 - share)), nan=0.0, posinf=inf)


def step_down(values: np.ndarray) -> np.ndarray:
    """Adjust the p values of the means of values (clusters, m), by step-down maxT: (m,)."""
    found = flipped_t(values)
    order = np.argsort(-found[0], kind="stable")
    largest = np.maximum.accumulate(found[:, order][:, ::-1], axis=1)[:, ::-1]
    p = (largest >= found[0, order] * (1 - 1e-9)).mean(axis=0)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(p)
    return adjusted


def correct_family(
    table: pd.DataFrame, values: Sequence[pd.Series], criteria: Criteria = USUAL
) -> pd.DataFrame:
    """Correct a family of tests, a row each, for their number, by what their clusters share.

    `values` are the means of clusters. Adds `log_ratio_p_family` by `step_down`, `tost_p_family` by
    the largest t of the family, and `verdict_family`. A test that was not made is no member.
    """
    tested = table["log_ratio_p"].notna().to_numpy()
    adjusted = np.full((2, len(table)), nan)
    if tested.any():
        members = [one for one, used in zip(values, tested, strict=True) if used]
        matrix = pd.concat(members, axis=1).to_numpy()
        rows = table[tested]
        df = (~np.isnan(matrix)).sum(axis=0) - 1
        # What t the equivalence was found with: more than the family's largest by chance?
        t = stats.t.isf(rows["tost_p"].to_numpy(dtype=float), df)
        chance = flipped_t(matrix - np.nanmean(matrix, axis=0)).max(axis=1)
        equal = (chance[:, None] >= t * (1 - 1e-9)).mean(axis=0)
        adjusted[0, tested] = step_down(matrix)
        alone = len(rows) == 1
        adjusted[1, tested] = rows["tost_p"] if alone else np.maximum(rows["tost_p"], equal)
    p, tost_p = adjusted
    verdict = verdicts(tost_p, p, table["log_ratio_mean"].to_numpy(dtype=float), criteria.alpha)
    return table.assign(
        log_ratio_p_family=p, tost_p_family=tost_p, verdict_family=verdict.astype(object)
    )


def geometric_mean_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Geometric mean of numerator / denominator; NaN unless all are positive and finite."""
    top = np.asarray(numerator, dtype=np.float64)
    bottom = np.asarray(denominator, dtype=np.float64)
    usable = np.isfinite(top) & np.isfinite(bottom) & (top > 0) & (bottom > 0)
    if not len(top) or not usable.all():
        return nan
    return exp(float(np.mean(np.log(top) - np.log(bottom))))


def ratio_of_means(baseline: np.ndarray, variant: np.ndarray, alpha: float) -> tuple[float, float]:
    """Return the ratio of the mean errors of the same forecasts, and half its interval's width.

    By the delta method, on finite pairs. Both are NaN where the baseline's mean is not positive,
    the width also where n < 2; too narrow where forecasts depend on each other.
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
