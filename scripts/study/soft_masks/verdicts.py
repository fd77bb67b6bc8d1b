"""All tables of a sweep over soft masks, and its verdicts in plain words, computed from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from study.evaluation.gates import Validity
from study.evaluation.statistics import NO, NO_GAIN, UNDECIDED, YES, Criteria
from study.soft_masks.breakdown import (
    BEST_SEEN,
    BEST_TRUE,
    by_feature,
    by_horizon,
    by_sample_size,
)
from study.soft_masks.pairs import Baseline, Pairs, errors_of, scaled_errors_of
from study.soft_masks.summary import SMOOTHED, Evaluated, rows_of, step_errors, summarise
from study.soft_masks.sweep import JOINT, NO_CONTROL, is_soft

COLUMNS = [
    *("study", "subject", "variant", "verdict", "gain", "more_than_smoothing"),
    *("more_than_random", "valid", "sentence"),
]

_MORE = {
    YES: "more than {other}",
    NO: "no more than {other}",
    UNDECIDED: "not shown to be more than {other}",
}

_VERDICTS = {
    "better": "It is better",
    "worse": "It is worse",
    "equivalent": "It is equivalent within {margin:.1%}",
    "inconclusive": "Whether it differs is open",
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
    study: str, summary: pd.DataFrame, samples: pd.DataFrame, validity: Validity
) -> pd.DataFrame:
    """Say in plain words what a sweep found, from its summary and its gain by sample size.

    Rows of `COLUMNS`: first whether the study is valid, then what follows for soft masks, then each
    measure at the temperature with the largest mean gain, then `joint`, then what samples of the
    smallest size would have shown. `gain` is 1 - the geometric mean of the MASE ratios.
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
    for _, joint in soft[soft["variant"] == JOINT].dropna(subset=["log_ratio_mean"]).iterrows():
        text = f"All series of a batch in one group: {_result(joint, tests)}"
        rows.append(_about(joint, JOINT, text))
    rows += _shrinking(samples)
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    return table.assign(study=study, valid=validity.valid)


def _about(row: pd.Series, subject: str, sentence: str) -> dict[str, object]:
    return {
        "subject": subject,
        "verdict": row["verdict_holm"],
        "gain": float(-np.expm1(row["log_ratio_mean"])),
        **row[["variant", "more_than_smoothing", "more_than_random"]],
        "sentence": sentence,
    }


def _validity(validity: Validity) -> dict[str, object]:
    if not validity.valid:
        text = f"NOT VALID: {validity.reason}. Nothing below says anything about the model."
    else:
        relative = validity.baseline_rel_mase
        text = f"Valid: all gates passed; the baseline has {relative:.3f} of Seasonal Naive's MASE."
    verdict = "valid" if validity.valid else "not valid"
    return {"subject": "validity", "verdict": verdict, "sentence": text}


def _result(row: pd.Series, tests: int) -> str:
    p = row["tost_p_holm" if row["verdict_holm"] == "equivalent" else "log_ratio_p_holm"]
    unit = "tasks" if row["pair"] == "task" else "series"
    text = (
        f"MASE {percent(row['log_ratio_mean'])} against full attention"
        f" (95 % interval {percent(row['log_ratio_ci_low'])} to"
        f" {percent(row['log_ratio_ci_high'])}, n = {row['n']} {unit},"
        f" {row['share_improved']:.0%} of forecasts improved)."
        f" {_VERDICTS[row['verdict_holm']].format(margin=row['tost_margin'])}"
        + (f" (p {p:.2g} by Holm over {tests} tests)." if not np.isnan(p) else ".")
    )
    if row["more_than_smoothing"] == NO_GAIN:
        return text
    parts = [_MORE[row["more_than_smoothing"]].format(other="a smoothed baseline gives")]
    if row["more_than_random"] in _MORE:
        parts.append(_MORE[row["more_than_random"]].format(other="random partners give"))
    return f"{text} The gain is {' and '.join(parts)}."


def _conclusion(summary: pd.DataFrame) -> dict[str, object]:
    rows = summary[is_soft(summary)]
    counts = rows["verdict_holm"].value_counts()
    tally = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in _VERDICTS)
    both = rows[(rows[["more_than_smoothing", "more_than_random"]] == YES).all(axis=1)]
    if len(both):
        verdict = "soft masks help"
        text = (
            f"Soft masks help: {len(both)} of {len(rows)} settings gain more than smoothing and"
            f" more than random partners give"
        )
    elif counts.get("better", 0):
        verdict = "a gain, but not shown to be learning across series"
        better = rows[rows["verdict_holm"] == "better"]
        refuted = better[(better[["more_than_smoothing", "more_than_random"]] == NO).any(axis=1)]
        text = (
            f"Soft masks gain in {counts['better']} of {len(rows)} settings, but in none is the"
            f" gain shown to be both more than smoothing and more than random partners give"
            f" ({len(refuted)} of them are no more than one of the two)"
        )
    elif counts.get("worse", 0) == len(rows) and len(rows):
        verdict, text = "soft masks hurt", "Soft masks hurt in every setting"
    else:
        verdict, text = "no gain", "No soft mask is better than full attention"
    tally_text = f"{text}. Of {len(rows)} settings: {tally}; all corrected by Holm's method."
    return {"subject": "soft masks", "verdict": verdict, "sentence": tally_text}


def _shrinking(samples: pd.DataFrame) -> list[dict[str, object]]:
    seen = samples[samples["variant"] == BEST_SEEN]
    if seen.empty:
        return []
    row = seen.loc[seen["n_forecasts"].idxmin()]
    worth = samples.set_index(["variant", "n_forecasts"]).loc[(BEST_TRUE, row["n_forecasts"])]
    text = (
        f"A study of {row['n_forecasts']} forecasts that reports its best variant would claim a"
        f" gain of {row['gain']:.1%} on average (95 % of such studies {row['ci_low']:.1%} to"
        f" {row['ci_high']:.1%}), where what it chose gains {worth['gain']:.1%} over all"
        f" {seen['n_forecasts'].max()} forecasts."
    )
    return [{"subject": "sample size", "gain": float(row["gain"]), "sentence": text}]


def as_markdown(table: pd.DataFrame, title: str) -> str:
    """Write verdicts as a page of Markdown."""
    return f"# {title}\n\n" + "".join(f"- {sentence}\n" for sentence in table["sentence"])


SMOOTHING_COLUMNS = [
    *("study", "variant", "measure", "temperature", "control", "pair", "n", "roughness_ratio"),
    *("interval_width_ratio", "smoothed_tasks"),
    *(f"smoothed_alone_log_ratio_{c}" for c in ("mean", "ci_low", "ci_high", "p")),
    *(f"vs_{SMOOTHED}_log_ratio_{c}" for c in ("mean", "ci_low", "ci_high", "p", "p_holm")),
    *(f"vs_{SMOOTHED}_{c}" for c in ("tost_p", "tost_p_holm", "verdict", "verdict_holm")),
    *("verdict_holm", "more_than_smoothing", "more_than_random", "valid"),
]


def sweep_tables(
    study: str,
    baseline: Baseline,
    pairs: Pairs,
    evaluated: Mapping[str, Evaluated],
    controls: list[str],
    validity: Validity,
    feature_of: Callable[[str, str], str],
    criteria: Criteria,
    *,
    resamples: int,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Return all tables of a sweep, whose `evaluated` variants include the controls.

    `summary`, `by_feature`, `by_horizon`, `by_sample_size`, `smoothing`, `verdicts`.
    """
    rows = rows_of(baseline, pairs, evaluated, controls, validity, criteria)
    alpha = criteria.alpha
    summary = summarise(list(rows.values()), controls, alpha=alpha)
    keys = baseline.all_keys
    variants = list(evaluated.values())
    scaled, error = scaled_errors_of(baseline.forecasts), errors_of(baseline.forecasts)
    tables = {
        "summary": summary,
        "by_feature": by_feature(error, variants, keys, pairs, feature_of, alpha=alpha),
        "by_horizon": by_horizon(
            step_errors(pairs, scaled), pairs.mase(scaled), variants, pairs, alpha=alpha
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
    tables["verdicts"] = verdicts(study, summary, tables["by_sample_size"], validity)
    return tables
