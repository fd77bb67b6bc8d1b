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
from test_scores import make_task, write_forecasts

from chronos2_attention.errors import InputError
from chronos2_attention.variants.sparse import Sparse
from chronos2_attention.variants.strided import Strided
from study.config.suites import load_suite
from study.evaluation.clusters import (
    DRAWS,
    METRICS,
    Errors,
    cut_edges,
    forecast_errors,
    pairs_of,
)
from study.evaluation.comparison import (
    compare_tasks,
    prior_study,
    radius_summary,
    sparse_test,
    ttest_row,
    win_rate,
)
from study.evaluation.gates import Validity
from study.evaluation.multiverse import multiverse
from study.evaluation.scores import score_files
from study.evaluation.simulation import dependent, simulate
from study.evaluation.statistics import (
    Criteria,
    PairedResult,
    clusters_for,
    correct_family,
    geometric_mean_ratio,
    paired_test,
    sign_flip_p,
    step_down,
)
from study.forecasts.files import KEY_COLUMNS

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
    result = paired_test(compared["MASE_full"], compared["MASE_sparse"])
    table = ttest_row(compared, result, Validity(False, "why"), setting=setting)
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
    result = paired_test(compared["MASE_full"], compared["MASE_sparse"])
    mine = ttest_row(compared, result, Validity(False), setting={"radius": radius}).iloc[0]
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
    # The t-test on log ratios gives 0.0205.
    assert result.log_ratio_p == pytest.approx(0.0205, abs=5e-3)
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
    assert result.wilcoxon_p == pytest.approx(stats.wilcoxon(np.log(other / base)).pvalue)
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
        (1.0, 0.2, "open", False),
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
        ([], [], "not tested", "0 pairs, fewer than 2"),
        ([1], [2], "not tested", "1 clusters, fewer than 2"),
        ([1, 2], [0.5, 1], "not tested", "2 clusters, fewer than 6: no p value"),
        ([1] * 6, [1] * 6, "equivalent", "every pair is identical"),
        ([1, 2, 3] * 2, [2, 3, 4] * 2, "worse", "all differences are the same"),
    ],
)
def test_degenerate_pairs_give_nan_and_a_reason(baseline, variant, verdict, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = paired_test(baseline, variant)
    assert math.isnan(result.t) == (len(set(np.subtract(variant, baseline))) < 2)
    assert result.verdict == verdict
    assert reason in result.reason


@pytest.mark.parametrize(
    ("bad", "left_out"), [((0.0, 1.0), 0), ((0.0, 0.0), 1), ((math.nan, 1.0), 1), ((1, -1.0), 1)]
)
def test_one_zero_or_missing_task_costs_no_other_its_test(bad, left_out):
    """Relative errors are clipped as fev does, and what is undefined is counted."""
    base = np.linspace(1, 3, 12)
    ripple = np.resize([1.01, 0.99], 12)
    result = paired_test([*base, bad[0]], [*(0.8 * ripple * base), bad[1]])
    assert result.n_left_out == left_out
    assert result.verdict == ("open" if not left_out else "better")
    assert result.n_clusters == 13 - left_out
    if not left_out:
        assert result.means.iloc[-1] == pytest.approx(math.log(100))


def test_an_identical_gain_everywhere_is_a_gain():
    base = np.array([1.0, 2.0, 5.0, 7.0, 0.1, 3.0])
    assert paired_test(base, 0.9 * base).verdict == "better"
    assert paired_test(base, 0.995 * base).verdict == "equivalent"
    assert "significantly better" in paired_test(base, 0.995 * base).reason


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
    assert result.n + (~np.isfinite([*zip(baseline, variant, strict=True)])).any(-1).sum() == len(
        pairs
    )
    assert result.verdict in {"better", "worse", "equivalent", "open", "not tested"}
    assert (result.verdict == "not tested") == math.isnan(result.log_ratio_p)
    if result.verdict == "not tested":
        assert result.reason


@settings(deadline=None, max_examples=12)
@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=2, max_size=12))
def test_exchange_of_the_two_turns_the_sign(pairs):
    a, b = (np.array(x) for x in zip(*pairs, strict=True))
    one, two = paired_test(a, b), paired_test(b, a)
    np.testing.assert_allclose(one.log_ratio_mean, -two.log_ratio_mean, atol=1e-9)
    np.testing.assert_allclose(one.p, two.p, rtol=1e-6)
    turned = {"better": "worse", "worse": "better"}
    assert two.verdict == turned.get(one.verdict, one.verdict)


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


# --- clusters -------------------------------------------------------------------------------------


def test_dependent_pairs_do_not_make_false_positives():
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(8), 7)
    found = {"by cluster": 0, "by pair": 0}
    for _ in range(400):
        values = 0.1 * dependent(rng, 8, 7, 0.8).ravel()
        result = paired_test(np.ones(56), np.exp(values), clusters=labels)
        found["by cluster"] += result.log_ratio_p < 0.05
        found["by pair"] += stats.ttest_1samp(values, 0).pvalue < 0.05
    assert found["by cluster"] <= 0.06 * 400
    assert found["by pair"] > 0.3 * 400


def study_of(items, windows=4, copies=1, tasks=8, seed=0):
    """Keys of a suite, the errors of two methods, and the clusters that its items belong to."""
    rng = np.random.default_rng(seed)
    keys = [
        (f"t{task}", window, f"i{item}_{copy}", "target")
        for task in range(tasks)
        for window in range(windows)
        for item in range(items)
        for copy in range(copies)
    ]
    keys = pd.DataFrame(keys, columns=["task_name", "window_index", "item_id", "target"])
    full, other = (np.repeat(rng.gamma(5, 0.2, tasks * windows * items), copies) for _ in range(2))
    return keys, full, full * 0.98 + 0.05 * other


@pytest.mark.parametrize("unit", ["task", "series"])
def test_copies_of_each_series_change_neither_interval_nor_p(unit):
    found = []
    for copies in (1, 12):
        keys, full, other = study_of(3 if unit == "task" else 1, copies=copies)
        # All copies of a series are one cluster; where tasks are pairs, the items of a task are.
        clusters = {f"t{task}": (f"t{task}", "all") for task in range(8)}
        pairs = pairs_of(keys, np.ones(len(keys)), unit, clusters)
        errors = Errors(pairs, {"full": full, "other": other})
        found.append(errors.test("full", "other", among=pairs.counted))
    one, many = found
    assert (one.n_clusters, many.n_clusters) == (8, 8)
    names = ("log_ratio_mean", "log_ratio_ci_low", "log_ratio_ci_high", "log_ratio_p", "tost_p")
    for name in names:
        assert getattr(one, name) == pytest.approx(getattr(many, name), rel=1e-9), name


def test_noisy_copies_of_one_series_are_not_tested():
    rng = np.random.default_rng(0)
    result = paired_test(np.ones(12), rng.normal(1, 0.001, 12), clusters=["one"] * 12)
    assert (result.verdict, result.n, result.n_clusters) == ("not tested", 12, 1)


def test_draws_from_within_clusters_widen_the_interval_by_their_variance():
    keys, full, other = study_of(6, windows=9)
    clusters = {f"t{task}": (f"t{task}", None) for task in range(8)}
    pairs = pairs_of(keys, np.ones(len(keys)), "task", clusters)
    members, blocks = pairs.draws
    assert members.shape == (DRAWS, 8 * 6)
    assert blocks.shape == (DRAWS, 8 * 9)
    assert (members.reshape(DRAWS, 8, 6).sum(axis=2) == 6).all()
    assert (blocks.reshape(DRAWS, 8, 9).sum(axis=2) == 9).all()
    plain = paired_test(pairs.mean(full), pairs.mean(other))
    drawn = Errors(pairs, {"full": full, "other": other}).test("full", "other", among=pairs.counted)
    # By another way: sources and what is drawn within them, both with replacement.
    rng = np.random.default_rng(1)
    ratios = [
        np.log(pairs.mean(other, *one) / pairs.mean(full, *one))
        for one in zip(members, blocks, strict=True)
    ]
    ratios = np.array(ratios)
    two_stages = [
        ratios[rng.integers(0, DRAWS, 8), rng.integers(0, 8, 8)].mean() for _ in range(8000)
    ]
    half = (drawn.log_ratio_ci_high - drawn.log_ratio_ci_low) / 2
    expected = np.std(two_stages) * stats.t.ppf(0.975, 7)
    assert half == pytest.approx(expected, rel=0.1)
    assert half > (plain.log_ratio_ci_high - plain.log_ratio_ci_low) / 2
    assert drawn.log_ratio_mean == plain.log_ratio_mean


def test_means_of_pairs_are_those_of_cells():
    keys, full, _ = study_of(3)
    steps = np.resize([1.0, 4.0, 2.0], len(keys))
    pairs = pairs_of(keys, steps, "task", {f"t{task}": ("s", None) for task in range(8)})
    frame = keys.assign(sums=full * steps, steps=steps)
    cells = frame.groupby(["task_name", "window_index"])[["sums", "steps"]].sum()
    expected = (cells["sums"] / cells["steps"]).groupby("task_name").mean()
    np.testing.assert_allclose(pairs.mean(full), expected)
    part = pairs.where((keys["window_index"] > 1) & (keys["task_name"] != "t3"))
    assert part.counted.tolist() == [task != 3 for task in range(8)]
    later = (cells["sums"] / cells["steps"]).loc[:, 2:].groupby("task_name").mean()
    np.testing.assert_allclose(part.mean(full)[:3], later[:3])


# --- families -------------------------------------------------------------------------------------


def family_of(values):
    results = [paired_test(np.ones(len(x)), np.exp(x)) for x in values.T]
    names = ("log_ratio_p", "log_ratio_mean", "tost_p")
    table = pd.DataFrame([{name: getattr(one, name) for name in names} for one in results])
    return correct_family(table, [one.means for one in results])


def test_a_variant_given_twice_changes_no_p():
    rng = np.random.default_rng(2)
    values = 0.02 * rng.standard_normal((15, 4)) + [-0.02, 0.0, 0.005, -0.01]
    once, twice = family_of(values), family_of(values[:, [0, 1, 2, 3, 0, 2]])
    for name in ("log_ratio_p_family", "tost_p_family", "verdict_family"):
        assert once[name].tolist() == twice[name][:4].tolist(), name
        assert twice[name][4] == twice[name][0]
    assert (once["log_ratio_p_family"] >= once["log_ratio_p"] - 0.02).all()
    assert once["verdict_family"][0] == "better"


def test_the_step_down_procedure_against_its_definition():
    rng = np.random.default_rng(4)
    values = rng.standard_normal((7, 3)) + np.array([0.9, 0.0, 0.4])
    signs = np.array(np.meshgrid(*[[1, -1]] * 7)).reshape(7, -1).T

    def t(x):
        return np.abs(x.mean(axis=0) / (x.std(axis=0, ddof=1) / math.sqrt(7)))

    flipped = np.array([t(values * sign[:, None]) for sign in signs])
    order = np.argsort(-t(values))
    expected, last = np.empty(3), 0.0
    for place, test in enumerate(order):
        largest = flipped[:, order[place:]].max(axis=1)
        last = max(last, (largest >= t(values)[test] - 1e-9).mean())
        expected[test] = last
    np.testing.assert_allclose(step_down(values), expected)
    alone = step_down(values[:, :1])[0]
    assert alone == pytest.approx(sign_flip_p(values[:, 0]))


def test_a_family_of_nothing_tested():
    table = family_of(np.zeros((3, 2)))
    assert table["verdict_family"].tolist() == ["not tested"] * 2


# --- equivalence and power ------------------------------------------------------------------------


def test_equivalence_holds_from_the_least_margin_on():
    base = np.ones(20)
    other = np.exp(np.random.default_rng(7).normal(0.003, 0.01, 20))
    least = paired_test(base, other).least_margin
    above, below = (paired_test(base, other, Criteria(margin=least * f)) for f in (1.001, 0.999))
    assert (above.verdict, above.tost_p < 0.05) == ("equivalent", True)
    assert below.tost_p > 0.05
    found = paired_test(base, other)
    low, high = stats.ttest_1samp(np.log(other), 0).confidence_interval(0.9)
    assert (found.tost_low, found.tost_high) == pytest.approx((low, high))


def test_power_is_what_simulation_finds():
    rng = np.random.default_rng(11)
    base = rng.normal(0, 0.03, 12)
    result = paired_test(np.ones(12), np.exp((base - base.mean()) / base.std(ddof=1) * 0.03))
    effect, margin = math.log1p(result.effect_80), math.log1p(result.margin_80)
    draws = rng.normal(0, 0.03, (20000, 12))
    shifted = stats.ttest_1samp(draws + effect, 0, axis=1).pvalue < 0.05
    assert shifted.mean() == pytest.approx(0.8, abs=0.02)
    half = stats.t.ppf(0.95, 11) * draws.std(axis=1, ddof=1) / math.sqrt(12)
    # The spread is known to the margin, as it is to the study that states it.
    assert (np.abs(draws.mean(axis=1)) + half < margin).mean() == pytest.approx(0.8, abs=0.02)
    assert clusters_for(effect, 0.03, 0.05) == pytest.approx(12, abs=1)
    assert result.n_for_2_percent < result.n_for_1_percent


def test_influence_names_the_cluster_that_moves_the_mean_most():
    values = pd.Series(0.001 * np.resize([1, -1], 10), [f"s{i}" for i in range(10)])
    values["s3"] = 0.5
    result = paired_test(np.ones(10), np.exp(values), clusters=values.index)
    assert result.most_influential == "s3"
    assert result.without_one_low == pytest.approx(values.drop("s3").mean())
    assert result.trimmed_mean == pytest.approx(stats.trim_mean(values, 0.1))


# --- sparse attention -----------------------------------------------------------------------------


def test_cut_edges_are_those_of_a_mask():
    for length in (1, 16, 17, 200, 900):
        tokens = -(-length // 16) + 1
        distance = np.abs(np.subtract.outer(np.arange(tokens), np.arange(tokens)))
        for radius in (0, 2, 8, 40):
            found = cut_edges(np.array([length]), Sparse(radius))
            assert found == pytest.approx((distance > radius).mean())
    # What sees more than a window cuts less: here every token is global.
    assert cut_edges(np.array([200, 900]), Strided(0, 1)).tolist() == [0, 0]


def sparse_study(short, effect=0.0, seed=0):
    """Eight tasks of long series and `short` ones of which nothing is cut, and how both do."""
    rng = np.random.default_rng(seed)
    tasks = [f"t{i}" for i in range(8 + short)]
    keys, full, _ = study_of(2, tasks=8 + short)
    full = pd.DataFrame({"MASE": full, "SQL": full, "WQL": full, "steps": 4, "covered": 0.8})
    full = pd.concat([keys, full], axis=1)
    full["context_length"] = np.where(keys["task_name"].isin(tasks[:8]), 1000, 40)
    sparse = full.drop(columns=["steps", "context_length"])
    factor = np.exp(effect + 0.02 * np.random.default_rng(1).standard_normal(8))
    factor = dict(zip(tasks, [*factor, *(1 + 1e-4 * rng.standard_normal(short))], strict=True))
    sparse[["MASE", "SQL", "WQL"]] *= keys["task_name"].map(factor).to_numpy()[:, None]
    means = [
        x.groupby("task_name", sort=False)["MASE"].mean().reset_index() for x in (full, sparse)
    ]
    compared = compare_tasks(*means, setting={"radius": 8})
    return compared, full, sparse, Sparse(8), {task: (task, None) for task in tasks}


def test_short_tasks_in_which_nothing_is_cut_change_no_verdict():
    found = [sparse_test(*sparse_study(short)) for short in (0, 100)]
    (_, alone, told), (_, many, other) = found
    assert (told["n_uncut"], other["n_uncut"]) == (0, 100)
    assert (alone.n, many.n, many.n_clusters) == (8, 108, 8)
    assert alone.verdict == many.verdict == "open"
    assert alone.tost_p == pytest.approx(many.tost_p)
    # What the published study would have said of all of them.
    (compared, _, _), *_ = found[1:]
    assert paired_test(compared["MASE_full"], compared["MASE_sparse"]).verdict == "equivalent"


def test_radii_are_one_family_and_hiding_the_future_a_row_of_its_own():
    rows, tables = [], []
    for radius, effect in ((8, 0.1), (32, 0.0)):
        compared, full, sparse, _, clusters = sparse_study(20, effect)
        compared["radius"] = radius
        compared, result, extra = sparse_test(compared, full, sparse, Sparse(radius), clusters)
        row = ttest_row(compared, result, Validity(True), setting={"radius": radius})
        rows.append(row.assign(**extra))
        tables.append(compared)
    table = radius_summary(rows, tables)
    assert table["effect"].tolist() == ["attention cut", "attention cut", "future hidden"]
    assert table["verdict_family"].tolist() == ["worse", "open", "equivalent"]
    assert table["nothing_lost"].tolist()[:2] == ["no", "undecided"]
    assert table["n_clusters"].tolist() == [8, 8, 20]
    assert np.isnan(table["radius"][2])
    assert (table["log_ratio_p_family"] >= table["log_ratio_p"] - 1e-9)[:2].all()


def test_the_prior_study_is_tested_where_it_cut(reference, repo_root):
    clusters = load_suite("cbii", repo_root / "config").clusters
    assert len({source for source, _ in clusters.values()}) == 18
    table = prior_study(
        reference("prior_cbii_perf_full"),
        {r: reference(f"prior_cbii_perf_sparse_r{r}") for r in (8, 32)},
        reference("published_cbii_seasonal_naive"),
        reference("prior_cbii_mass_per_window"),
        clusters,
    )
    assert table["n"].tolist() == [27, 27]
    assert table["p"].tolist() == pytest.approx([0.107531, 0.288954], abs=5e-7)
    assert (table["n_uncut"] > 0).all()
    assert (table["n_clusters"] < 18).all()
    assert table["verdict"].isin(["open", "equivalent", "not tested"]).all()


def test_errors_of_forecasts_are_those_of_fev(tmp_path):
    """MASE and SQL of forecasts add up to fev's of tasks."""
    task = make_task(tmp_path, "one", targets=("a", "b"))
    write_forecasts(tmp_path / "f.parquet", [task])
    (table,) = score_files([task], (tmp_path / "f.parquet", tmp_path / "s.parquet"))
    found = forecast_errors(tmp_path / "s.parquet", tmp_path / "f.parquet")
    pairs = pairs_of(found, found["steps"], "task", {"one": ("one", None)})
    for metric in ("MASE", "SQL"):
        mean = pairs.mean(found[metric].to_numpy())
        assert mean == pytest.approx(table[metric].to_numpy(), rel=1e-6), metric
    other = table.assign(model_name="other", MASE=0.9 * table["MASE"])
    told = win_rate(table, other)
    assert (told["win_rate"], told["skill_score"]) == pytest.approx((1, 0.1))
    assert {"win_rate_lower", "skill_score_upper"} <= told.keys()
    # Over |truth|, which its forecasts share, loss and scaled loss are one.
    one = found[(found["window_index"] == 0) & (found["target"] == "a")].dropna()
    assert (one["WQL"] > 0).all()
    assert one["covered"].between(0, 1).all()


def test_the_multiverse_asks_as_the_verdict_does_and_otherwise():
    rng = np.random.default_rng(3)
    keys = pd.DataFrame(
        [(f"t{t}", w, f"i{i}", "target") for t in range(9) for w in range(2) for i in range(3)],
        columns=list(KEY_COLUMNS),
    )
    context = np.where(keys["task_name"] < "t3", 96, 2400)  # 7 and 151 tokens
    full, sparse = (
        keys.assign(**{m: rng.gamma(20, 0.05, len(keys)) for m in METRICS}, steps=4.0, covered=0.8)
        for _ in range(2)
    )
    full = full.assign(context_length=context)
    clusters = {f"t{t}": (f"s{t}", None) for t in range(9)}
    found = multiverse(full, sparse, Sparse(8), clusters, [0.005, 0.01, 0.02], 0.05)
    assert len(found) == len(found.drop_duplicates(["metric", "unit", "context", "margin"])) == 54
    compared = pd.DataFrame({"task_name": [f"t{t}" for t in range(9)]})
    compared = compared.assign(MASE_full=1.0, MASE_sparse=1.0)
    _, result, extra = sparse_test(compared, full, sparse, Sparse(8), clusters)
    asked = found[(found["unit"] == "task") & (found["margin"] == 0.01)]
    row = asked[asked["context"] == "attention cut"].set_index("metric").loc["MASE"]
    assert row["change"] == result.log_ratio_mean
    assert (row["low"], row["p"]) == (result.log_ratio_ci_low, result.log_ratio_p)
    assert (row["n_clusters"], row["n"]) == (6, 6)
    assert extra["n_uncut"] == 3
    whole = asked[asked["context"] == "all"].set_index("metric").loc["SQL"]
    errors = [table.groupby("task_name")["SQL"].mean() for table in (sparse, full)]
    assert whole["change"] == pytest.approx(np.log(errors[0] / errors[1]).mean())
    assert found[found["unit"] == "series"]["n"].max() == 27


def test_simulated_tests_keep_their_level_and_find_what_is_there():
    how = {"spread": 0.02, "simulations": 200, "seed": 0}
    null, there = (simulate(12, 10, 0.8, effect, **how) for effect in (0.0, 0.03))
    assert null["found"] <= 0.06 < 0.3 < null["found_by_pairs"]
    assert null["family"] <= 0.08
    for one in (null, there):
        assert one["covered"] == pytest.approx(0.95, abs=0.035)
    assert there["found"] > 0.9
    assert there["equivalent"] == 0
