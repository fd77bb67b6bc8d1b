"""Two methods side by side: accuracy and time by task, and a test's row; the prior run's, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import nan

import pandas as pd

from chronos2_attention.errors import InputError
from study.evaluation.gates import Validity, attention_gate, baseline_gate, by_task, summary
from study.evaluation.statistics import UNDECIDED, USUAL, Criteria, correct_family, paired_test
from study.forecasts.files import RUN_COLUMNS

TIMING_COLUMNS = [
    *("inference_time_s_median", "inference_time_s_mean", "inference_time_s_std"),
    *("perf_repeats", "perf_series", "peak_alloc_mb_median", "peak_alloc_mb_max"),
    *("peak_reserved_mb_median", "peak_reserved_mb_max", "peak_rss_mb"),
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
    timed = pd.DataFrame(nan, table["task_name"], TIMING_COLUMNS)
    if efficiency is not None:
        found = efficiency[efficiency["variant"] == variant].set_index("task_name")
        missing = [name for name in table["task_name"] if name not in found.index]
        where, mend = "table of efficiency", "measure it again"
        if missing:
            raise InputError(f"no timing of '{variant}' on task {missing[0]!r}", where, mend)
        timed = found.loc[table["task_name"]]
        if timed["weights_fingerprint"].tolist() != table["weights_fingerprint"].tolist():
            raise InputError("times and accuracy are of different weights", where, mend)
        for column in TIMED_COLUMNS:
            table[column] = timed[column].to_numpy()
    place = table.columns.get_loc("ctx_used") + 1
    for offset, column in enumerate(TIMING_COLUMNS):
        table.insert(place + offset, column, timed[column].to_numpy())
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
    tables = {first: left, second: right.loc[left.index]}
    for label, table in tables.items():
        if metric not in table:
            raise InputError(f"no column {metric!r}", label, "make the scores again")
    frame = pd.DataFrame({"task_name": left.index, **(setting or {})}, index=left.index)
    time, memory = "inference_time_s_median", ("peak_alloc_mb", "peak_reserved_mb")
    for column in (metric, time, *(f"{kind}_median" for kind in memory)):
        for label, table in tables.items():
            frame[f"{column}_{label}"] = table[column].astype(float) if column in table else nan
        one, other = (frame[f"{column}_{label}"] for label in labels)
        if column == metric:
            frame["delta_metric"] = other - one
        elif column == time:
            frame["speedup"] = one / other
    for kind in memory:
        one, other = (frame[f"{kind}_median_{label}"] for label in labels)
        frame[f"delta_{kind}"] = other - one
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
    about = ("study", "model", "variant", "weights_fingerprint", "device", "dtype")
    found = asdict(result)
    reasons = [validity.reason, found.pop("reason")]
    late = {name: found.pop(name) for name in ("log_ratio_ci_low", "log_ratio_ci_high")}
    row = {
        "metric_col": metric,
        **(setting or {}),
        "chunk_size": run.get("chunk_size", ""),
        "backend": run.get("backend", ""),
        **found,
        "mean_speedup": compared["speedup"].mean(),
        "median_speedup": compared["speedup"].median(),
        "mean_delta_peak_alloc_mb": compared["delta_peak_alloc_mb"].mean(),
        "mean_delta_peak_reserved_mb": compared["delta_peak_reserved_mb"].mean(),
        "baseline_rel_mase": validity.baseline_rel_mase,
        "valid": bool(validity.valid),
        **late,
        **{name: run.get(name, "") for name in about},
        "reason": "; ".join(filter(None, reasons)),
    }
    return pd.DataFrame([row])


def prior_soft(
    table: pd.DataFrame, published: pd.DataFrame, criteria: Criteria = USUAL
) -> pd.DataFrame:
    """Test the prior study's soft masks (correlation, temperature 5) against its hard groups.

    Its table holds `benchmark_task`, `mode` (``hard`` or ``soft``) and `MASE`, and nothing on data,
    weights, attention, forecasts or controls: only gate 3 can run, on the tasks for which Seasonal
    Naive was published. One row, see `ttest_row`, with `gate_tasks` (on which gate 3 ran),
    `more_than_smoothing` and `more_than_random`, both undecided.
    """
    table = table.rename(columns={"benchmark_task": "task_name"})
    hard, soft = (table[table["mode"] == mode].drop(columns="mode") for mode in ("hard", "soft"))
    setting = {"measure": "correlation", "temperature": 5.0}
    labels = ("hard", "soft")
    common = hard[hard["task_name"].isin(published["task_name"])]
    validity = summary(baseline_gate(common, published))
    absent = "gates data, weights and attention could not run"
    row = ttest_row(
        compare_tasks(hard, soft, labels=labels, setting=setting),
        validity._replace(reason="; ".join(filter(None, [validity.reason, absent]))),
        labels=labels,
        setting=setting,
        run={"study": "prior_cbii", "variant": "soft_correlation_t5"},
        criteria=criteria,
    )
    return row.assign(
        gate_tasks=len(common), more_than_smoothing=UNDECIDED, more_than_random=UNDECIDED
    )


def prior_study(
    full: pd.DataFrame,
    by_radius: Mapping[int, pd.DataFrame],
    published: pd.DataFrame,
    mass: pd.DataFrame,
    criteria: Criteria = USUAL,
) -> pd.DataFrame:
    """Put the tables of the prior sparse study through these statistics and gates.

    Its tables carry no weights and no Seasonal Naive, so that gates 1 and 2 cannot run; the
    published Seasonal Naive is the denominator of gate 3. One row a radius, see `ttest_row`, with
    `attention_lift` after `baseline_rel_mase`.
    """
    attention = attention_gate(mass)
    validity = summary([*baseline_gate(full, published), *attention])
    rows = []
    for radius, sparse in sorted(by_radius.items()):
        setting = {"radius": radius}
        row = ttest_row(
            compare_tasks(full, sparse, setting=setting),
            validity,
            setting=setting,
            run={"study": "prior_cbii", "variant": f"sparse_r{radius}"},
            criteria=criteria,
        )
        place = row.columns.get_loc("baseline_rel_mase") + 1
        row.insert(place, "attention_lift", attention[0].value)
        rows.append(row)
    return pd.concat(rows, ignore_index=True)
