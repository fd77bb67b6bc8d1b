"""A study of two tasks on random series, for tests that need files but not the workflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from study.config.models import ModelSpec
from study.config.study import Study
from study.config.suites import Suite, TaskSpec

LEVELS = (0.1, 0.5, 0.9)


def small_study(folder: Path) -> tuple[Study, dict[str, Path]]:
    """Write two data sets, of five ragged series and of one short one; return study and paths."""
    rng = np.random.default_rng(7)
    paths = {}
    for name, lengths in {"ragged": [500, 470, 60, 200, 45], "short": [40]}.items():
        rows = [
            {
                "id": f"s{index}",
                "timestamp": list(pd.date_range("2020-01-01", periods=length, freq="D")),
                "target": rng.standard_normal(length).cumsum() + 50,
            }
            for index, length in enumerate(lengths)
        ]
        paths[name] = folder / f"{name}.parquet"
        pd.DataFrame(rows).to_parquet(paths[name])
    tasks = (
        TaskSpec(name="ragged", dataset="ragged", horizon=20, seasonality=7, num_windows=2),
        TaskSpec(name="short", dataset="short", horizon=5, seasonality=1),
    )
    suite = Suite("small", "Small", "Random walks.", "random", LEVELS, tasks)
    return Study("small", suite, ModelSpec("random", "Random weights", "random")), paths
