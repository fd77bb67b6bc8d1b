"""Two methods side by side: accuracy and time by task, and the row of a t-test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan

import pandas as pd

from chronos2_attention.errors import InputError
from study.evaluation.gates import Validity, by_task
from study.evaluation.statistics import (
    USUAL,
    Criteria,
    PairedResult,
    correct_family,
    paired_test,
)
from study.forecasts.files import RUN_COLUMNS

TIMING_COLUMNS = [
    "inference_time_s_median",
    "inference_time_s_mean",
    "inference_time_s_std",
    "perf_repeats",
    "perf_series",
    "peak_alloc_mb_median",
    "peak_alloc_mb_max",
    "peak_reserved_mb_median",
    "peak_reserved_mb_max",
    "peak_rss_mb",
]

# Of the run that was timed; they replace those of the run whose accuracy is reported.
TIMED_COLUMNS = list(RUN_COLUMNS[4:])


def with_timings(
    accuracy: pd.DataFrame, efficiency: pd.DataFrame | None, variant: str
) -> pd.DataFrame:
    """Put a variant's times and memory beside its accuracy.

    `efficiency` is from `study.speed.efficiency.measure_suite`; without it, `TIMING_COLUMNS`, which
    follow `ctx_used`, are NaN. `TIMED_COLUMNS` become those of the timing where there is one.
    """
    table = accuracy.copy()
    place = table.columns.get_loc("ctx_used") + 1
    if efficiency is None:
        for offset, column in enumerate(TIMING_COLUMNS):
            table.insert(place + offset, column, nan)
        return table
    timed = efficiency[efficiency["variant"] == variant].set_index("task_name")
    missing = [name for name in table["task_name"] if name not in timed.index]
    if missing:
        raise InputError(
            f"no timing of '{variant}' on task {missing[0]!r}",
            "table of efficiency",
            "measure it again",
        )
    timed = timed.loc[table["task_name"]]
    if timed["weights_fingerprint"].tolist() != table["weights_fingerprint"].tolist():
        raise InputError(
            "times and accuracy are of different weights", "table of efficiency", "measure it again"
        )
    for offset, column in enumerate(TIMING_COLUMNS):
        table.insert(place + offset, column, timed[column].to_numpy())
    for column in TIMED_COLUMNS:
        table[column] = timed[column].to_numpy()
    return table


def radius_summary(rows: Sequence[pd.DataFrame], *, alpha: float = 0.05) -> pd.DataFrame:
    """Put the tests of several radii, from `ttest_row`, into one table.

    Together they are the family that `correct_family` corrects, at level `alpha`.
    """
    return correct_family(pd.concat(rows, ignore_index=True), alpha=alpha)


def compare_tasks(
    baseline: pd.DataFrame,
    variant: pd.DataFrame,
    *,
    labels: tuple[str, str] = ("full", "sparse"),
    setting: Mapping[str, object] | None = None,
    metric: str = "MASE",
) -> pd.DataFrame:
    """Put the performance of two methods on the same tasks side by side, task by task.

    Returns `task_name`, the setting (columns with one value each, such as the radius),
    ``{metric}_{label}`` twice, `delta_metric` (variant - baseline),
    ``inference_time_s_median_{label}`` twice, `speedup` (baseline / variant),
    ``peak_{alloc,reserved}_mb_median_{label}`` twice each, `delta_peak_alloc_mb`,
    `delta_peak_reserved_mb`; NaN where not measured. In the baseline's order of tasks.
    """
    first, second = labels
    left, right = by_task(baseline, first), by_task(variant, second)
    alone = sorted(set(left.index) ^ set(right.index))
    if alone:
        raise InputError(
            f"tasks {alone} are only in one of the two",
            f"{first} and {second}",
            "make both results for the same suite",
        )
    for label, table in zip(labels, (left, right), strict=True):
        if metric not in table:
            raise InputError(f"no column {metric!r}", label, "make the scores again")
    right = right.loc[left.index]
    frame = pd.DataFrame({"task_name": left.index, **(setting or {})}, index=left.index)

    def both(column: str) -> None:
        for label, table in zip(labels, (left, right), strict=True):
            frame[f"{column}_{label}"] = table[column].astype(float) if column in table else nan

    both(metric)
    frame["delta_metric"] = frame[f"{metric}_{second}"] - frame[f"{metric}_{first}"]
    both("inference_time_s_median")
    time = "inference_time_s_median"
    frame["speedup"] = frame[f"{time}_{first}"] / frame[f"{time}_{second}"]
    for kind in ("alloc", "reserved"):
        both(f"peak_{kind}_mb_median")
    for kind in ("alloc", "reserved"):
        column = f"peak_{kind}_mb_median"
        frame[f"delta_peak_{kind}_mb"] = frame[f"{column}_{second}"] - frame[f"{column}_{first}"]
    return frame.reset_index(drop=True)


def ttest_row(
    compared: pd.DataFrame,
    validity: Validity,
    *,
    labels: tuple[str, str] = ("full", "sparse"),
    metric: str = "MASE",
    setting: Mapping[str, object] | None = None,
    run: Mapping[str, object] | None = None,
    criteria: Criteria = USUAL,
) -> pd.DataFrame:
    """Summarise a comparison over tasks, from `compare_tasks` with the same labels, in one row.

    Returns `metric_col`, the setting, `chunk_size`, `backend`, the fields of `PairedResult` but its
    log-ratio interval, means of speed and memory, `baseline_rel_mase` (geometric mean of the
    baseline's MASE relative to Seasonal Naive's), `valid`; then the log-ratio interval, the rest of
    `RUN_COLUMNS` and `reason` (of the gates and of the statistics). What `run` lacks is empty.
    """
    first, second = labels
    result = paired_test(compared[f"{metric}_{first}"], compared[f"{metric}_{second}"], criteria)
    run = run or {}
    names = [f for f in PairedResult.__dataclass_fields__ if f != "reason"]
    about = ("study", "model", "variant", "weights_fingerprint", "device", "dtype")
    late = ["log_ratio_ci_low", "log_ratio_ci_high"]
    row = {
        "metric_col": metric,
        **(setting or {}),
        "chunk_size": run.get("chunk_size", ""),
        "backend": run.get("backend", ""),
        **{name: getattr(result, name) for name in names if name not in late},
        "mean_speedup": compared["speedup"].mean(),
        "median_speedup": compared["speedup"].median(),
        "mean_delta_peak_alloc_mb": compared["delta_peak_alloc_mb"].mean(),
        "mean_delta_peak_reserved_mb": compared["delta_peak_reserved_mb"].mean(),
        "baseline_rel_mase": validity.baseline_rel_mase,
        "valid": bool(validity.valid),
        **{name: getattr(result, name) for name in late},
        **{name: run.get(name, "") for name in about},
        "reason": "; ".join(filter(None, [validity.reason, result.reason])),
    }
    return pd.DataFrame([row])
