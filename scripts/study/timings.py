"""Times and memory in the tables of performance.

Importing this module is cheap: the measuring itself is in `study.efficiency`.
"""

from __future__ import annotations

from math import nan

import pandas as pd

from chronos2_attention.errors import InputError

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
RUN_COLUMNS = ["device", "dtype", "backend", "chunk_size"]


def with_timings(
    accuracy: pd.DataFrame, efficiency: pd.DataFrame | None, variant: str
) -> pd.DataFrame:
    """Put a variant's times and memory beside its accuracy.

    Parameters
    ----------
    accuracy:
        From `study.scores.score_suite`, of this variant.
    efficiency:
        From `study.efficiency.measure_suite`; None for a method that was not timed.
    variant:
        Name of the variant.

    Returns
    -------
    The rows of `accuracy` with `TIMING_COLUMNS` after `ctx_used`, NaN where not timed;
    `RUN_COLUMNS` are those of the timing where there is one.

    Raises
    ------
    InputError
        If `efficiency` lacks the variant or one of the tasks, or is of other weights.
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
    for column in RUN_COLUMNS:
        table[column] = timed[column].to_numpy()
    return table
