"""The prior soft-mask study through these statistics."""

from __future__ import annotations

import pandas as pd

from study.gates import baseline_gate, summary
from study.soft_summary import UNDECIDED
from study.statistics import compare_tasks, ttest_row


def prior_soft(
    table: pd.DataFrame, published: pd.DataFrame, *, margin: float = 0.01, alpha: float = 0.05
) -> pd.DataFrame:
    """Test the prior study's soft masks (correlation, temperature 5) against its hard groups.

    Its table holds MASE per task and nothing on data, weights, attention, forecasts or controls:
    only gate 3 can run, on the tasks for which Seasonal Naive was published.

    Parameters
    ----------
    table:
        Columns `benchmark_task`, `mode` (``hard`` or ``soft``), `MASE`.
    published:
        Columns `task_name`, `MASE` of Seasonal Naive.
    margin, alpha:
        See `study.statistics.paired_test`.

    Returns
    -------
    One row, see `study.statistics.ttest_row`, with `gate_tasks` (on which gate 3 ran),
    `more_than_smoothing` and `more_than_random`, both undecided.
    """
    table = table.rename(columns={"benchmark_task": "task_name"})
    hard, soft = (table[table["mode"] == mode].drop(columns="mode") for mode in ("hard", "soft"))
    setting = {"measure": "correlation", "temperature": 5.0}
    labels = ("hard", "soft")
    common = hard[hard["task_name"].isin(published["task_name"])]
    gate = baseline_gate(common, published)
    valid, reason = summary(gate)
    row = ttest_row(
        compare_tasks(hard, soft, labels=labels, setting=setting),
        labels=labels,
        setting=setting,
        run={"study": "prior_cbii", "variant": "soft_correlation_t5"},
        baseline_rel_mase=gate[0].value,
        valid=valid,
        reason="; ".join(filter(None, [reason, "gates data, weights and attention could not run"])),
        margin=margin,
        alpha=alpha,
    )
    return row.assign(
        gate_tasks=len(common), more_than_smoothing=UNDECIDED, more_than_random=UNDECIDED
    )
