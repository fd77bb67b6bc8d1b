"""Two methods side by side: accuracy and time by task, and a test's row; the prior run's, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from math import nan

import fev
import numpy as np
import pandas as pd

from chronos2_attention import AttentionVariant
from chronos2_attention.errors import InputError
from study.evaluation.clusters import METRICS, TASK, Errors, cut_edges, pairs_of
from study.evaluation.gates import Validity, attention_gate, baseline_gate, by_task, summary
from study.evaluation.statistics import (
    BETTER,
    EQUIVALENT,
    NO,
    PLAIN,
    UNDECIDED,
    USUAL,
    WORSE,
    YES,
    Criteria,
    PairedResult,
    correct_family,
    log_ratios,
    paired_test,
)
from study.forecasts.files import KEY_COLUMNS, RUN_COLUMNS

TIMING_COLUMNS = [
    *("inference_time_s_median", "inference_time_s_mean", "inference_time_s_std"),
    *("perf_repeats", "perf_series", "peak_alloc_mb_median", "peak_alloc_mb_max"),
    *("peak_reserved_mb_median", "peak_reserved_mb_max", "peak_rss_mb"),
]
COMPARED = ("log_ratio_mean", "log_ratio_ci_low", "log_ratio_ci_high", "log_ratio_p", "tost_p")
# Fields of a result that come first in a row, as they did when study 2 was published.
FIRST = {*PLAIN, "wilcoxon_p", "log_ratio_mean", "log_ratio_p", "tost_margin", "tost_p", "verdict"}
# What a row of sparse attention measures: windows that it cuts, or those that it leaves whole.
CUT, HIDDEN = "attention cut", "future hidden"
# Of the run that was timed; they replace those of the run whose accuracy is reported.
TIMED_COLUMNS = list(RUN_COLUMNS[4:])


def with_timings(
    accuracy: pd.DataFrame, efficiency: pd.DataFrame | None, variant: str
) -> pd.DataFrame:
    """Put a variant's times, from `measure_suite`, beside its accuracy; NaN without them."""
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


def radius_summary(
    rows: Sequence[pd.DataFrame], compared: Sequence[pd.DataFrame], criteria: Criteria = USUAL
) -> pd.DataFrame:
    """Put the tests of several radii, from `ttest_row`, into one table, corrected as one family.

    A row more, without a radius, tests the windows that the largest radius leaves whole: there the
    variant only hides the future from the context (column `effect`).
    """
    table = pd.concat(rows, ignore_index=True).assign(effect=CUT)
    table = correct_family(table, [_of_sources(tasks, "MASE_cut") for tasks in compared], criteria)
    sql = table[[c for c in table if c.startswith("SQL_")]]
    sql.columns = sql.columns.str.removeprefix("SQL_")
    sql = correct_family(sql, [_of_sources(tasks, "SQL_cut") for tasks in compared], criteria)
    table["SQL_verdict_family"] = sql["verdict_family"]
    both = zip(table["verdict_family"], sql["verdict_family"], strict=True)
    table["nothing_lost"] = list(map(nothing_lost, both))
    widest = compared[int(table["radius"].argmax())].dropna(subset=["MASE_uncut_full"])
    whole = paired_test(
        widest["MASE_uncut_full"], widest["MASE_uncut_sparse"], criteria, clusters=widest["source"]
    )
    shown = {name: value for name, value in asdict(whole).items() if name in table}
    shown |= {name: table.iloc[0][name] for name in ("study", "model", "metric_col", "valid")}
    shown |= {"effect": HIDDEN, "verdict_family": whole.verdict}
    return pd.concat([table, pd.DataFrame([shown])], ignore_index=True)


def _of_sources(tasks: pd.DataFrame, what: str) -> pd.Series:
    """Mean log ratio of each source, from the tasks of a radius."""
    base, other = (tasks[f"{what}_{label}"].to_numpy() for label in ("full", "sparse"))
    found = pd.Series(log_ratios(base, other), tasks["source"]).dropna()
    return found.groupby(level=0, sort=False).mean()


def sparse_test(
    compared: pd.DataFrame,
    full: pd.DataFrame,
    sparse: pd.DataFrame,
    variant: AttentionVariant,
    clusters: Mapping[str, tuple[str, str | None]],
    criteria: Criteria = USUAL,
) -> tuple[pd.DataFrame, PairedResult, dict[str, object]]:
    """Test sparse attention on windows where it cuts anything, from the `forecast_errors` of both.

    Returns `compared` with each task's `source`, mean share `edges_cut`, and MASE and SQL of
    windows ``cut`` and ``uncut``; the result in MASE, its plain tests over all tasks; and what else
    the row says: the tasks `n_uncut`, `edges_cut`, and `metric_columns`.
    """
    keys = full[list(KEY_COLUMNS)]
    both = {"full": full, "sparse": keys.merge(sparse, on=list(KEY_COLUMNS), how="left")}
    pairs = pairs_of(keys, full["steps"], TASK, clusters)
    edges = cut_edges(full["context_length"], variant)
    parts = {"cut": pairs.where(edges > 0), "uncut": pairs.where(edges == 0)}
    cut = parts["cut"]
    added = {"source": pairs.labels["cluster"], "edges_cut": pairs.mean(edges)}
    errors = {
        (metric, label): one[metric].to_numpy() for metric in METRICS for label, one in both.items()
    }
    for (metric, label), error in errors.items():
        if metric != "WQL":
            added |= {f"{metric}_{p}_{label}": of.mean(error) for p, of in parts.items()}
    added = pd.DataFrame(added).set_index(pairs.labels["task_name"]).loc[compared["task_name"]]
    tested = Errors(cut, errors)
    results = {
        metric: tested.test((metric, "full"), (metric, "sparse"), criteria, among=cut.counted)
        for metric in METRICS
    }
    coverage = [np.nanmean(pairs.mean(one["covered"].to_numpy())) for one in both.values()]
    extra = {
        "n_uncut": int((~cut.counted).sum()),
        "edges_cut": float(pairs.mean(edges).mean()),
        **metric_columns(results, *coverage),
    }
    result = with_plain_tests(
        results["MASE"], compared["MASE_full"], compared["MASE_sparse"], criteria
    )
    return pd.concat([compared, added.reset_index(drop=True)], axis=1), result, extra


def with_plain_tests(
    result: PairedResult, baseline: pd.Series, variant: pd.Series, criteria: Criteria
) -> PairedResult:
    """Return a result with the plain tests of other pairs: all that the variant was run on."""
    whole = paired_test(baseline, variant, criteria)
    return replace(result, **{name: getattr(whole, name) for name in PLAIN})


def metric_columns(
    results: Mapping[str, PairedResult], coverage: float, variant_coverage: float
) -> dict[str, object]:
    """Columns of metrics beside MASE, of the interval's coverage, and whether nothing is lost."""
    columns = {
        f"{metric}_{name}": getattr(results[metric], name)
        for metric in METRICS[1:]
        for name in (*COMPARED, "verdict")
    }
    lost = nothing_lost([results[metric].verdict for metric in METRICS[:2]])
    change = variant_coverage - coverage
    return {**columns, "coverage": coverage, "coverage_change": change, "nothing_lost": lost}


def win_rate(full: pd.DataFrame, variant: pd.DataFrame, metric: str = "MASE") -> dict[str, float]:
    """Return win rate and skill score over tasks, as fev's leaderboard, with 95 % intervals."""
    names = [table["model_name"].iloc[0] for table in (variant, full)]
    how = {"missing_strategy": "drop", "n_resamples": 1000}
    return fev.pairwise_comparison([variant, full], metric, **how).loc[tuple(names)].to_dict()


def nothing_lost(verdicts: Sequence[str]) -> str:
    """Say from the verdicts in all metrics whether accuracy is kept."""
    if WORSE in verdicts:
        return NO
    return YES if set(verdicts) <= {BETTER, EQUIVALENT} else UNDECIDED


def compare_tasks(
    baseline: pd.DataFrame,
    variant: pd.DataFrame,
    *,
    labels: tuple[str, str] = ("full", "sparse"),
    setting: Mapping[str, object] | None = None,
    metric: str = "MASE",
) -> pd.DataFrame:
    """Put the performance of two methods on the same tasks side by side, task by task.

    Returns `task_name`, the setting, ``{metric}_{label}`` twice, `delta_metric` (variant -
    baseline), ``inference_time_s_median_{label}`` twice, `speedup` (baseline / variant),
    ``peak_{alloc,reserved}_mb_median_{label}`` twice each, `delta_peak_alloc_mb`,
    `delta_peak_reserved_mb`; NaN where not measured. In the baseline's order of tasks.
    """
    first, second = labels
    left, right = by_task(baseline, first), by_task(variant, second)
    alone = sorted(set(left.index) ^ set(right.index))
    if alone:
        what, where = f"tasks {alone} are only in one of the two", f"{first} and {second}"
        raise InputError(what, where, "make both results for the same suite")
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
    result: PairedResult,
    validity: Validity,
    *,
    metric: str = "MASE",
    setting: Mapping[str, object] | None = None,
    run: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """Put the test of a comparison over tasks, from `compare_tasks`, into one row.

    Returns `metric_col`, the setting, `chunk_size`, `backend`, the first fields of `PairedResult`,
    means of speed and memory, `baseline_rel_mase`, `valid`; then its other fields, the rest of
    `RUN_COLUMNS` and `reason` (of the gates and of the statistics).
    """
    run = run or {}
    about = ("study", "model", "variant", "weights_fingerprint", "device", "dtype")
    found = {f.name: getattr(result, f.name) for f in fields(result) if f.name != "means"}
    reasons = [validity.reason, found.pop("reason")]
    late = {name: found.pop(name) for name in list(found) if name not in FIRST}
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
        "checked": validity.checked,
        **{name: run.get(name, "") for name in about},
        "reason": "; ".join(filter(None, reasons)),
    }
    return pd.DataFrame([row])


def prior_soft(
    table: pd.DataFrame,
    published: pd.DataFrame,
    clusters: Mapping[str, tuple[str, str | None]],
    criteria: Criteria = USUAL,
) -> pd.DataFrame:
    """Test the prior study's soft masks against its hard groups; its tables allow gate 3 alone."""
    table = table.rename(columns={"benchmark_task": "task_name"})
    hard, soft = (table[table["mode"] == mode].drop(columns="mode") for mode in ("hard", "soft"))
    setting = {"measure": "correlation", "temperature": 5.0}
    labels = ("hard", "soft")
    common = hard[hard["task_name"].isin(published["task_name"])]
    validity = summary(baseline_gate(common, published))
    absent = "gates data, weights and attention could not run"
    compared = compare_tasks(hard, soft, labels=labels, setting=setting)
    row = ttest_row(
        compared,
        _prior_test(compared, labels, clusters, criteria),
        validity._replace(reason="; ".join(filter(None, [validity.reason, absent]))),
        setting=setting,
        run={"study": "prior_cbii", "variant": "soft_correlation_t5"},
    )
    return row.assign(
        gate_tasks=len(common), more_than_smoothing=UNDECIDED, more_than_random=UNDECIDED
    )


def prior_study(
    full: pd.DataFrame,
    by_radius: Mapping[int, pd.DataFrame],
    published: pd.DataFrame,
    mass: pd.DataFrame,
    clusters: Mapping[str, tuple[str, str | None]],
    criteria: Criteria = USUAL,
) -> pd.DataFrame:
    """Put the tables of the prior sparse study through these statistics and gates, a row a radius.

    They carry no weights and no Seasonal Naive: gates 1 and 2 cannot run, and gate 3 takes the
    published one. Columns: `ttest_row`, `attention_lift`, and `n_uncut`, tasks whose context is not
    cut.
    """
    attention = attention_gate(mass)
    validity = summary([*baseline_gate(full, published), *attention])
    tokens = mass.groupby("task_name")["ctx_tokens"].max()
    rows = []
    for radius, sparse in sorted(by_radius.items()):
        setting = {"radius": radius}
        compared = compare_tasks(full, sparse, setting=setting)
        cut = (compared["task_name"].map(tokens) > radius + 1).to_numpy()
        row = ttest_row(
            compared,
            _prior_test(compared, ("full", "sparse"), clusters, criteria, cut),
            validity,
            setting=setting,
            run={"study": "prior_cbii", "variant": f"sparse_r{radius}"},
        ).assign(n_uncut=int((~cut).sum()))
        place = row.columns.get_loc("baseline_rel_mase") + 1
        row.insert(place, "attention_lift", attention[0].value)
        rows.append(row)
    return pd.concat(rows, ignore_index=True)


def _prior_test(
    compared: pd.DataFrame,
    labels: tuple[str, str],
    clusters: Mapping[str, tuple[str, str | None]],
    criteria: Criteria,
    among: np.ndarray | slice = slice(None),
) -> PairedResult:
    """Test the chosen tasks by source, with the plain tests of all."""
    one, other = (compared[f"MASE_{label}"] for label in labels)
    sources = [clusters.get(task, (task,))[0] for task in compared["task_name"]]
    chosen = (part.to_numpy()[among] for part in (one, other))
    result = paired_test(*chosen, criteria, clusters=np.array(sources)[among])
    return with_plain_tests(result, one, other, criteria)
