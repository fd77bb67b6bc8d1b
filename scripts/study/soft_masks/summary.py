"""The tests of soft masks: against the baseline, their controls and a smoothed baseline.

`more_than_random` and `more_than_smoothing` say what a gain is worth:

- ``no gain``: the verdict against the baseline, corrected for the number of tests, is not
  ``better``;
- ``yes``: and better than each control, or than the smoothed baseline, too;
- ``no``: equivalent to one of these within the margin, or worse;
- ``undecided``: neither can be told, or there is nothing to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd

from study.evaluation.comparison import ttest_row
from study.evaluation.gates import Validity
from study.evaluation.statistics import (
    NO,
    NO_GAIN,
    UNDECIDED,
    USUAL,
    YES,
    Criteria,
    PairedResult,
    correct_family,
    paired_test,
)
from study.forecasts.files import ratio, read_metadata
from study.jobs.files import read_results
from study.jobs.progress import progress
from study.soft_masks.pairs import (
    Baseline,
    Pairs,
    TaskForecasts,
    errors_of,
    read_variant,
    scaled_errors_of,
)
from study.soft_masks.smoothing import ratios, smoothed_baseline
from study.soft_masks.sweep import NO_CONTROL, control_of, is_soft, setting_of

SMOOTHED = "smoothed"

COMPARED = ("log_ratio_mean", "log_ratio_ci_low", "log_ratio_ci_high", "log_ratio_p", "tost_p")


@dataclass(frozen=True)
class Evaluated:
    """A variant reduced to what the tests need.

    `mase` and `smoothed_mase` (of the baseline smoothed until it is as rough as the variant) are of
    each pair, (n_pairs,), `error` is of each forecast, (n,), `step_error` the mean scaled error of
    each pair at each step, (n_pairs, longest horizon). `figures`: `roughness_ratio`,
    `interval_width_ratio`, `smoothed_tasks` (where the smoothed baseline differs from the
    baseline), `share_improved`, `forecast_correlation`, `forecast_correlation_centred`,
    `cross_group_mass`. `run` is the metadata of the scores.
    """

    name: str
    mase: np.ndarray
    smoothed_mase: np.ndarray
    error: np.ndarray
    step_error: np.ndarray
    figures: dict[str, float]
    run: Mapping[str, str] = field(default_factory=dict)


def step_errors(pairs: Pairs, scaled_error: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the mean scaled error of each pair at each step, from those by task.

    float64, shape (n_pairs, longest horizon); NaN beyond a task's horizon. Tasks are in the
    baseline's order.
    """
    longest = max(errors.shape[1] for errors in scaled_error.values())
    size = len(pairs.labels) * longest
    sums, counts = np.zeros(size), np.zeros(size)
    start = 0
    for errors in scaled_error.values():
        pair = pairs.pair[start : start + len(errors)]
        place = pair[:, None] * longest + np.arange(errors.shape[1])
        known = ~np.isnan(errors)
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
    errors, error = scaled_errors_of(variant), errors_of(variant)
    base_error = errors_of(baseline.forecasts)
    smoothed, strengths = smoothed_baseline(baseline, variant)
    tasks = list(dict.fromkeys(pairs.labels["task_name"][pairs.mixing]))
    mixed = pairs.batch_size > 1
    known = mixed & ~np.isnan(error) & ~np.isnan(base_error)
    raw, centred = forecast_correlations(baseline, variant, mixed)
    return Evaluated(
        name=name,
        mase=pairs.mase(errors),
        smoothed_mase=pairs.mase(smoothed),
        error=error,
        step_error=step_errors(pairs, errors),
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
    """Read the variants one after the other and keep of each what the tests need.

    `files` are each variant's scores, forecasts and measured group attention.
    """
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
    """Pearson's correlation of a variant's median forecasts with the baseline's, over all steps.

    Each series is divided by its seasonal error. Levels dominate such a correlation; the second
    figure is that of the forecasts less the mean of the baseline's path. `mixed` says which
    forecasts count, bool, shape (n,).
    """
    parts = []
    start = 0
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
    """Mean over layers, windows and tasks of the attention that goes to other groups.

    The table is from `measure_group_mass`. NaN where no series shares a batch with another group.
    Windows weigh by their series that do, tasks weigh alike.
    """
    rows = table[(table["num_mixed_series"] > 0) & table["cross_group_mass"].notna()]
    mixed = rows["num_mixed_series"]
    sums = pd.DataFrame({"mass": rows["cross_group_mass"] * mixed, "mixed": mixed})
    sums = sums.groupby(rows["task_name"]).sum()
    return float((sums["mass"] / sums["mixed"]).mean())


def rows_of(
    baseline: Baseline,
    pairs: Pairs,
    evaluated: Mapping[str, Evaluated],
    controls: list[str],
    validity: Validity,
    criteria: Criteria = USUAL,
) -> dict[str, pd.DataFrame]:
    """Test each variant against the baseline, its controls and the smoothed baseline.

    `joint` and controls have no controls. A variant of other weights than the baseline's is not
    valid.

    A row each, see `comparison.ttest_row`, with `measure`, `temperature` and `control` as its
    setting; then `pair`, `n_unmixed` (pairs left out because nothing can mix in them), the figures
    of `Evaluated`, and for each control and the smoothed baseline ``vs_{name}_*`` with the log
    ratio of the variant to it.
    """
    mixing, shuffling = pairs.mixing, pairs.shuffling
    base = pairs.mase(scaled_errors_of(baseline.forecasts))[mixing]
    unmeasured = dict.fromkeys(("speedup", "delta_peak_alloc_mb", "delta_peak_reserved_mb"), nan)
    rows = {}
    for name, one in evaluated.items():
        mase, smoothed = one.mase[mixing], one.smoothed_mase[mixing]
        same = one.run.get("weights_fingerprint", "") == baseline.fingerprint
        row = ttest_row(
            pd.DataFrame({"MASE_full": base, "MASE_soft": mase, **unmeasured}),
            validity.unless("" if same else "gate weights failed (not the baseline's weights)"),
            labels=("full", "soft"),
            setting=setting_of(name),
            run={**one.run, "variant": name},
            criteria=criteria,
        )
        alone = paired_test(base, smoothed, criteria)
        extra = {
            "pair": pairs.unit,
            "n_unmixed": int((~mixing).sum()),
            **one.figures,
            **_columns(SMOOTHED, paired_test(smoothed, mase, criteria)),
            **{f"smoothed_alone_{column}": getattr(alone, column) for column in COMPARED[:4]},
        }
        for control in controls:
            if (other := control_of(name, control)) in evaluated:
                both = evaluated[other].mase[shuffling], one.mase[shuffling]
                extra |= _columns(control, paired_test(*both, criteria))
                extra[f"vs_{control}_left_out"] = int((mixing & ~shuffling).sum())
        rows[name] = row.assign(**extra)
    return rows


def _columns(name: str, result: PairedResult) -> dict[str, object]:
    columns = ("n", *COMPARED, "p", "verdict", "reason")
    return {f"vs_{name}_{column}": getattr(result, column) for column in columns}


def summarise(
    rows: Sequence[pd.DataFrame], controls: list[str], *, alpha: float = 0.05
) -> pd.DataFrame:
    """Put the rows of a sweep into one table and correct for their number.

    The rows with the columns of `statistics.correct_family`, over soft masks and `joint` as one
    family and over controls as another (column `family`); ``vs_{name}_log_ratio_p_holm``,
    ``vs_{name}_tost_p_holm`` and ``vs_{name}_verdict_holm`` over the soft masks; and the answers
    `more_than_smoothing` and `more_than_random`, see the module. The answers of a row that is no
    soft mask concern smoothing only.
    """
    table = pd.concat(rows, ignore_index=True)
    table["family"] = np.where(table["control"] == NO_CONTROL, "soft masks", "controls")
    parts = [correct_family(p, alpha=alpha) for _, p in table.groupby("family", sort=False)]
    table = pd.concat(parts).sort_index()
    soft = is_soft(table)
    families = [table["family"] == family for family in table["family"].unique()]
    compared = {SMOOTHED: families, **{name: [soft] for name in controls}}
    for name, members in compared.items():
        prefix = f"vs_{name}_"
        names = [prefix + column for column in ("p", "verdict", *COMPARED)]
        table = table.reindex(columns=table.columns.union(names, sort=False))
        for member in members:
            plain = table.loc[member, names]
            plain.columns = plain.columns.str.removeprefix(prefix)
            found = correct_family(plain, alpha=alpha)
            for column in ("log_ratio_p_holm", "tost_p_holm", "verdict_holm"):
                table.loc[member, prefix + column] = found[column]
    gain = table["verdict_holm"] == "better"
    smoothing, random = (
        _answer(gain, table[[f"vs_{name}_verdict_holm" for name in names]])
        for names in ([SMOOTHED], controls)
    )
    return table.assign(
        more_than_smoothing=smoothing, more_than_random=np.where(soft, random, "not asked")
    )


def _answer(gain: pd.Series, found: pd.DataFrame) -> np.ndarray:
    """Answer for each row whether a gain is one over all that it is compared with, by verdicts."""
    better = (found == "better").all(axis=1) & bool(len(found.columns))
    lost = found.isin(["worse", "equivalent"]).any(axis=1)
    return np.select([~gain, better, lost], [NO_GAIN, YES, NO], default=UNDECIDED)
