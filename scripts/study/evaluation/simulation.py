"""What the tests of `paired_test` do on made errors whose difference is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from study.evaluation.statistics import (
    BETTER,
    EQUIVALENT,
    USUAL,
    WORSE,
    Criteria,
    paired_test,
    step_down,
)
from study.jobs.progress import progress


def dependent(rng: np.random.Generator, clusters: int, size: int, intraclass: float) -> np.ndarray:
    """Draw standard normal values, (clusters, size), that correlate within a cluster."""
    shared = rng.standard_normal((clusters, 1)) * np.sqrt(intraclass)
    return shared + rng.standard_normal((clusters, size)) * np.sqrt(1 - intraclass)


def simulate(
    clusters: int,
    size: int,
    intraclass: float,
    effect: float,
    *,
    spread: float,
    simulations: int,
    seed: int,
    criteria: Criteria = USUAL,
) -> dict[str, float]:
    """Test made log ratios of mean log(1 + `effect`) and standard deviation `spread`, many times.

    Shares of the simulations: `found` (better or worse), `found_by_pairs` (p of the plain t-test
    below alpha), `equivalent`, `covered` (the interval holds the truth); `family`: of ten variants
    that correlate at 0.9, any p of `step_down` is below alpha.
    """
    rng = np.random.default_rng([seed, clusters, size, round(100 * intraclass)])
    labels, truth = np.repeat(np.arange(clusters), size), np.log1p(effect)
    rows = []
    for _ in range(simulations):
        values = truth + spread * dependent(rng, clusters, size, intraclass)
        result = paired_test(
            np.ones(clusters * size), np.exp(values.ravel()), criteria, clusters=labels
        )
        family = truth + spread * dependent(rng, clusters, 10, 0.9)
        rows.append(
            (
                result.verdict in (BETTER, WORSE),
                result.p < criteria.alpha,
                result.verdict == EQUIVALENT,
                result.log_ratio_ci_low <= truth <= result.log_ratio_ci_high,
                step_down(family).min() < criteria.alpha,
            )
        )
    names = ("found", "found_by_pairs", "equivalent", "covered", "family")
    return dict(zip(names, np.mean(rows, axis=0), strict=True))


def simulations_table(
    clusters: list[int],
    sizes: list[int],
    intraclass: list[float],
    effects: list[float],
    **how: float,
) -> pd.DataFrame:
    """Return a row a setting, see `simulate`."""
    settings = list(product(clusters, sizes, intraclass, effects))
    columns = ["clusters", "size", "intraclass", "effect"]
    return pd.DataFrame(
        [
            dict(zip(columns, setting, strict=True)) | simulate(*setting, **how)
            for setting in progress(settings, desc="simulations", unit="setting")
        ]
    )
