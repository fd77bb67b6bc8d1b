"""Plans: what a study is to decide, and by what, written down before it runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from chronos2_attention import AttentionVariant
from study.config.yaml_files import Strict, Text, load_checked, number, whole

EXPLORATORY = "exploratory"
# What `load_plans` has compared.
SETTINGS = ("study", "margin", "seed")


class Plan(Strict):
    """A file of ``config/plans``: the one comparison, on `n` pairs, that a study decides."""

    study: Text
    baseline: Text = "full"
    variant: Text
    metric: Literal["MASE", "SQL", "WQL"]
    margin: number(gt=0, most=1)
    n: whole(2)
    seed: whole(0, 2**63 - 1)


def load_plans(folder: Path, study: str, *, margin: float, seed: int) -> dict[str, dict]:
    """Return the plans of a folder for a study with these settings, by ``NAME:METRIC:hash``."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        plan = load_checked(Plan, path)
        for variant in (plan.baseline, plan.variant):
            AttentionVariant.parse(variant)
        if (plan.study, plan.margin, plan.seed) == (study, margin, seed):
            fields = plan.model_dump()
            digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
            found[f"{path.stem}:{plan.metric}:{digest[:12]}"] = fields
    return found


def with_plan(table: pd.DataFrame, plans: Mapping[str, Mapping]) -> pd.DataFrame:
    """Add the column `plan`: the plan that a row decides, else ``exploratory``.

    A row has `variant`, `n`, `baseline` if not ``full``, `metric` if it is of one alone, `kind` and
    `task` if it may be of a part of the study, which no plan decides.
    """
    said = np.full(len(table), EXPLORATORY, dtype=object)
    rows = table if "baseline" in table else table.assign(baseline="full")
    for name, plan in plans.items():
        plan = {**plan, "kind": "all", "task": "all"}
        decided = [column for column in plan if column in rows and column not in SETTINGS]
        fits = (rows[decided] == [plan[column] for column in decided]).all(axis=1)
        said[fits.to_numpy()] = name
    return table.assign(plan=said)
