"""What group attention is worth: from each target alone to whole items, whole batches, and between.

The best of a family (soft masks, clusters, a grouping column) is chosen on the first half of each
task's windows and tested on the others; a family of one is tested on all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise, product

import numpy as np
import pandas as pd

from chronos2_attention import AttentionVariant
from study.config.suites import TaskSpec
from study.evaluation.clusters import TASK, Errors, pairs_of
from study.evaluation.gates import Validity
from study.evaluation.statistics import NOT_TESTED, OPEN, USUAL, Criteria, PairedResult, log_ratios
from study.forecasts.files import KEY_COLUMNS
from study.soft_masks.sweep import LADDER, control_of

METRICS = ("MASE", "SQL")
ALL = "all"

SAID = {
    "full_vs_univariate": "Group attention within an item (full against univariate)",
    "joint_vs_full": "Group attention across all items (joint against full)",
    "soft_vs_joint": "The soft mask chosen on earlier windows (against joint)",
}
UNTOLD = dict.fromkeys((OPEN, NOT_TESTED), "cannot be told from this")
# Columns of the table, and the fields of `PairedResult` that they are.
CHANGES = {"change": "log_ratio_mean"} | {
    f"change_{end}": f"log_ratio_ci_{end}" for end in ("low", "high")
}
FOUND = {
    **{name: name for name in ("n", "n_clusters", "effect_80", "tost_margin", "verdict")},
    **CHANGES,
    "p": "log_ratio_p",
}


def _steps(
    variants: Sequence[str], controls: Sequence[str], best: Callable[[list[str]], str]
) -> Iterator[tuple[str, str, str, int]]:
    """Yield each step's name, baseline and variant, and of how many this is the best."""
    for baseline, variant in pairwise(LADDER):
        yield f"{variant}_vs_{baseline}", baseline, variant, 1
    families: dict[str, list[str]] = {}
    for name in variants:
        families.setdefault(AttentionVariant.parse(name).kind, []).append(name)
    for family, members in families.items():
        chosen = best(members)
        others = {other: other for other in LADDER[1:]}
        others |= {c: name for c in controls if chosen and (name := control_of(chosen, c))}
        for other, baseline in others.items():
            yield f"{family}_vs_{other}", baseline, chosen, len(members)


def group_value(
    scores: Mapping[str, pd.DataFrame],
    tasks: Sequence[TaskSpec],
    clusters: Mapping[str, tuple[str, str | None]],
    variants: Sequence[str],
    controls: Sequence[str],
    validity: Validity,
    criteria: Criteria = USUAL,
    unit: str = TASK,
) -> pd.DataFrame:
    """Test each step of the ladder, by kind of task and within each task, in MASE and SQL.

    `scores` are `forecast_errors` of `LADDER`, `variants` and `controls`. A row a kind (whose pairs
    are `unit`) or task (whose pairs are series), step and metric; `change` is of the metric: -0.01
    means the variant is 1 % better; `candidates` and windows: what it was chosen from, chosen and
    tested on.
    """
    key = list(KEY_COLUMNS)
    every = scores["full"][key]
    aligned = {
        name: every.merge(table, how="left", on=key, validate="one_to_one")
        for name, table in scores.items()
    }
    half = every["task_name"].map({task.name: task.num_windows // 2 for task in tasks})
    is_early = (every["window_index"] < half).to_numpy()
    kinds = {task.name: task.kind for task in tasks}
    groups = [
        (kind, ALL, [task for task in kinds if kind in (ALL, kinds[task])])
        for kind in [ALL, *dict.fromkeys(kinds.values())]
    ]
    groups += [(kinds[task], task, [task]) for task in kinds]
    rows = []
    for metric, (kind, task, names) in product(METRICS, groups):
        of = every["task_name"].isin(names).to_numpy()
        keys, early, steps = every[of], is_early[of], aligned["full"]["steps"].to_numpy()[of]
        errors = {name: table[metric].to_numpy()[of] for name, table in aligned.items()}
        pairs = pairs_of(keys, steps, unit if task == ALL else "series", clusters)
        first, later = pairs.where(early), pairs.where(~early)
        windows = pd.Series(early).groupby([keys[c].to_numpy() for c in key[:2]]).first()
        best = partial(_best, {name: first.mean(error) for name, error in errors.items()})
        for step, baseline, variant, candidates in _steps(variants, controls, best):
            part, chosen_on = pairs, 0
            if candidates > 1:
                part, chosen_on = later, int(windows.sum())
            found = PairedResult(0, reason="no earlier windows to choose on")
            if variant:
                both = Errors(part, {name: errors[name] for name in (baseline, variant)})
                found = both.test(baseline, variant, criteria, among=part.counted)
            rows.append(
                {
                    **{"kind": kind, "task": task, "step": step, "metric": metric},
                    **{"baseline": baseline, "variant": variant, "candidates": candidates},
                    **{column: getattr(found, field) for column, field in FOUND.items()},
                    **{"windows_chosen": chosen_on, "windows_tested": len(windows) - chosen_on},
                    **{"valid": validity.valid},
                    "reason": "; ".join(filter(None, [validity.reason, found.reason])),
                }
            )
    return pd.DataFrame(rows).assign(**{name: lambda t, c=name: np.expm1(t[c]) for name in CHANGES})


def _best(seen: Mapping[str, np.ndarray], members: list[str]) -> str:
    """Return the variant with the least error against `full`; empty where no error was seen."""
    if len(members) == 1:
        return members[0]
    gains = pd.Series({m: pd.Series(log_ratios(seen["full"], seen[m])).mean() for m in members})
    return gains.idxmin() if gains.notna().any() else ""


def sentences(table: pd.DataFrame) -> list[str]:
    """Say of each step what it is worth by kind of task, from the rows of `group_value`."""
    said = []
    table = table[table["task"] == ALL].assign(
        gain=0 - 100 * table["change"],
        least=0 - 100 * table["change_high"],
        most=0 - 100 * table["change_low"],
    )
    for step, words in SAID.items():
        told = []
        for kind, part in table[table["step"] == step].groupby("kind", sort=False):
            worth = [
                f"{row.gain:+.1f} % in {row.metric} ({row.least:+.1f} to {row.most:+.1f} %:"
                f" {UNTOLD.get(row.verdict, row.verdict)})"
                for row in part.dropna(subset=["least"]).itertuples()
            ]
            worth = " and ".join(worth) or "what cannot be told from so few"
            told.append(f"on tasks of kind {kind!r} (n = {part['n'].max()}) {worth}")
        said += [f"{words} is worth {'; '.join(told)}."] if told else []
    return said
