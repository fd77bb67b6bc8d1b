"""Gates: checks on the validity of a study, whose verdict goes with every result.

A gate yields rows `gate, task, value, threshold, verdict, note`. Where nothing can be said it is
``not applicable``, and ``not run`` without its input: neither makes a study invalid.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from math import isfinite, nan
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import pandas as pd

from chronos2_attention.errors import InputError
from study.evaluation.statistics import BETTER, geometric_mean_ratio, paired_test

PASS, FAIL = "pass", "fail"
NOT_APPLICABLE, NOT_RUN = "not applicable", "not run"
# What makes a task the one that a figure was published for.
DEFINITION = (
    *("horizon", "seasonality", "num_windows", "initial_cutoff", "window_step_size", "target"),
    *("known_dynamic_columns", "past_dynamic_columns"),
)
METRICS = ("MASE", "SQL", "WAPE", "WQL")
# How the figures of fev-bench were made, in the words of the metadata of forecasts.
PUBLISHED_SETTING = {"variant": "joint", "batch_size": "100", "dtype": "float32"}
# Attention that is a tenth more or less local than uniform attention counts as learned.
LIFT_MARGIN = 0.1
SMALL_RADIUS = 8
# Attention to leaders, over uniform attention, from which on group attention finds them.
LEADER_LIFT = 1.1
# A lift that stays the same at every radius, but is not 1, is padding: see `attention_gate`.
_FLAT, _OFF_ONE = 0.01, 1e-3


class Validity(NamedTuple):
    """The gates' verdict on a study, gate 3's figure, and of how many rows each could check."""

    valid: bool
    reason: str = ""
    baseline_rel_mase: float = nan
    checked: str = ""

    def unless(self, fault: str) -> Validity:
        """Return this verdict or, if there is a fault, that the study is not valid for it, too."""
        reason = "; ".join(filter(None, [self.reason, fault]))
        return self._replace(valid=self.valid and not fault, reason=reason)


class GateRow(NamedTuple):
    """One row of a validity table: what a gate found on a task (or ``all``), and its limit."""

    gate: str
    task: str
    value: float
    threshold: float
    verdict: str
    note: str


def by_task(perf: pd.DataFrame, what: str) -> pd.DataFrame:
    """Index a table of performance by task; an InputError if it names a task twice."""
    if "task_name" not in perf:
        raise InputError("no column 'task_name'", what, "give a table with a row per task")
    twice = perf["task_name"][perf["task_name"].duplicated()]
    if len(twice):
        raise InputError(f"task {twice.iloc[0]!r} is given twice", what, "keep one row per task")
    return perf.set_index("task_name")


def _verdict(passed: bool) -> str:
    return PASS if passed else FAIL


def published_metrics(published: pd.DataFrame | None, method: str) -> dict[str, str]:
    """Columns of published figures that are of a model (or of ``seasonal_naive``), by metric."""
    prefix, columns = method.replace("-", "_"), () if published is None else published.columns
    return {m: f"{prefix}_{m}" for m in METRICS if f"{prefix}_{m}" in columns}


def _compared(
    blank: GateRow, perf: pd.DataFrame, published: pd.DataFrame | None, method: str
) -> Iterator[GateRow]:
    """Yield a row a task and metric: relative deviation from the published, or why it has none."""
    columns = published_metrics(published, method)
    known = by_task(published, "published figures") if columns else pd.DataFrame()
    for task, row in by_task(perf, method).iterrows():
        blank, why = blank._replace(task=task), "no published value"
        figures = known.loc[task] if task in known.index else row
        both = [key for key in DEFINITION if key in row and key in figures]
        other = [key for key in both if not _equal(row[key], figures[key])]
        if other:
            told = ", ".join(f"{key} {row[key]} instead of {figures[key]}" for key in other)
            why = f"published for another definition: {told}"
        if other or task not in known.index:
            yield blank._replace(note=why)
            continue
        note = ""
        if "dataset_fingerprint" in row and "dataset_fingerprint" in figures:
            same = str(row["dataset_fingerprint"]) == str(figures["dataset_fingerprint"])
            note = f"; the data's fingerprint is {'' if same else 'not '}that published"
        for metric, column in columns.items():
            if metric in row:
                value = float(abs(row[metric] / figures[column] - 1))
                text = f"{metric} {row[metric]:.6g}, published {figures[column]:.6g}{note}"
                verdict = _verdict(value <= blank.threshold)  # false for NaN
                yield blank._replace(value=value, verdict=verdict, note=text)


def reproduction_gate(
    perf: pd.DataFrame | None,
    published: pd.DataFrame | None,
    model: str,
    run: Mapping[str, str],
    staggered: Collection[str] = (),
    tolerance: float = 0.01,
) -> list[GateRow]:
    """Gate 5, the strongest: MASE and SQL under the published setting equal those published.

    `run` is the metadata of the forecasts of `perf`; `staggered` tasks have series that end at
    different times. A row that counts the tasks, then one a task and metric.
    """
    whole = GateRow("reproduction", "all", nan, tolerance, NOT_APPLICABLE, "")
    if not published_metrics(published, model):
        return [whole._replace(note=f"no published figures of {model}")]
    if perf is None:
        return [not_run("reproduction", f"no forecasts of {PUBLISHED_SETTING['variant']}")]
    setting = {key: str(run.get(key)) for key in PUBLISHED_SETTING}
    if setting != PUBLISHED_SETTING:
        return [whole._replace(note=f"published for {PUBLISHED_SETTING}, not {setting}")]
    mixed = "; series end at different times, and published batches mix their cutoffs"
    perf = perf.drop(columns=["WAPE", "WQL"], errors="ignore")
    rows = [
        row._replace(note=row.note + mixed * (row.task in staggered))
        for row in _compared(whole, perf, published, model)
    ]
    checked = [row for row in rows if row.verdict != NOT_APPLICABLE]
    if checked:
        near = sum(row.verdict == PASS for row in checked)
        note = (
            f"{len({row.task for row in checked})} of {len(perf)} tasks checked: {near} of"
            f" {len(checked)} figures within {tolerance:.0%} of those published"
        )
        worst = float(np.max([row.value for row in checked]))
        whole = whole._replace(value=worst, verdict=_verdict(near == len(checked)), note=note)
    return [whole, *rows]


def data_gate(
    perf_seasonal_naive: pd.DataFrame, published: pd.DataFrame | None, tolerance: float = 0.01
) -> list[GateRow]:
    """Gate 1: Seasonal Naive's figures here equal the published ones; a row a task.

    `value` is the largest relative deviation of a metric. `published` has `task_name`,
    `published_metrics` (or `METRICS`) and, to tell a namesake with another definition,
    `DEFINITION`.
    """
    if published is not None and "MASE" in published:
        published = published.rename(columns={m: f"seasonal_naive_{m}" for m in METRICS})
    if published is not None and "seasonal_naive_SQL" in published:
        # fev-bench gave Seasonal Naive intervals; here, as in Chronos Benchmark II, it has a point.
        published = published.drop(columns=["seasonal_naive_SQL", "seasonal_naive_WQL"])
    blank = GateRow("data", "", nan, tolerance, NOT_APPLICABLE, "")
    every = _compared(blank, perf_seasonal_naive, published, "seasonal_naive")
    rows = []
    for _, of_task in groupby(every, attrgetter("task")):
        found = list(of_task)
        worst = next((row for row in found if row.verdict == FAIL), found[0])
        parts = dict.fromkeys("; ".join(row.note for row in found).split("; "))
        value = float(np.max([row.value for row in found]))
        rows.append(worst._replace(value=value, note="; ".join(parts)))
    return rows


def _equal(one: object, other: object) -> bool:
    try:
        return float(one) == float(other)
    except (TypeError, ValueError):  # a date, or names of columns in any order
        words = ({*re.findall(r"[^\s\[\]',]+", str(value))} for value in (one, other))
        return next(words) == next(words)


def weights_gate(runs: Mapping[str, Mapping[str, str]]) -> list[GateRow]:
    """Gate 2: trained weights, loaded strictly, the same in every file, by the files' metadata."""
    if not runs:
        return [not_run("weights", "no forecasts with metadata")]
    faults = []
    for name, run in runs.items():
        source = run.get("weights_source", "")
        checks = {
            "random weights": source != "random",
            "source of the weights unknown": source not in ("", "none"),
            "weights not loaded strictly": str(run.get("weights_strict")).lower() == "true",
            "no fingerprint of the weights": run.get("weights_fingerprint"),
        }
        faults += [f"{name}: {fault}" for fault, passed in checks.items() if not passed]
    fingerprints = sorted({run.get("weights_fingerprint") or "" for run in runs.values()} - {""})
    if len(fingerprints) > 1:
        faults.append(f"different weights: {', '.join(fingerprints)}")
    note = "; ".join(faults) or f"fingerprint {fingerprints[0]}"
    return [GateRow("weights", "all", nan, nan, _verdict(not faults), note)]


def relative_mase(perf: pd.DataFrame, perf_seasonal_naive: pd.DataFrame) -> pd.Series:
    """MASE of a method over Seasonal Naive's, by task, in the method's order."""
    model, naive = by_task(perf, "performance"), by_task(perf_seasonal_naive, "seasonal naive")
    missing = sorted(set(model.index) - set(naive.index))
    if missing:
        raise InputError(f"no Seasonal Naive for tasks {missing}", "seasonal naive", "make it")
    return model["MASE"] / naive["MASE"].loc[model.index]


def baseline_gate(
    perf_full: pd.DataFrame, perf_seasonal_naive: pd.DataFrame, threshold: float = 1.0
) -> list[GateRow]:
    """Gate 3: the geometric mean of MASE(full) / MASE(Seasonal Naive) is below a threshold."""
    ratios = relative_mase(perf_full, perf_seasonal_naive)
    value = geometric_mean_ratio(ratios, np.ones(len(ratios)))
    if isfinite(value):
        worst = ratios.idxmax()
        note = (
            f"MASE is {value:.4g} times Seasonal Naive's, limit {threshold:g}: geometric mean"
            f" of {len(ratios)} tasks, {int((ratios < 1).sum())} of them below 1,"
            f" largest {ratios[worst]:.4g} ({worst})"
        )
    else:
        undefined = ratios.index[~(np.isfinite(ratios) & (ratios > 0))].tolist()
        note = f"relative MASE is undefined for {undefined or 'want of tasks'}"
    return [GateRow("baseline", "all", value, threshold, _verdict(value < threshold), note)]


def attention_gate(mass: pd.DataFrame) -> list[GateRow]:
    """Gate 4: at a small radius, a layer's mean lift is more than `LIFT_MARGIN` from 1.

    `mass` has a row a window and radius (and `layer`): `task_name`, `window_index`, `radius`, and
    `lift` or both `kept_mass_frac_ctxQ` and `kept_edges_frac_ctxQ`; `ctx_tokens` if known. Without
    `padded` (bool), a lift that is not 1 yet the same at every radius tells a padded window: that
    mass was given to no key at all.
    """
    window = ["task_name", "window_index"]
    needed = {*window, "radius"}
    if "lift" not in mass:
        needed |= {"kept_mass_frac_ctxQ", "kept_edges_frac_ctxQ"}
    if missing := sorted(needed - set(mass.columns)):
        raise InputError(f"no columns {missing}", "table of attention mass", "make it again")
    if mass.empty:
        raise InputError("no rows", "table of attention mass", "make it again")
    table = mass.copy()
    if "lift" not in table:
        table["lift"] = table["kept_mass_frac_ctxQ"] / table["kept_edges_frac_ctxQ"]
    if "layer" not in table:
        table["layer"] = "all"
    if "padded" not in table:
        table["off"] = (table["lift"] - 1).abs()
        groups = table.groupby([*window, "layer"])
        flat = groups["lift"].transform("max") - groups["lift"].transform("min") < _FLAT
        several = groups["radius"].transform("nunique") > 1
        table["padded"] = flat & (groups["off"].transform("min") > _OFF_ONE) & several
    usable = table[~table["padded"].astype(bool)]
    if "ctx_tokens" in usable:
        # A radius that spans the context keeps all of it, wherever attention goes.
        usable = usable[usable["radius"] < usable["ctx_tokens"] - 1]
    total = table[window].drop_duplicates().shape[0]
    if usable.empty:
        note = f"all {total} windows are padded or shorter than the radius"
        return [GateRow("attention", "all", nan, LIFT_MARGIN, NOT_APPLICABLE, note)]
    limit = max(SMALL_RADIUS, usable["radius"].min())
    near = usable[usable["radius"] <= limit]
    lift = near.groupby("layer")["lift"].mean()
    farthest = (lift - 1).abs().idxmax() if lift.notna().any() else lift.index[0]
    value = float(lift[farthest])
    kept = near[window].drop_duplicates().shape[0]
    layer = "" if farthest == "all" else f" in layer {farthest} of {len(lift)}"
    note = (
        f"kept mass is {value:.6f} times that of uniform attention{layer}, at radii up to"
        f" {limit}, in {kept} of {total} windows: those without padding and longer than a radius"
    )
    passed = abs(value - 1) > LIFT_MARGIN
    return [GateRow("attention", "all", value, LIFT_MARGIN, _verdict(passed), note)]


def mechanism_gate(
    group_mass: pd.DataFrame, full: pd.DataFrame, *mixing: pd.DataFrame
) -> list[GateRow]:
    """Gate 6: on leading factors, followers attend to leaders, and mixing series helps.

    `value` is the largest layer's mean weight from followers to their leaders over uniform
    attention's, in `joint`; one of `mixing` must be better than `full`.
    """
    base = by_task(full, "full")["MASE"]
    errors = {t["variant"].iloc[0]: by_task(t, "mixing")["MASE"].loc[base.index] for t in mixing}
    found = {name: paired_test(base, error) for name, error in errors.items()}
    lift = float(group_mass.groupby("layer")["leader_lift"].mean().max())
    gains = ", ".join(
        f"{name} {np.expm1(one.log_ratio_mean):+.1%} ({one.verdict})" for name, one in found.items()
    )
    note = (
        f"on {len(base)} leading factors MASE changes by {gains};"
        f" attention to leaders is {lift:.3f} times uniform"
    )
    passed = lift >= LEADER_LIFT and any(one.verdict == BETTER for one in found.values())
    return [GateRow("mechanism", "all", lift, LEADER_LIFT, _verdict(passed), note)]


def not_run(gate: str, note: str) -> GateRow:
    """Row of a gate whose input was not made."""
    return GateRow(gate, "all", nan, nan, NOT_RUN, note)


def summary(rows: Iterable[GateRow]) -> Validity:
    """Whether no gate failed, and one sentence on those that did."""
    rows = list(rows)
    failed: dict[str, list[str]] = {}
    relative = nan
    for row in rows:
        relative = row.value if row.gate == "baseline" else relative
        if row.verdict == FAIL:
            where = "" if row.task == "all" else f"{row.task}: "
            failed.setdefault(row.gate, []).append(where + row.note)
    parts = []
    for gate, notes in failed.items():
        more = f" and {len(notes) - 3} more" if len(notes) > 3 else ""
        parts.append(f"gate {gate} failed ({'; '.join(notes[:3])}{more})")
    return Validity(not failed, "; ".join(parts), relative, _checked(pd.DataFrame(rows)))


def _checked(table: pd.DataFrame) -> str:
    """Say of how many of its rows each gate could check anything."""
    if table.empty:
        return ""
    found = table["verdict"].isin([PASS, FAIL]).groupby(table["gate"], sort=False)
    return ", ".join(f"{gate} {rows.sum()} of {len(rows)}" for gate, rows in found)


def summary_line(rows: Iterable[GateRow]) -> str:
    """One line with each gate's verdict: fail if any row failed, else pass if any passed."""
    by_gate: dict[str, list[str]] = {}
    for row in rows:
        by_gate.setdefault(row.gate, []).append(row.verdict)
    order = [FAIL, PASS, NOT_APPLICABLE, NOT_RUN]
    parts = [f"{gate} {min(found, key=order.index)}" for gate, found in by_gate.items()]
    failed = any(FAIL in found for found in by_gate.values())
    return f"{', '.join(parts)}: {'NOT VALID' if failed else 'valid'}"


def validity_table(rows: Sequence[GateRow]) -> pd.DataFrame:
    """The rows as a table, with the row ``all`` of the summary at its end."""
    valid, reason, *_ = summary(rows)
    last = GateRow("all", "all", nan, nan, _verdict(valid), reason)
    return pd.DataFrame([*rows, last], columns=GateRow._fields)


def with_mechanism(table: pd.DataFrame, *proof: pd.DataFrame) -> pd.DataFrame:
    """Return a table of validity with `mechanism_gate` of the proof more."""
    known = [GateRow(**row) for row in table[table["gate"] != "all"].to_dict("records")]
    return validity_table([*known, *mechanism_gate(*proof)])


def validity_of(table: pd.DataFrame, invented: Iterable[str] = ()) -> Validity:
    """Read the verdict back from `validity_table`'s; `invented` data sets are named with it."""
    last = table[(table["gate"] == "all") & (table["task"] == "all")]
    if len(last) != 1:
        raise InputError("no row of the summary", "table of validity", "make it again")
    row = last.iloc[0]
    relative = table["value"][table["gate"] == "baseline"]
    reason = "" if pd.isna(row["note"]) else str(row["note"])
    relative = float(next(iter(relative[::-1]), nan))
    checked = _checked(table[table["gate"] != "all"])
    checked += "".join(f"; {name}'s dates are invented: no cutoff is shared" for name in invented)
    return Validity(row["verdict"] == PASS, reason, relative, checked)


def same_weights(baseline: pd.DataFrame, variant: pd.DataFrame) -> str:
    """Empty if two tables of performance come from the same weights, else what is wrong."""
    prints = [sorted(set(t["weights_fingerprint"].dropna())) for t in (baseline, variant)]
    if prints[0] == prints[1] and len(prints[0]) == 1:
        return ""
    return f"gate weights failed (baseline has {prints[0]}, variant {prints[1]})"
