"""Soft masks find what is there to be found, and nothing where there is nothing."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from study.config.datasets import FactorGroups
from study.data.sources import factor_series

TEMPERATURE = 20
SWEEP = f"soft={{measures: [correlation], temperatures: [{TEMPERATURE}]}}"


def groups_strategy():
    return st.builds(
        FactorGroups,
        groups=st.integers(1, 4),
        leaders=st.integers(0, 3),
        followers=st.integers(1, 3),
        length=st.integers(20, 200),
        lead=st.integers(0, 16),
        noise=st.just(0.0),
    )


@settings(max_examples=30, deadline=None)
@given(groups_strategy(), st.integers(0, 1000))
def test_a_leader_shows_its_followers_future(groups, seed):
    found = {series.id: series.targets["target"] for series in factor_series(groups, seed)}
    assert len(found) == groups.groups * (groups.leaders + groups.followers)
    assert all(len(values) == groups.length for values in found.values())
    again = {series.id: series.targets["target"] for series in factor_series(groups, seed)}
    for name, values in found.items():
        np.testing.assert_array_equal(values, again[name])
    kept = groups.length - groups.lead
    if groups.leaders and kept > 3:
        for group in range(groups.groups):
            leader = found[f"g{group}_leader0"][:kept]
            follower = found[f"g{group}_follower{groups.leaders}"][groups.lead :]
            assert np.corrcoef(leader, follower)[0, 1] == pytest.approx(1, abs=1e-9)


# Draws of each suite: enough to tell, and no more than a test should take.
DRAWS = {"leading_factor": 12, "independent": 6}


@pytest.fixture(scope="module")
def summaries(run, tmp_path_factory):
    """Results of both suites of drawn series with the embedded model."""
    folder = tmp_path_factory.mktemp("proof")
    found = []
    for suite, draws in DRAWS.items():
        target = f"results/{suite}_soft_summary.csv"
        only = ",".join(f"{suite}_{draw:02}" for draw in range(1, draws + 1))
        done = run(
            folder, "--cores", "2", "--set-threads", "forecast_soft=1", "forecast=1",
            "--config", SWEEP, f"only={only}", "--", target,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        found.append(pd.read_csv(folder / target).set_index("variant"))
    return folder, *found


def mase(folder, suite, variant):
    table = pd.read_csv(folder / "results" / "accuracy" / f"{suite}_{variant}.csv")
    return np.log(table.set_index("task_name")["MASE"])


@pytest.mark.workflow
def test_a_leading_factor_is_used_beyond_what_random_partners_and_smoothing_give(summaries):
    folder, found, _ = summaries
    row = found.loc[f"soft_correlation_t{TEMPERATURE}"]
    assert row["n"] == DRAWS["leading_factor"]
    assert row["verdict_family"] == "better"
    assert row["more_than_random"] == "yes"
    assert row["more_than_smoothing"] == "yes"
    assert row["valid"]
    # Independently of the package's own statistics.
    soft = mase(folder, "leading_factor", row.name)
    others = ["full", *(f"soft_correlation-{c}_t{TEMPERATURE}" for c in ("permuted", "uniform"))]
    for other in others:
        difference = soft - mase(folder, "leading_factor", other)
        assert difference.mean() < 0
        assert stats.ttest_1samp(difference, 0).pvalue < 0.01, other


@pytest.mark.workflow
def test_independent_series_give_no_gain(summaries):
    _, _, found = summaries
    row = found.loc[f"soft_correlation_t{TEMPERATURE}"]
    assert row["n"] == DRAWS["independent"]
    assert row["verdict"] in ("equivalent", "open")
    assert row["more_than_random"] == "no gain"
    assert 0 < row["cross_group_mass"] < found.loc["joint", "cross_group_mass"]
