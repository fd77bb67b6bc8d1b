"""The statistics of a sweep over soft masks: each file is read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from study.evaluation.gates import Validity
from study.evaluation.statistics import Criteria
from study.forecasts.files import read_metadata
from study.jobs.files import read_results
from study.jobs.progress import progress
from study.soft_masks.breakdown import by_feature, by_horizon, by_sample_size
from study.soft_masks.pairs import Baseline, Pairs, errors_of, read_variant, scaled_errors_of
from study.soft_masks.summary import (
    Evaluated,
    evaluate,
    mean_cross_group_mass,
    rows_of,
    step_errors,
    summarise,
)
from study.soft_masks.verdicts import SMOOTHING_COLUMNS, verdicts


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
