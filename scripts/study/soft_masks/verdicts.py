"""All tables of a sweep over soft masks, and its verdicts in plain words, computed from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from study.evaluation.clusters import Pairs
from study.evaluation.gates import Validity
from study.evaluation.statistics import (
    BETTER,
    EQUIVALENT,
    NO,
    NO_GAIN,
    NOT_TESTED,
    OPEN,
    UNDECIDED,
    WORSE,
    YES,
    Criteria,
    PairedResult,
)
from study.soft_masks.breakdown import (
    BEST_SEEN,
    BEST_TRUE,
    by_feature,
    by_horizon,
    by_sample_size,
)
from study.soft_masks.pairs import Baseline, errors_of
from study.soft_masks.summary import (
    DAMPED,
    SMOOTHED,
    Evaluated,
    chosen_early,
    rows_of,
    step_errors,
    summarise,
)
from study.soft_masks.sweep import JOINT, NO_CONTROL, is_soft

COLUMNS = [
    *("study", "subject", "variant", "is_control", "verdict", "gain", "gain_low", "gain_high"),
    *("n_clusters", "effect_80", "tost_margin", "nothing_lost", "more_than_smoothing"),
    *("more_than_random", "valid", "sentence"),
]

_MORE = {
    YES: "more than {other}",
    NO: "no more than {other}",
    UNDECIDED: "not shown to be more than {other}",
}

_VERDICTS = {
    BETTER: "It is better",
    WORSE: "It is worse",
    EQUIVALENT: "It is equivalent within {margin:.1%}",
    OPEN: "Whether it differs is open",
    NOT_TESTED: "It is not tested ({reason})",
}


def percent(log_ratio: float, digits: int = 1) -> str:
    """Write a log ratio of errors as a change in percent, with its sign."""
    return f"{100 * np.expm1(log_ratio):+.{digits}f} %"


def best_of(summary: pd.DataFrame, measure: str | None = None) -> pd.Series | None:
    """Return the row of the soft mask with the largest mean gain, or None without a tested one."""
    rows = summary[is_soft(summary) & ((measure is None) | (summary["measure"] == measure))]
    rows = rows.dropna(subset=["log_ratio_mean"])
    return None if rows.empty else rows.loc[rows["log_ratio_mean"].idxmin()]


def verdicts(
    study: str,
    summary: pd.DataFrame,
    samples: pd.DataFrame,
    validity: Validity,
    chosen: tuple[str, PairedResult] | None = None,
) -> pd.DataFrame:
    """Say in plain words what a sweep found, from its summary and its gain by sample size.

    Rows of `COLUMNS`: first whether the study is valid, then what follows for soft masks, then each
    measure at the temperature with the largest mean gain, then the controls of the best of them,
    then `joint`, then the mask `chosen` by early windows and tested by later ones, then what
    samples of the smallest size would have shown. `gain` is 1 - the geometric mean of the MASE
    ratios, with a 95 % interval.
    """
    rows = [_validity(validity), _conclusion(summary)]
    soft = summary[summary["control"] == NO_CONTROL]
    tests = int(soft["log_ratio_p"].notna().sum())
    for measure in dict.fromkeys(summary["measure"][is_soft(summary)]):
        best = best_of(summary, measure)
        if best is None:
            reason = next((f"({reason})" for reason in soft["reason"].fillna("") if reason), "")
            text = f"{measure.capitalize()}: nothing could be tested. {reason}".strip()
            rows.append({"subject": measure, "sentence": text})
        else:
            at = f"{measure.capitalize()}: the best mean is at temperature {best['temperature']:g}"
            rows.append(_about(best, measure, f"{at}, with {_result(best, tests)}"))
    rows += _controls(summary)
    for _, joint in soft[soft["variant"] == JOINT].dropna(subset=["log_ratio_mean"]).iterrows():
        text = f"All series of a batch in one group: {_result(joint, tests)}"
        rows.append(_about(joint, JOINT, text))
    if chosen is not None:
        rows.append(_later(*chosen))
    rows += _shrinking(samples)
    table = pd.DataFrame([{"is_control": False, **row} for row in rows]).reindex(columns=COLUMNS)
    return table.assign(study=study, valid=validity.valid)


def _about(row: pd.Series, subject: str, sentence: str) -> dict[str, object]:
    answers = ["variant", "nothing_lost", "more_than_smoothing", "more_than_random"]
    about = {"subject": subject, "verdict": row["verdict_family"], "sentence": sentence}
    return about | _effect(row) | dict(row[answers])


def _effect(row: Mapping[str, float]) -> dict[str, float]:
    """Return the gain of a result, with its interval, and what it rests on."""
    ends = {"gain": "mean", "gain_low": "ci_high", "gain_high": "ci_low"}
    gains = {gain: float(-np.expm1(row[f"log_ratio_{end}"])) for gain, end in ends.items()}
    return gains | {name: row[name] for name in ("n_clusters", "effect_80", "tost_margin")}


def _controls(summary: pd.DataFrame) -> list[dict[str, object]]:
    """Say what the controls of the best soft mask change."""
    best = best_of(summary)
    if best is None:
        return []
    same = (summary[["measure", "temperature"]] == best[["measure", "temperature"]]).all(axis=1)
    rows = summary[same & (summary["control"] != NO_CONTROL)].dropna(subset=["log_ratio_mean"])
    return [
        {
            **{"subject": row["control"], "variant": row["variant"], "is_control": True},
            **{"verdict": row["verdict"], **_effect(row)},
            "sentence": f"Its control {row['control']}: MASE {_change(row)}.",
        }
        for row in rows.to_dict("records")
    ]


def _change(row: Mapping[str, float]) -> str:
    mean, low, high = (percent(row[f"log_ratio_{end}"]) for end in ("mean", "ci_low", "ci_high"))
    return f"{mean} against full attention (95 % interval {low} to {high})"


def _validity(validity: Validity) -> dict[str, object]:
    if not validity.valid:
        text = f"NOT VALID: {validity.reason}. Nothing below says anything about the model."
    else:
        relative = validity.baseline_rel_mase
        text = (
            f"Valid: no gate failed (checked: {validity.checked}); the baseline has {relative:.3f}"
            f" of Seasonal Naive's MASE."
        )
    verdict = "valid" if validity.valid else "not valid"
    return {"subject": "validity", "verdict": verdict, "sentence": text}


def _result(row: pd.Series, tests: int) -> str:
    verdict = row["verdict_family"]
    p = row["tost_p_family" if verdict == EQUIVALENT else "log_ratio_p_family"]
    unit = "tasks" if row["pair"] == "task" else "series"
    text = (
        f"MASE {percent(row['log_ratio_mean'])} against full attention"
        f" (95 % interval {percent(row['log_ratio_ci_low'])} to"
        f" {percent(row['log_ratio_ci_high'])}, {row['n_clusters']} clusters of {unit},"
        f" {row['share_improved']:.0%} of forecasts improved), SQL"
        f" {percent(row['SQL_log_ratio_mean'])}."
        f" {_VERDICTS[verdict].format(margin=row['tost_margin'], reason=row['reason'])}"
        + (f" (p {p:.2g} by step-down maxT over {tests} tests)" if not np.isnan(p) else "")
        + f"; this study finds {row['effect_80']:.1%} with 80 % power."
    )
    if row["more_than_smoothing"] == NO_GAIN:
        return text
    parts = [_MORE[row["more_than_smoothing"]].format(other="a smoothed or damped baseline gives")]
    if row["more_than_random"] in _MORE:
        parts.append(_MORE[row["more_than_random"]].format(other="random partners give"))
    return f"{text} The gain is {' and '.join(parts)}."


def _conclusion(summary: pd.DataFrame) -> dict[str, object]:
    rows = summary[is_soft(summary)]
    counts = rows["verdict_family"].value_counts()
    tally = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in _VERDICTS)
    both = rows[(rows[["more_than_smoothing", "more_than_random"]] == YES).all(axis=1)]
    if len(both):
        verdict = "soft masks help"
        text = (
            f"Soft masks help: {len(both)} of {len(rows)} settings gain more than smoothing and"
            f" more than random partners give"
        )
    elif counts.get(BETTER, 0):
        verdict = "a gain, but not shown to be learning across series"
        better = rows[rows["verdict_family"] == BETTER]
        refuted = better[(better[["more_than_smoothing", "more_than_random"]] == NO).any(axis=1)]
        text = (
            f"Soft masks gain in {counts[BETTER]} of {len(rows)} settings, but in none is the"
            f" gain shown to be both more than smoothing and more than random partners give"
            f" ({len(refuted)} of them are no more than one of the two)"
        )
    elif counts.get(NOT_TESTED, 0) == len(rows):
        verdict, text = NOT_TESTED, "Nothing was tested"
    elif counts.get(WORSE, 0) == len(rows):
        verdict, text = "soft masks hurt", "Soft masks hurt in every setting"
    elif counts.get(OPEN, 0) or counts.get(NOT_TESTED, 0):
        verdict, text = OPEN, "No soft mask is shown to be better, and whether some are is open"
    else:
        verdict, text = NO_GAIN, "No soft mask is better than full attention"
    tally_text = f"{text}. Of {len(rows)} settings: {tally}; all corrected by step-down maxT."
    return {"subject": "soft masks", "verdict": verdict, "sentence": tally_text}


def _later(variant: str, result: PairedResult) -> dict[str, object]:
    p = result.log_ratio_p
    text = (
        f"Chosen by early windows, tested by later ones: {variant}, MASE"
        f" {percent(result.log_ratio_mean)} (95 % interval {percent(result.log_ratio_ci_low)} to"
        f" {percent(result.log_ratio_ci_high)}, {result.n_clusters} clusters"
        + (f", p {p:.2g})" if not np.isnan(p) else ")")
        + f": {result.verdict}."
    )
    about = {"subject": "chosen early", "variant": variant, "verdict": result.verdict}
    return {**about, **_effect(vars(result)), "sentence": text}


def _shrinking(samples: pd.DataFrame) -> list[dict[str, object]]:
    seen = samples[samples["variant"] == BEST_SEEN]
    if seen.empty:
        return []
    row = seen.loc[seen["n_forecasts"].idxmin()]
    worth = samples.set_index(["variant", "n_forecasts"]).loc[(BEST_TRUE, row["n_forecasts"])]
    text = (
        f"A study of {row['n_forecasts']} forecasts that reports its best variant would claim a"
        f" gain of {row['gain']:.1%} on average (95 % of such studies {row['ci_low']:.1%} to"
        f" {row['ci_high']:.1%}), where what it chose gains {worth['gain']:.1%} in later"
        f" windows."
    )
    return [{"subject": "sample size", "gain": float(row["gain"]), "sentence": text}]


def as_markdown(table: pd.DataFrame, title: str) -> str:
    """Write verdicts as a page of Markdown."""
    return f"# {title}\n\n" + "".join(f"- {sentence}\n" for sentence in table["sentence"])


SMOOTHING_COLUMNS = [
    *("study", "variant", "measure", "temperature", "control", "pair", "n", "roughness_ratio"),
    *("interval_width_ratio", "smoothed_tasks"),
    *(f"smoothed_alone_log_ratio_{c}" for c in ("mean", "ci_low", "ci_high", "p")),
    *(
        f"vs_{name}_{c}"
        for name in (SMOOTHED, DAMPED)
        for c in (
            *("log_ratio_mean", "log_ratio_ci_low", "log_ratio_ci_high", "log_ratio_p"),
            *("log_ratio_p_family", "tost_p", "tost_p_family", "verdict", "verdict_family"),
        )
    ),
    *("verdict_family", "more_than_smoothing", "more_than_random", "valid"),
]


def sweep_tables(
    study: str,
    baseline: Baseline,
    pairs: Pairs,
    batch_sizes: np.ndarray,
    evaluated: Mapping[str, Evaluated],
    controls: list[str],
    validity: Validity,
    feature_of: Callable[[str, str], str],
    criteria: Criteria,
    shuffles: pd.DataFrame | None = None,
    *,
    resamples: int,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Return all tables of a sweep, whose `evaluated` variants include the controls.

    `summary`, `by_feature`, `by_horizon`, `by_sample_size`, `smoothing`, `verdicts`.
    """
    rows = rows_of(baseline, pairs, batch_sizes, evaluated, controls, validity, criteria, shuffles)
    alpha = criteria.alpha
    summary = summarise(rows, controls, criteria)
    keys = baseline.all_keys
    variants = list(evaluated.values())
    error = errors_of(baseline.forecasts)
    tables = {
        "summary": summary,
        "by_feature": by_feature(error, variants, keys, pairs, feature_of, alpha=alpha),
        "by_horizon": by_horizon(
            step_errors(pairs, baseline.forecasts), pairs.mean(error), variants, pairs, alpha=alpha
        ),
        "by_sample_size": by_sample_size(
            error, variants, keys, pairs, resamples=resamples, seed=seed, alpha=alpha
        ),
        "smoothing": summary[SMOOTHING_COLUMNS],
    }
    for name in ("by_feature", "by_horizon", "by_sample_size"):
        tables[name].insert(0, "study", study)
        tables[name]["valid"] = validity.valid
    if not summary["valid"].all() and validity.valid:
        validity = validity.unless("gate weights failed (not all variants have the same weights)")
    chosen = chosen_early(baseline, pairs, evaluated, criteria)
    tables["verdicts"] = verdicts(study, summary, tables["by_sample_size"], validity, chosen)
    return tables
