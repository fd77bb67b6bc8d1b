"""The tests of soft masks: against the baseline, their controls, a smoothed and a damped baseline.

`more_than_random` and `more_than_smoothing`: ``no gain`` without a verdict of ``better`` against
the baseline, corrected for the number of tests; ``yes`` if also better than each control (shuffles
by a Monte Carlo test), or than the smoothed and the damped baseline; ``no`` if equivalent to one of
these, or worse; else ``undecided``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from study.evaluation.clusters import METRICS, Errors, Pairs
from study.evaluation.comparison import COMPARED, metric_columns, nothing_lost, ttest_row
from study.evaluation.gates import Validity
from study.evaluation.statistics import (
    BETTER,
    EQUIVALENT,
    NO,
    NO_GAIN,
    UNDECIDED,
    USUAL,
    WORSE,
    YES,
    Criteria,
    PairedResult,
    correct_family,
    log_ratios,
)
from study.forecasts.files import ratio, read_metadata
from study.jobs.files import read_results
from study.jobs.progress import progress
from study.soft_masks.pairs import Baseline, TaskForecasts, errors_of, read_variant, row_means
from study.soft_masks.shuffles import shuffle_columns
from study.soft_masks.smoothing import damped_baseline, ratios, smoothed_baseline
from study.soft_masks.sweep import NO_CONTROL, control_of, is_soft, setting_of

SMOOTHED, DAMPED = "smoothed", "damped"
TOLD = ("n", *COMPARED, "p", "verdict", "reason")


@dataclass(frozen=True)
class Evaluated:
    """A variant reduced to what the tests need.

    Of each forecast, (n,): `metrics`, see `Baseline.metrics_of`, and the MASE of the baseline
    `smoothed` until it is as rough, and `damped` until its trend is as strong. `step_error`: the
    mean scaled error of each pair at each step, (n_pairs, longest horizon). `run` is the metadata
    of the scores.
    """

    name: str
    metrics: dict[str, np.ndarray]
    smoothed: np.ndarray
    damped: np.ndarray
    step_error: np.ndarray
    figures: dict[str, float]
    run: Mapping[str, str] = field(default_factory=dict)

    @property
    def error(self) -> np.ndarray:
        """MASE of each forecast, (n,)."""
        return self.metrics["MASE"]


def step_errors(pairs: Pairs, method: Mapping[str, TaskForecasts]) -> np.ndarray:
    """Mean scaled error of each pair at each step, (n_pairs, longest horizon), NaN beyond."""
    scaled_error = {task: part.scaled_error for task, part in method.items()}
    longest = max(errors.shape[1] for errors in scaled_error.values())
    size = len(pairs.labels) * longest
    sums, counts = np.zeros(size), np.zeros(size)
    start = 0
    for errors in scaled_error.values():
        pair = pairs.pair[start : start + len(errors)]
        place = pair[:, None] * longest + np.arange(errors.shape[1])
        known = ~np.isnan(errors) & (pairs.steps[start : start + len(errors)] > 0)[:, None]
        sums += np.bincount(place[known], errors[known], minlength=size)
        counts += np.bincount(place[known], minlength=size)
        start += len(errors)
    return ratio(sums, counts).reshape(-1, longest)


def evaluate(
    name: str,
    baseline: Baseline,
    variant: Mapping[str, TaskForecasts],
    pairs: Pairs,
    *,
    cross_group_mass: float = nan,
    run: Mapping[str, str] | None = None,
) -> Evaluated:
    """Reduce a variant's forecasts to what the tests need."""
    metrics, base_error = baseline.metrics_of(variant), errors_of(baseline.forecasts)
    error = metrics["MASE"]
    smoothed, strengths = smoothed_baseline(baseline, variant)
    tasks = list(dict.fromkeys(pairs.labels["task_name"][pairs.counted]))
    mixed = pairs.steps > 0
    known = mixed & ~np.isnan(error)
    raw, centred = forecast_correlations(baseline, variant, mixed)
    return Evaluated(
        name=name,
        metrics=metrics,
        smoothed=np.concatenate([*map(row_means, smoothed.values())]),
        damped=np.concatenate([*map(row_means, damped_baseline(baseline, variant).values())]),
        step_error=step_errors(pairs, variant),
        figures={
            "share_improved": float((error < base_error)[known].mean()) if known.any() else nan,
            "n_forecasts": int(known.sum()),
            "forecast_correlation": raw,
            "forecast_correlation_centred": centred,
            "cross_group_mass": cross_group_mass,
            **ratios(baseline, variant, tasks),
            "smoothed_tasks": sum(strengths[task] > 0 for task in tasks),
        },
        run=run or {},
    )


def evaluate_files(
    baseline: Baseline, pairs: Pairs, files: Mapping[str, tuple[Path, Path, Path]]
) -> dict[str, Evaluated]:
    """Reduce the variants one after the other, from scores, forecasts and group attention."""
    return {
        name: evaluate(
            name,
            baseline,
            read_variant(baseline, scores, forecasts),
            pairs,
            cross_group_mass=mean_cross_group_mass(read_results(group_mass)),
            run=read_metadata(scores),
        )
        for name, (scores, forecasts, group_mass) in progress(
            files.items(), desc="soft masks", unit="variant"
        )
    }


def forecast_correlations(
    baseline: Baseline, variant: Mapping[str, TaskForecasts], mixed: np.ndarray
) -> tuple[float, float]:
    """Correlation with the baseline's medians over scaled steps, and without each path's level."""
    parts, start = [], 0
    for task, base in baseline.forecasts.items():
        scale = baseline.scale[task]
        rows = mixed[start : start + len(scale)] & ~np.isnan(scale)
        start += len(scale)
        x, y = (f.point[rows] / scale[rows, None] for f in (base, variant[task]))
        mean = x.mean(axis=1, keepdims=True)
        parts.append([x.ravel(), y.ravel(), (x - mean).ravel(), (y - mean).ravel()])
    x, y, x_centred, y_centred = map(np.concatenate, zip(*parts, strict=True))
    return _pearson(x, y), _pearson(x_centred, y_centred)


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2 or not (x.std() > 0 and y.std() > 0):
        return nan
    return float(np.corrcoef(x, y)[0, 1])


def mean_cross_group_mass(table: pd.DataFrame) -> float:
    """Mean mass of `measure_group_mass`: windows weigh by mixed series, tasks alike."""
    rows = table[(table["num_mixed_series"] > 0) & table["cross_group_mass"].notna()]
    mixed = rows["num_mixed_series"]
    sums = pd.DataFrame({"mass": rows["cross_group_mass"] * mixed, "mixed": mixed})
    sums = sums.groupby(rows["task_name"]).sum()
    return float((sums["mass"] / sums["mixed"]).mean())


class Tested(NamedTuple):
    """The row of a variant, and the clusters' mean log ratios of its tests by their prefix."""

    row: pd.DataFrame
    means: dict[str, pd.Series]


def rows_of(
    baseline: Baseline,
    pairs: Pairs,
    batch_sizes: np.ndarray,
    evaluated: Mapping[str, Evaluated],
    controls: list[str],
    validity: Validity,
    criteria: Criteria = USUAL,
    shuffles: pd.DataFrame | None = None,
) -> dict[str, Tested]:
    """Test each variant against the baseline, its controls, the smoothed and the damped baseline.

    A row each, see `ttest_row`; then `pair`, `n_unmixed` (pairs in which nothing can mix), the
    figures of `Evaluated`, `metric_columns`, and for what it is compared with ``vs_{name}_*``, or
    `shuffle_columns`. Comparisons with controls leave out batches of two, where these are the soft
    mask.
    """
    mixing, shuffled = pairs.counted, pairs.where(batch_sizes > 2)
    base = baseline.metrics_of(baseline.forecasts)
    full = {metric: base[metric] for metric in METRICS}
    whole = Errors(pairs, full)
    unmeasured = dict.fromkeys(("speedup", "delta_peak_alloc_mb", "delta_peak_reserved_mb"), nan)
    rows = {}
    random = {name: Errors(shuffled, {name: one.error}) for name, one in evaluated.items()}
    for name, one in evaluated.items():
        found = Errors(pairs, {(m, name): one.metrics[m] for m in METRICS})
        found = found | whole | Errors(pairs, {SMOOTHED: one.smoothed, DAMPED: one.damped})
        results = {m: found.test(m, (m, name), criteria, among=mixing) for m in METRICS}
        mase = ("MASE", name)
        compared = {
            other: found.test(other, mase, criteria, among=mixing) for other in (SMOOTHED, DAMPED)
        }
        for control in controls:
            if (other := control_of(name, control)) in evaluated:
                both = random[name] | random[other]
                compared[control] = both.test(other, name, criteria, among=shuffled.counted)
        same = one.run.get("weights_fingerprint", "") == baseline.fingerprint
        row = ttest_row(
            pd.DataFrame(unmeasured, index=[0]),
            results["MASE"],
            validity.unless("" if same else "gate weights failed (not the baseline's weights)"),
            setting=setting_of(name),
            run={**one.run, "variant": name},
        )
        coverage = (
            np.nanmean(x) if mixing.any() else nan
            for x in (pairs.mean(base["covered"]), pairs.mean(one.metrics["covered"]))
        )
        extra = {
            "pair": pairs.unit,
            "n_unmixed": int((~mixing).sum()),
            **one.figures,
            **metric_columns(results, *coverage),
        }
        for other, result in compared.items():
            extra |= {f"vs_{other}_{column}": getattr(result, column) for column in TOLD}
        for other in (SMOOTHED, DAMPED):
            alone = found.test("MASE", other, criteria, among=mixing)
            extra |= {f"{other}_alone_{column}": getattr(alone, column) for column in COMPARED[:4]}
        left_out = int((mixing & ~shuffled.counted).sum())
        extra |= {f"vs_{other}_left_out": left_out for other in compared if other in controls}
        if shuffles is not None and control_of(name, "permuted"):
            extra |= shuffle_columns(shuffles[shuffles["variant"] == name], criteria.alpha)
        values = {"": results["MASE"].means, "SQL_": results["SQL"].means}
        values |= {f"vs_{other}_": result.means for other, result in compared.items()}
        rows[name] = Tested(row.assign(**extra), values)
    return rows


def early(keys: pd.DataFrame) -> np.ndarray:
    """Which forecasts to choose by, (n,): of the first half of windows; tasks of one take turns."""
    window = keys["window_index"].groupby(keys["task_name"], sort=False)
    half, last = window.transform("nunique") / 2, window.transform("max")
    turn = keys["task_name"].map({t: i % 2 for i, t in enumerate(keys["task_name"].unique())})
    first = window.rank(method="dense") <= half
    return np.where(last == window.transform("min"), turn == 0, first)


def chosen_early(
    baseline: Baseline, pairs: Pairs, evaluated: Mapping[str, Evaluated], criteria: Criteria = USUAL
) -> tuple[str, PairedResult] | None:
    """Choose the best soft mask by early windows and test it by the others; None without a gain."""
    names = [name for name in evaluated if setting_of(name)["control"] == NO_CONTROL]
    errors = {name: evaluated[name].error for name in names}
    full = errors_of(baseline.forecasts)
    is_early = early(baseline.all_keys)
    first, cluster = pairs.where(is_early), pairs.labels["cluster"]
    gains = {name: log_ratios(first.mean(full), first.mean(one)) for name, one in errors.items()}
    best = pd.DataFrame(gains).groupby(cluster).mean().mean().dropna()
    if best.empty:
        return None
    name, later = str(best.idxmin()), pairs.where(~is_early)
    both = Errors(later, {"": full, name: errors[name]})
    return name, both.test("", name, criteria, among=later.counted)


def summarise(
    tested: Mapping[str, Tested], controls: list[str], criteria: Criteria = USUAL
) -> pd.DataFrame:
    """Put the rows of a sweep into one table and correct for their number by `correct_family`.

    Soft masks and `joint` are one family and controls another, in SQL and ``vs_{name}_`` too,
    against controls the soft masks alone; with the module's two answers. What is no soft mask is
    asked about smoothing only.
    """
    table = pd.concat([one.row for one in tested.values()], ignore_index=True)
    table["family"] = np.where(table["control"] == NO_CONTROL, "soft masks", "controls")
    soft = is_soft(table)
    families = [table["family"] == family for family in table["family"].unique()]
    compared = {f"vs_{name}_": families for name in (SMOOTHED, DAMPED)}
    compared |= {f"vs_{name}_": [soft] for name in controls}
    for prefix, members in {"": families, "SQL_": families, **compared}.items():
        names = [prefix + column for column in (*COMPARED, "verdict")]
        table = table.reindex(columns=table.columns.union(names, sort=False))
        for member in members:
            plain = table.loc[member, names]
            plain.columns = plain.columns.str.removeprefix(prefix)
            nothing = pd.Series(dtype=float)
            values = [one.means.get(prefix, nothing) for one in tested.values()]
            values = [one for one, used in zip(values, member, strict=True) if used]
            found = correct_family(plain.astype(dict.fromkeys(COMPARED, float)), values, criteria)
            for column in ("log_ratio_p_family", "tost_p_family", "verdict_family"):
                table.loc[member, prefix + column] = found[column]
    gain = table["verdict_family"] == BETTER
    # One shuffle decides nothing where there are many.
    many = ["vs_shuffles_verdict"] if "vs_shuffles_verdict" in table else []
    alone = [name for name in controls if not (many and name == "permuted")]
    smoothing, random = (
        _answer(gain, table[[f"vs_{name}_verdict_family" for name in names] + more])
        for names, more in (([SMOOTHED, DAMPED], []), (alone, many))
    )
    return table.assign(
        nothing_lost=[
            *map(nothing_lost, table[["verdict_family", "SQL_verdict_family"]].to_numpy())
        ],
        more_than_smoothing=smoothing,
        more_than_random=np.where(soft, random, "not asked"),
    )


def _answer(gain: pd.Series, found: pd.DataFrame) -> np.ndarray:
    """Answer for each row whether a gain is one over all that it is compared with, by verdicts."""
    better = (found == BETTER).all(axis=1) & bool(len(found.columns))
    lost = found.isin([WORSE, EQUIVALENT]).any(axis=1)
    return np.select([~gain, better, lost], [NO_GAIN, YES, NO], default=UNDECIDED)
