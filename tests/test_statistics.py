"""Paired statistics against scipy, statsmodels, and the tables of the prior studies."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from chronos2_attention.errors import InputError
from study.evaluation.comparison import compare_tasks, radius_summary, ttest_row
from study.evaluation.gates import Validity
from study.evaluation.statistics import (
    Criteria,
    PairedResult,
    geometric_mean_ratio,
    holm,
    paired_test,
)

TTEST_COLUMNS = [
    *("metric_col", "radius", "chunk_size", "backend", "n", "mean_delta", "sd_delta", "t", "p"),
    *("test", "ci_low", "ci_high", "cohens_dz", "wilcoxon_p", "log_ratio_mean", "log_ratio_p"),
    *("tost_margin", "tost_p", "verdict", "mean_speedup", "median_speedup"),
    *("mean_delta_peak_alloc_mb", "mean_delta_peak_reserved_mb", "baseline_rel_mase", "valid"),
]


@pytest.fixture
def reference(repo_root):
    return lambda name: pd.read_csv(repo_root / "config" / "reference" / f"{name}.csv")


@pytest.mark.parametrize(
    ("radius", "t", "p", "speedup", "delta"),
    [(8, -1.66693, 0.107531, 0.97338, -0.0016497), (32, 1.08253, 0.288954, 0.96660, 0.00036523)],
)
def test_prior_sparse_study(reference, radius, t, p, speedup, delta):
    setting = {"radius": radius}
    compared = compare_tasks(
        reference("prior_cbii_perf_full"),
        reference(f"prior_cbii_perf_sparse_r{radius}"),
        setting=setting,
    )
    table = ttest_row(compared, Validity(False, "why"), setting=setting)
    row = table.iloc[0]
    assert list(table.columns[: len(TTEST_COLUMNS)]) == TTEST_COLUMNS
    assert list(table.columns[-7:]) == [
        *("study", "model", "variant", "weights_fingerprint", "device", "dtype", "reason"),
    ]
    assert row["n"] == 27
    assert row["t"] == pytest.approx(t, abs=5e-6)
    assert row["p"] == pytest.approx(p, abs=5e-7)
    assert row["mean_speedup"] == pytest.approx(speedup, abs=5e-6)
    assert row["mean_delta"] == pytest.approx(delta, abs=5e-8)
    assert row["verdict"] == "equivalent"
    assert not row["valid"]
    assert row["reason"] == "why"


@pytest.mark.parametrize("radius", [8, 32])
def test_every_figure_of_the_prior_tests(reference, shared_dir, radius):
    compared = compare_tasks(
        reference("prior_cbii_perf_full"), reference(f"prior_cbii_perf_sparse_r{radius}")
    )
    mine = ttest_row(compared, Validity(False), setting={"radius": radius}).iloc[0]
    prior = pd.read_csv(shared_dir / "reference" / f"prior_cbii_ttest_r{radius}.csv").iloc[0]
    for name in set(prior.index) - {"metric_col", "test", "chunk_size", "backend"}:
        assert mine[name] == pytest.approx(prior[name], rel=1e-9), name


def test_prior_soft_study(reference):
    table = reference("prior_cbii_soft_vs_hard")
    hard, soft = (
        table[table["mode"] == mode].set_index("benchmark_task")["MASE"]
        for mode in ("hard", "soft")
    )
    result = paired_test(hard, soft.loc[hard.index])
    assert result.n == 28
    assert result.log_ratio_mean == pytest.approx(-0.01219, abs=5e-6)
    assert math.exp(result.log_ratio_mean) == pytest.approx(0.98788, abs=5e-6)
    assert result.log_ratio_p == pytest.approx(0.0205, abs=5e-5)
    assert result.verdict == "better"


def test_against_formulas():
    generator = np.random.default_rng(3)
    base = generator.uniform(1, 3, 15)
    other = base * generator.normal(1.01, 0.02, 15)
    result = paired_test(base, other, Criteria(alpha=0.1, margin=0.02))
    delta, ratios = other - base, np.log(other / base)
    error = delta.std(ddof=1) / math.sqrt(15)
    assert result.t == pytest.approx(delta.mean() / error)
    assert result.p == pytest.approx(2 * stats.t.sf(abs(delta.mean() / error), 14))
    assert result.ci_high == pytest.approx(delta.mean() + stats.t.ppf(0.95, 14) * error)
    assert result.cohens_dz == pytest.approx(delta.mean() / delta.std(ddof=1))
    assert result.wilcoxon_p == pytest.approx(stats.wilcoxon(other, base).pvalue)
    error = ratios.std(ddof=1) / math.sqrt(15)
    low = stats.t.sf((ratios.mean() + math.log(1.02)) / error, 14)
    high = stats.t.cdf((ratios.mean() - math.log(1.02)) / error, 14)
    assert result.tost_p == pytest.approx(max(low, high))
    assert result.log_ratio_ci_low == pytest.approx(ratios.mean() - stats.t.ppf(0.95, 14) * error)


@pytest.mark.parametrize(
    ("factor", "noise", "verdict", "within"),
    [
        (0.9, 0.01, "better", False),
        (1.1, 0.01, "worse", False),
        (1.0, 0.001, "equivalent", False),
        (0.995, 0.001, "equivalent", True),
        (1.0, 0.2, "inconclusive", False),
    ],
)
def test_verdicts(factor, noise, verdict, within):
    base = np.linspace(0.5, 40, 30)
    ripple = noise * np.resize([1, -1], 30)
    result = paired_test(base, base * (factor + ripple))
    assert result.verdict == verdict
    assert ("within the margin" in result.reason) == within


@pytest.mark.parametrize(
    ("baseline", "variant", "verdict", "reason"),
    [
        ([], [], "inconclusive", "0 pairs, fewer than 2"),
        ([1], [2], "inconclusive", "1 pairs, fewer than 2"),
        ([1, 2, 3], [1, 2, 3], "equivalent", "every pair is identical"),
        ([1, math.nan, 3], [1, 2, 3], "inconclusive", "1 of 3 pairs are not finite"),
        ([1, 2, 3], [1, 2, math.inf], "inconclusive", "1 of 3 pairs are not finite"),
        ([1, 2, 3], [2, 3, 4], "inconclusive", "all differences are the same"),
    ],
)
def test_degenerate_pairs_give_nan_and_a_reason(baseline, variant, verdict, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = paired_test(baseline, variant)
    assert math.isnan(result.t)
    assert math.isnan(result.p)
    assert math.isnan(result.wilcoxon_p)
    assert result.verdict == verdict
    assert result.reason == reason


def test_degenerate_log_ratios():
    zero = paired_test([0, 1, 2], [1, 3, 2])
    assert zero.p == pytest.approx(stats.ttest_rel([1, 3, 2], [0, 1, 2]).pvalue)
    assert math.isnan(zero.log_ratio_p)
    assert "zero or less" in zero.reason
    same = paired_test([1.0, 2.0, 5.0], [1.1, 2.2, 5.5])
    assert same.log_ratio_mean == pytest.approx(math.log(1.1))
    assert math.isnan(same.log_ratio_p)
    assert math.isnan(same.tost_p)
    assert same.reason == "all log ratios are the same"


def test_wrong_arguments():
    with pytest.raises(ValueError, match="shapes"):
        paired_test([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="out of range"):
        paired_test([1, 2], [1, 2], Criteria(margin=0))


errors = st.floats(0, 1e6) | st.sampled_from([math.nan, math.inf, -1.0, 1.0, 1 + 1e-15])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(errors, errors), max_size=8))
def test_any_pairs_give_a_verdict_without_a_warning(pairs):
    baseline, variant = [a for a, _ in pairs], [b for _, b in pairs]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = paired_test(baseline, variant)
    assert isinstance(result, PairedResult)
    assert result.n == len(pairs)
    assert result.verdict in {"better", "worse", "equivalent", "inconclusive"}
    if math.isnan(result.p):
        assert result.reason


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=2, max_size=12))
def test_exchange_of_the_two_turns_the_sign(pairs):
    a, b = (np.array(x) for x in zip(*pairs, strict=True))
    one, two = paired_test(a, b), paired_test(b, a)
    np.testing.assert_allclose(one.log_ratio_mean, -two.log_ratio_mean, atol=1e-12)
    np.testing.assert_allclose(one.p, two.p, rtol=1e-6)
    turned = {"better": "worse", "worse": "better"}
    assert two.verdict == turned.get(one.verdict, one.verdict)


def test_holm():
    found = holm([0.01, math.nan, 0.04, 0.03])
    np.testing.assert_allclose(found, [0.03, math.nan, 0.06, 0.06])
    assert np.isnan(holm([math.nan])).all()
    assert holm([]).shape == (0,)


def test_geometric_mean_ratio():
    assert geometric_mean_ratio([2, 8], [1, 1]) == pytest.approx(4)
    assert math.isnan(geometric_mean_ratio([1, math.nan], [1, 1]))
    assert math.isnan(geometric_mean_ratio([1, 0], [1, 1]))
    assert math.isnan(geometric_mean_ratio([], []))


def table(tasks, mase, **columns):
    return pd.DataFrame({"task_name": tasks, "MASE": mase, **columns})


def test_compare_joins_by_name_and_labels_columns():
    compared = compare_tasks(
        table(["a", "b"], [1.0, 2.0], inference_time_s_median=[4.0, 6.0]),
        table(["b", "a"], [2.5, 0.5], inference_time_s_median=[3.0, 1.0]),
        labels=("hard", "soft"),
        setting={"temperature": 5},
    )
    assert compared["task_name"].tolist() == ["a", "b"]
    assert compared["temperature"].tolist() == [5, 5]
    assert compared["delta_metric"].tolist() == [-0.5, 0.5]
    assert compared["MASE_soft"].tolist() == [0.5, 2.5]
    assert compared["speedup"].tolist() == [4.0, 2.0]
    assert compared["delta_peak_alloc_mb"].isna().all()


def test_columns_of_compare():
    compared = compare_tasks(table(["a"], [1.0]), table(["a"], [1.0]), setting={"radius": 8})
    memory = ["peak_alloc_mb_median", "peak_reserved_mb_median"]
    assert list(compared.columns) == [
        *("task_name", "radius", "MASE_full", "MASE_sparse", "delta_metric"),
        *("inference_time_s_median_full", "inference_time_s_median_sparse", "speedup"),
        *(f"{column}_{label}" for column in memory for label in ("full", "sparse")),
        *("delta_peak_alloc_mb", "delta_peak_reserved_mb"),
    ]


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (table(["a", "c"], [1.0, 2.0]), r"\['b', 'c'\] are only in one"),
        (table(["a", "a"], [1.0, 2.0]), "given twice"),
        (table(["a", "b"], [1.0, 2.0]).drop(columns="MASE"), "no column 'MASE'"),
    ],
)
def test_tables_that_do_not_fit_are_named(variant, message):
    with pytest.raises(InputError, match=message):
        compare_tasks(table(["a", "b"], [1.0, 2.0]), variant)


def test_radii_are_corrected_as_one_family():
    columns = ["radius", "p", "log_ratio_p", "tost_p", "log_ratio_mean", "verdict"]
    family = pd.DataFrame(
        [
            (2, 0.20, 0.001, 0.9, -0.04, "better"),
            (4, 0.01, 0.002, 0.9, 0.03, "worse"),
            (8, 0.03, 0.300, 0.001, 0.0, "equivalent"),
            (16, 0.04, 0.040, 0.8, 0.02, "worse"),
            (32, np.nan, np.nan, np.nan, 0.0, "equivalent"),  # every pair is identical
        ],
        columns=columns,
    )
    rows = [family.iloc[[index]] for index in range(len(family))]
    table = radius_summary(rows)
    pd.testing.assert_frame_equal(table[columns], family)
    for name in ("p", "log_ratio_p", "tost_p"):
        np.testing.assert_array_equal(table[f"{name}_holm"], holm(family[name]))
    # Alone, radius 16 is worse at 0.04; one of four, its corrected p-value is 0.08.
    assert table.loc[3, "log_ratio_p_holm"] == pytest.approx(0.08)
    verdicts = ["better", "worse", "equivalent", "inconclusive", "equivalent"]
    assert table["verdict_holm"].tolist() == verdicts
    assert radius_summary(rows[3:4]).loc[0, "verdict_holm"] == "worse"
