"""The prior run's own tables through the gates and statistics of today."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from study.evaluation.comparison import compare_tasks, ttest_row
from study.evaluation.gates import attention_gate, baseline_gate, summary
from study.evaluation.statistics import UNDECIDED, USUAL, Criteria


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
