"""Statistics of soft masks: cases with a known answer, and independent references."""

from __future__ import annotations

import gc
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.sparse import diags_array, eye_array
from scipy.sparse.linalg import spsolve
from soft_data import (
    ITEMS,
    TASKS,
    WINDOWS,
    batch_sizes,
    forecasts,
    make_baseline,
    pairs_by,
    towards_truth,
    without_scale,
    write_method,
    write_similarities,
)

from chronos2_attention.errors import InputError
from study.config.suites import load_suite
from study.config.targets import TargetCheck
from study.evaluation.comparison import prior_soft
from study.evaluation.gates import Validity
from study.evaluation.statistics import USUAL
from study.soft_masks.breakdown import (
    BEST_SEEN,
    BEST_TRUE,
    by_feature,
    by_horizon,
    by_sample_size,
    gain_interval,
    sample_sizes,
)
from study.soft_masks.pairs import read_baseline, read_batch_sizes, read_variant, soft_pairs
from study.soft_masks.smoothing import matching_strength, roughness, smooth, smoothed_baseline
from study.soft_masks.summary import (
    chosen_early,
    early,
    evaluate,
    mean_cross_group_mass,
    rows_of,
    step_errors,
    summarise,
)
from study.soft_masks.sweep import control_of, setting_of, sweep_variants, with_controls
from study.soft_masks.verdicts import as_markdown, sweep_tables, verdicts

CONTROLS = ["permuted", "uniform"]
SOFT = "soft_correlation_t5"
VALID = Validity(True, "", 0.9)


@pytest.fixture(scope="module", autouse=True)
def frozen_garbage():
    """statsmodels collects garbage at each correction: seconds, once torch is loaded."""
    gc.freeze()
    yield
    gc.unfreeze()


def summary_of(baseline, methods, *, unit="task", sizes=None, validity=VALID, run=None):
    pairs, batches = pairs_by(baseline, unit, sizes)
    run = {"weights_fingerprint": "abc"} if run is None else run
    evaluated = {n: evaluate(n, baseline, m, pairs, run=run) for n, m in methods.items()}
    rows = rows_of(baseline, pairs, batches, evaluated, CONTROLS, validity, USUAL)
    return summarise(rows, CONTROLS).set_index("variant")


def beside_controls(variant, permuted, uniform):
    return {
        SOFT: variant,
        "soft_correlation-permuted_t5": permuted,
        "soft_correlation-uniform_t5": uniform,
    }


# --- answers that are known -----------------------------------------------------------------------


def test_a_better_variant_is_more_than_smoothing_and_than_random():
    baseline = make_baseline()
    control = towards_truth(baseline, 0.0, noise=0.05, seed=2)
    better = towards_truth(baseline, 0.2, noise=0.05)
    row = summary_of(baseline, beside_controls(better, control, control)).loc[SOFT]
    assert row["verdict_family"] == "better"
    assert row["log_ratio_mean"] == pytest.approx(math.log(0.8), abs=0.02)
    assert (row["more_than_smoothing"], row["more_than_random"]) == ("yes", "yes")
    assert row["share_improved"] > 0.95


def test_what_random_partners_give_too_is_no_more_than_random():
    baseline = make_baseline()
    permuted = towards_truth(baseline, 0.2, noise=0.005, seed=2)
    nothing = towards_truth(baseline, 0.0, noise=0.05, seed=3)
    better = towards_truth(baseline, 0.2, noise=0.005)
    row = summary_of(baseline, beside_controls(better, permuted, nothing)).loc[SOFT]
    assert row["verdict_family"] == "better"
    assert row["vs_permuted_verdict_family"] == "equivalent"
    assert row["vs_uniform_verdict_family"] == "better"
    assert (row["more_than_smoothing"], row["more_than_random"]) == ("yes", "no")


def test_a_smoothed_baseline_is_no_more_than_smoothing():
    baseline = make_baseline(roughness=2.0, level=0.2)
    control = towards_truth(baseline, 0.0, noise=0.01)
    smoother = {
        task: forecasts(smooth(base.point, 3.0), baseline.truth[task], baseline.scale[task])
        for task, base in baseline.forecasts.items()
    }
    row = summary_of(baseline, beside_controls(smoother, control, control)).loc[SOFT]
    assert row["verdict_family"] == "better"
    assert row["roughness_ratio"] < 0.5
    assert row["smoothed_tasks"] == len(TASKS)
    assert row["smoothed_alone_log_ratio_mean"] == pytest.approx(row["log_ratio_mean"], abs=1e-4)
    assert (row["more_than_smoothing"], row["more_than_random"]) == ("no", "yes")


def test_noise_has_no_gain():
    baseline = make_baseline()
    control = towards_truth(baseline, 0.0, noise=0.01, seed=2)
    row = summary_of(
        baseline, beside_controls(towards_truth(baseline, 0.0, noise=0.01), control, control)
    ).loc[SOFT]
    assert row["verdict_family"] == "equivalent"
    assert (row["more_than_smoothing"], row["more_than_random"]) == ("no gain", "no gain")


def test_without_controls_the_second_question_stays_open():
    baseline = make_baseline()
    row = summary_of(baseline, {SOFT: towards_truth(baseline, 0.2, noise=0.05)}).loc[SOFT]
    assert row["more_than_smoothing"] == "yes"
    assert row["more_than_random"] == "undecided"


# --- the row --------------------------------------------------------------------------------------


def test_pairs_in_which_nothing_can_mix_are_left_out_and_counted():
    baseline = make_baseline()
    alone, couple = list(TASKS)[:3], list(TASKS)[3:5]
    sizes = {**dict.fromkeys(alone, 1), **dict.fromkeys(couple, 2)}
    better = towards_truth(baseline, 0.2, noise=0.05)
    for task in alone:
        better[task] = baseline.forecasts[task]
    control = {**towards_truth(baseline, 0.0, noise=0.02), **{t: better[t] for t in couple}}
    row = summary_of(baseline, beside_controls(better, control, control), sizes=sizes).loc[SOFT]
    assert (row["n"], row["n_unmixed"]) == (len(TASKS) - 3, 3)
    assert row["n_forecasts"] == (len(TASKS) - 3) * ITEMS * WINDOWS
    assert (row["vs_permuted_n"], row["vs_permuted_left_out"]) == (len(TASKS) - 5, 2)
    mixing = [task for task in TASKS if task not in alone]
    ratios = [
        better[t].scaled_error.mean() / baseline.forecasts[t].scaled_error.mean() for t in mixing
    ]
    assert row["log_ratio_mean"] == pytest.approx(np.log(ratios).mean())
    assert row["log_ratio_p"] == pytest.approx(2 / 2**9)  # no flip of the nine signs is as low


def test_pairs_may_be_series():
    baseline = without_scale(make_baseline(), "task00")
    better = towards_truth(baseline, 0.2, noise=0.05)
    row = summary_of(baseline, {SOFT: better}, unit="series").loc[SOFT]
    assert (row["pair"], row["n"]) == ("series", len(TASKS) * ITEMS)
    ratios = []
    for task in TASKS:
        item = baseline.keys[task]["item_id"]
        base, other = (
            pd.DataFrame(x[task].scaled_error).mean(axis=1).groupby(item).mean()
            for x in (baseline.forecasts, better)
        )
        ratios.extend(np.log(other / base))
    assert row["log_ratio_mean"] == pytest.approx(np.mean(ratios))


def test_figures_of_a_row_follow_their_definitions():
    baseline = make_baseline(roughness=0.5)
    variant = towards_truth(baseline, 0.3, noise=0.5)
    row = summary_of(baseline, {SOFT: variant}).loc[SOFT]
    ratios, widths, improved, pairs = [], [], [], []
    for task, base in baseline.forecasts.items():
        scale = baseline.scale[task]
        rough, wide = (
            [
                np.mean([np.mean(f(x, i)) / scale[i] for i in range(len(scale))])
                for x in (base, variant[task])
            ]
            for f in (
                lambda x, i: np.abs(x.point[i, 2:] - 2 * x.point[i, 1:-1] + x.point[i, :-2]),
                lambda x, i: x.high[i] - x.low[i],
            )
        )
        ratios.append(rough[1] / rough[0])
        widths.append(wide[1] / wide[0])
        improved.extend(variant[task].error < base.error)
        x, y = ((f.point / scale[:, None]).ravel() for f in (base, variant[task]))
        pairs.append(np.stack([x, y]))
    assert row["roughness_ratio"] == pytest.approx(stats.gmean(ratios))
    assert row["interval_width_ratio"] == pytest.approx(stats.gmean(widths))
    assert row["share_improved"] == pytest.approx(np.mean(improved))
    x, y = np.concatenate(pairs, axis=1)
    assert row["forecast_correlation"] == pytest.approx(stats.pearsonr(x, y).statistic)
    assert row["forecast_correlation_centred"] < row["forecast_correlation"]


def test_the_family_of_soft_masks_is_corrected_apart_from_the_controls():
    baseline = make_baseline()
    methods = {}
    for index, name in enumerate(sweep_variants(["correlation", "cosine"], [0.5, 20], CONTROLS)):
        gain = 0.01 * (index % 4)
        methods[name] = towards_truth(baseline, gain, noise=0.1, seed=index)
    table = summary_of(baseline, methods)
    assert table["family"].value_counts().to_dict() == {"controls": 8, "soft masks": 5}
    assert (table["log_ratio_p_family"] >= table["log_ratio_p"] - 1e-9).all()
    smallest = table["log_ratio_p"].groupby(table["family"]).min()
    holm = smallest * table["family"].value_counts()
    found = table["log_ratio_p_family"].groupby(table["family"]).min()
    assert (found <= holm + 0.01).all()
    soft = table[(table["control"] == "none") & (table["measure"] != "any")]
    assert soft["vs_permuted_log_ratio_p_family"].notna().all()
    assert table.drop(soft.index)["vs_permuted_log_ratio_p"].isna().all()
    assert (table.drop(soft.index)["more_than_random"] == "not asked").all()


def test_invalid_studies_and_other_weights_are_marked():
    baseline = make_baseline()
    methods = {SOFT: towards_truth(baseline, 0.2, noise=0.05)}
    row = summary_of(baseline, methods, validity=Validity(False, "gate data failed", 2.0)).loc[SOFT]
    assert not row["valid"]
    assert row["reason"] == "gate data failed"
    row = summary_of(baseline, methods, run={"weights_fingerprint": "other"}).loc[SOFT]
    assert not row["valid"]
    assert "gate weights failed" in row["reason"]
    assert summary_of(baseline, methods).loc[SOFT, "valid"]


def test_nothing_mixes_anywhere():
    baseline = make_baseline()
    sizes = dict.fromkeys(TASKS, 1)
    same = dict(baseline.forecasts)
    row = summary_of(baseline, beside_controls(same, same, same), sizes=sizes).loc[SOFT]
    assert (row["n"], row["n_unmixed"], row["verdict_family"]) == (0, len(TASKS), "not tested")
    assert math.isnan(row["log_ratio_mean"])
    assert row["more_than_random"] == "no gain"


def test_cross_group_mass_weighs_tasks_alike():
    table = pd.DataFrame(
        {
            "task_name": ["a", "a", "b", "c"],
            "cross_group_mass": [0.2, 0.4, 0.6, np.nan],
            "num_mixed_series": [1, 3, 10, 0],
        }
    )
    assert mean_cross_group_mass(table) == pytest.approx(((0.2 + 3 * 0.4) / 4 + 0.6) / 2)
    assert math.isnan(mean_cross_group_mass(table[table["task_name"] == "c"]))


# --- names ----------------------------------------------------------------------------------------


def test_a_sweep_and_its_names():
    names = sweep_variants(["cosine"], [0.1, 5], CONTROLS)
    assert names == [
        "joint",
        *("soft_cosine_t0.1", "soft_cosine-permuted_t0.1", "soft_cosine-uniform_t0.1"),
        *("soft_cosine_t5", "soft_cosine-permuted_t5", "soft_cosine-uniform_t5"),
    ]
    assert setting_of("soft_cosine-uniform_t0.1") == {
        "measure": "cosine",
        "temperature": 0.1,
        "control": "uniform",
    }
    assert setting_of("joint")["temperature"] == 0
    assert control_of("soft_cosine_t5", "permuted") == "soft_cosine-permuted_t5"
    assert control_of("joint", "permuted") is None
    assert with_controls("soft_cosine_t5", CONTROLS) == names[4:]
    assert with_controls("soft_cosine-permuted_t5", CONTROLS) == ["soft_cosine-permuted_t5"]
    assert control_of("soft_cosine-uniform_t5", "permuted") is None
    with pytest.raises(InputError, match="no soft mask"):
        setting_of("sparse_r8")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("demo_soft_ttest_correlation_t5.csv", None),
        ("demo_soft_ttest_cosine-permuted_t0.5.csv", None),
        ("demo_soft_verdicts.md", None),
        ("demo_soft_ttest_correlation_t05.csv", "unknown attention variant"),
        ("demo_soft_ttest_kendall_t5.csv", "unknown attention variant"),
        ("demmo_soft_summary.csv", "unknown suite"),
    ],
)
def test_names_of_results_are_checked(repo_root, name, message):
    endings = ("ttest_{soft}.csv", "summary.csv", "verdicts.md")
    outputs = [f"results/{{study}}_soft_{ending}" for ending in endings]
    check = TargetCheck(outputs, repo_root / "config", None)
    if message is None:
        assert check.file(f"results/{name}")
    else:
        with pytest.raises(InputError, match=message):
            check.file(f"results/{name}")


# --- smoothing ------------------------------------------------------------------------------------


@given(st.integers(3, 40), st.floats(1e-3, 1e5), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_smoother_solves_its_equation(horizon, strength, seed):
    paths = np.random.default_rng(seed).normal(size=(3, horizon)).cumsum(axis=1)
    second = diags_array([1.0, -2.0, 1.0], offsets=[0, 1, 2], shape=(horizon - 2, horizon))
    system = (eye_array(horizon) + strength * second.T @ second).tocsc()
    np.testing.assert_allclose(smooth(paths, strength), spsolve(system, paths.T).T, atol=1e-8)


@given(st.integers(0, 99), st.floats(0.001, 0.999))
@settings(max_examples=30, deadline=None)
def test_a_match_is_as_rough_as_asked(seed, share):
    rng = np.random.default_rng(seed)
    paths, scale = rng.normal(size=(6, 24)).cumsum(axis=1), rng.uniform(0.1, 9, 6)
    scale[0] = np.nan
    target = share * roughness(paths, scale)
    strength = matching_strength(paths, scale, target)
    assert roughness(smooth(paths, strength), scale) == pytest.approx(target, rel=1e-4)


def test_straight_lines_short_paths_and_rougher_variants_stay():
    line = np.arange(12.0)[None, :] * 3 + 1
    np.testing.assert_allclose(smooth(line, 1e6), line, atol=1e-6)
    rough = np.random.default_rng(0).normal(size=(4, 12))
    assert matching_strength(rough, np.ones(4), roughness(rough, np.ones(4)) * 1.1) == 0
    assert matching_strength(rough[:, :2], np.ones(4), 0.0) == 0
    assert smooth(rough[:, :2], 5.0) is not None
    assert math.isnan(roughness(rough[:, :2], np.ones(4)))
    straight = smooth(rough, matching_strength(rough, np.ones(4), 0.0))
    assert roughness(straight, np.ones(4)) < 1e-6


def test_a_smoothed_baseline_is_scored_as_forecasts_are():
    baseline = make_baseline(roughness=1.0)
    variant = towards_truth(baseline, 0.5)
    errors, strengths = smoothed_baseline(baseline, variant)
    for task, base in baseline.forecasts.items():
        path = smooth(base.point, strengths[task])
        assert roughness(path, baseline.scale[task]) == pytest.approx(
            roughness(variant[task].point, baseline.scale[task]), rel=1e-4
        )
        expected = np.abs(path - baseline.truth[task]) / baseline.scale[task][:, None]
        np.testing.assert_allclose(errors[task], expected)


# --- breakdown ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluated():
    """A variant that gains in late steps and in feature i0 only, beside one that gains nowhere."""
    baseline = make_baseline()
    gains, nothing = {}, towards_truth(baseline, 0.0, noise=0.02)
    for task, base in baseline.forecasts.items():
        truth = baseline.truth[task]
        share = np.zeros_like(truth)
        share[baseline.keys[task]["item_id"] == "i0", 6:] = 0.5
        gains[task] = forecasts(
            truth + (base.point - truth) * (1 - share), truth, baseline.scale[task]
        )
    pairs, _ = pairs_by(baseline)
    made = [
        evaluate(name, baseline, method, pairs)
        for name, method in {SOFT: gains, "soft_cosine_t5": nothing}.items()
    ]
    return baseline, pairs, made


def errors_of(baseline):
    return np.concatenate([part.error for part in baseline.forecasts.values()])


def test_by_feature_finds_the_feature(evaluated):
    baseline, pairs, made = evaluated
    table = by_feature(
        errors_of(baseline), made, baseline.all_keys, pairs, lambda task, item: item
    ).set_index(["variant", "feature"])
    assert list(table.index.unique("feature")) == [f"i{i}" for i in range(ITEMS)]
    assert table.loc[(SOFT, "i0"), "gain"] > 0.1
    assert table.loc[(SOFT, "i0"), "ci_low"] > 0.1
    assert table.loc[(SOFT, "i1"), "gain"] == 0
    assert (table["n_series"] == len(TASKS)).all()
    assert (table["n_forecasts"] == len(TASKS) * WINDOWS).all()
    base = np.concatenate([p.error[::ITEMS] / p.error.mean() for p in baseline.forecasts.values()])
    means = np.repeat([p.error.mean() for p in baseline.forecasts.values()], WINDOWS)
    other = made[0].error[baseline.all_keys["item_id"] == "i0"] / means
    expected = 1 - other.sum() / base.sum()
    assert table.loc[(SOFT, "i0"), "gain"] == pytest.approx(expected)


def test_by_horizon_finds_the_steps(evaluated):
    baseline, pairs, made = evaluated
    steps = step_errors(pairs, baseline.forecasts)
    table = by_horizon(steps, pairs.mean(errors_of(baseline)), made, pairs)
    table = table[table["variant"] == SOFT].set_index("step")
    assert (table.loc[:6, "gain"].abs() < 1e-12).all()
    assert (table.loc[7:27, "gain"] > 0.02).all()
    horizons = np.array(list(TASKS.values()))
    assert table["n"].to_dict() == {h: (horizons >= h).sum() for h in range(1, 29)}
    np.testing.assert_allclose(
        steps[3, : TASKS["task03"]], baseline.forecasts["task03"].scaled_error.mean(axis=0)
    )


def test_intervals_of_gains_agree_with_a_bootstrap():
    rng = np.random.default_rng(0)
    base = rng.gamma(2, 1, 500)
    other = base * 0.9 * rng.lognormal(0, 0.2, 500)
    gain, low, high = gain_interval(base, other, 0.05)
    picks = rng.integers(0, 500, (4000, 500))
    resampled = 1 - other[picks].mean(1) / base[picks].mean(1)
    assert gain == pytest.approx(1 - other.mean() / base.mean())
    assert [low, high] == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=3e-3)
    assert math.isnan(gain_interval(base[:1], other[:1], 0.05)[1])
    assert math.isnan(gain_interval(base[:0], other[:0], 0.05)[0])


def test_the_best_of_many_shrinks_with_the_sample():
    """Masks of no gain: the best seems to gain, the more the fewer, and gains nothing later."""
    seen, true = [], []
    for draw in range(6):
        baseline = make_baseline(seed=draw)
        pairs, _ = pairs_by(baseline)
        names = sweep_variants(["correlation", "cosine"], [0.1, 1, 5, 20], [])
        made = [
            evaluate(
                n, baseline, towards_truth(baseline, 0.0, noise=0.3, seed=99 * draw + i), pairs
            )
            for i, n in enumerate(names)
        ]
        arguments = (errors_of(baseline), made, baseline.all_keys, pairs)
        table = by_sample_size(*arguments, resamples=40, seed=3)
        curves = table.pivot(index="n_forecasts", columns="variant", values="gain")
        best = curves.dropna(subset=[BEST_SEEN])
        assert best.index.max() == len(TASKS) * ITEMS  # one window of three is early
        seen.append(best[BEST_SEEN].iloc[0])
        true.append(best[BEST_TRUE].iloc[0])
        one = table[table["variant"] == SOFT].set_index("n_forecasts")
        assert (one["ci_high"] - one["ci_low"]).is_monotonic_decreasing
    assert table.equals(by_sample_size(*arguments, resamples=40, seed=3))
    assert stats.ttest_1samp(seen, 0).pvalue < 0.01
    # The jitter of levels itself costs a little, as it does each mask.
    assert np.mean(true) == pytest.approx(0, abs=3 * np.std(true, ddof=1) / math.sqrt(6) + 0.01)
    assert np.mean(seen) > 0.02 > abs(np.mean(true))


def test_what_is_chosen_early_is_tested_by_what_follows():
    baseline = make_baseline()
    keys = baseline.all_keys
    assert early(keys).tolist() == (keys["window_index"] == 0).tolist()
    alone = keys[keys["window_index"] == 1]
    turns = early(alone).reshape(len(TASKS), ITEMS).all(axis=1)
    assert turns.tolist() == [place % 2 == 0 for place in range(len(TASKS))]
    # One mask gains early only, the other in later windows only.
    lucky, true = (towards_truth(baseline, 0.3), towards_truth(baseline, 0.3))
    for task, base in baseline.forecasts.items():
        is_early = early(keys[keys["task_name"] == task])
        for method, where in ((lucky, ~is_early), (true, is_early)):
            path = np.where(where[:, None], base.point, method[task].point)
            method[task] = forecasts(path, baseline.truth[task], baseline.scale[task])
    pairs, _ = pairs_by(baseline)
    made = {
        name: evaluate(name, baseline, method, pairs)
        for name, method in {SOFT: lucky, "soft_cosine_t5": true}.items()
    }
    name, result = chosen_early(baseline, pairs, made)
    assert name == SOFT
    assert result.verdict == "equivalent"
    assert result.log_ratio_mean == 0


def test_a_trend_that_is_halved_is_no_more_than_damping():
    baseline = make_baseline(level=0.1)
    halved, trended = {}, {}
    rng = np.random.default_rng(4)
    for task, base in baseline.forecasts.items():
        steps, scale = np.arange(base.point.shape[1]), baseline.scale[task]
        trend = scale[:, None] * rng.normal(0, 0.2, (len(scale), 1)) * steps
        flat = np.tile(5.0 + rng.normal(0, 0.3, (len(scale), 1)) * scale[:, None], len(steps))
        baseline.truth[task] = flat
        noise = scale[:, None] * rng.normal(0, 0.02, flat.shape)
        trended[task] = forecasts(flat + trend + noise, flat, scale)
        halved[task] = forecasts(flat + trend / 2 + noise, flat, scale)
    baseline = replace(baseline, forecasts=trended)
    control = towards_truth(baseline, 0.0, noise=0.01)
    row = summary_of(baseline, beside_controls(halved, control, control)).loc[SOFT]
    assert row["verdict_family"] == "better"
    assert row["vs_smoothed_verdict_family"] == "better"
    assert row["vs_damped_verdict_family"] == "equivalent"
    assert row["damped_alone_log_ratio_mean"] == pytest.approx(row["log_ratio_mean"], abs=0.01)
    assert (row["more_than_smoothing"], row["more_than_random"]) == ("no", "yes")


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (["not tested", "not tested"], "not tested"),
        (["equivalent", "open"], "open"),
        (["equivalent", "worse"], "no gain"),
        (["worse", "worse"], "soft masks hurt"),
    ],
)
def test_no_gain_is_said_only_where_all_were_tested(found, verdict):
    baseline = make_baseline()
    same = dict(baseline.forecasts)
    summary = summary_of(baseline, {SOFT: same, "soft_cosine_t5": same}).reset_index()
    samples = pd.DataFrame(columns=["variant", "n_forecasts"])
    table = verdicts("s", summary.assign(verdict_family=found), samples, VALID)
    assert table.set_index("subject").loc["soft masks", "verdict"] == verdict


def test_sample_sizes():
    assert sample_sizes(1320) == [100, 200, 500, 1000, 1320]
    assert sample_sizes(60) == [60]


def test_the_prior_soft_study(repo_root):
    reference = repo_root / "config" / "reference"
    row = prior_soft(
        pd.read_csv(reference / "prior_cbii_soft_vs_hard.csv"),
        pd.read_csv(reference / "published_cbii_seasonal_naive.csv"),
        load_suite("cbii", repo_root / "config").clusters,
    ).iloc[0]
    assert (row["n"], row["gate_tasks"]) == (28, 25)
    assert row["baseline_rel_mase"] < 1
    assert "could not run" in row["reason"]
    assert row["more_than_smoothing"] == row["more_than_random"] == "undecided"


# --- files ----------------------------------------------------------------------------------------


def test_files_are_read_in_the_order_of_the_baseline(tmp_path):
    baseline = without_scale(make_baseline(), "task03")
    variant = towards_truth(baseline, 0.2, noise=0.1)
    read = read_baseline(*write_method(tmp_path, "full", baseline, baseline.forecasts))
    other = read_variant(read, *write_method(tmp_path, SOFT, baseline, variant, order=-1))
    assert read.fingerprint == "abc"
    for task in TASKS:
        assert (read.keys[task] == baseline.keys[task]).all(axis=None)
        np.testing.assert_array_equal(read.truth[task], baseline.truth[task])
        np.testing.assert_array_equal(read.scale[task], baseline.scale[task])
        for mine, made in ((read.forecasts, baseline.forecasts), (other, variant)):
            for name in ("point", "low", "high", "scaled_error"):
                np.testing.assert_array_equal(getattr(mine[task], name), getattr(made[task], name))
            np.testing.assert_allclose(mine[task].loss, made[task].loss)
    sizes = read_batch_sizes(write_similarities(tmp_path / "c.parquet", baseline, ("task01",)))
    pairs, _ = soft_pairs(read, "task", sizes, {task: (task, None) for task in TASKS})
    assert pairs.labels["task_name"][~pairs.counted].tolist() == ["task01"]


def test_other_forecasts_and_older_files_are_named(tmp_path):
    baseline = make_baseline()
    paths = write_method(tmp_path, "full", baseline, baseline.forecasts)
    read = read_baseline(*paths)
    changed = make_baseline()
    changed.keys["task01"].loc[0, "item_id"] = "other"
    with pytest.raises(InputError, match="not the forecasts of the baseline"):
        read_variant(read, *write_method(tmp_path, SOFT, changed, changed.forecasts))
    table = pd.read_parquet(paths[0]).drop(columns="truth")
    table.to_parquet(tmp_path / "old.parquet")
    with pytest.raises(InputError, match=r"no columns \['truth'\]"):
        read_baseline(tmp_path / "old.parquet", paths[1])
    sizes = batch_sizes(read)
    with pytest.raises(InputError, match="1 forecasts without a batch"):
        soft_pairs(read, "task", sizes.iloc[1:], {})


# --- words ----------------------------------------------------------------------------------------


def tables_of(baseline, methods, validity=VALID):
    pairs, batches = pairs_by(baseline)
    run = {"weights_fingerprint": "abc", "study": "s"}
    made = {n: evaluate(n, baseline, m, pairs, run=run) for n, m in methods.items()}
    return sweep_tables(
        "s", baseline, pairs, batches, made, CONTROLS, validity, lambda task, item: task,
        USUAL, resamples=20, seed=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("share", "control_share", "verdict", "words"),
    [
        (0.2, 0.0, "soft masks help", "more than random partners give"),
        (0.2, 0.2, "a gain, but not shown to be learning across series", "no more than random"),
        (0.0, 0.0, "no gain", "equivalent within 1.0%"),
        (-0.2, 0.0, "soft masks hurt", "It is worse"),
    ],
)
def test_verdicts_in_plain_words(share, control_share, verdict, words):
    baseline = make_baseline()
    control = towards_truth(baseline, control_share, noise=0.005, seed=9)
    methods = beside_controls(towards_truth(baseline, share, noise=0.005), control, control)
    tables = tables_of(baseline, methods)
    found = tables["verdicts"].set_index("subject")
    subjects = ["validity", "soft masks", "correlation", *CONTROLS, "chosen early", "sample size"]
    assert list(found.index) == subjects
    assert found.index[found["is_control"]].tolist() == CONTROLS
    assert found.loc["validity", "sentence"].startswith("Valid: no gate failed (checked: ")
    assert found.loc["soft masks", "verdict"] == verdict
    assert words in found.loc["correlation", "sentence"]
    assert found.loc["correlation", "gain"] == pytest.approx(share, abs=0.01)
    assert found.loc["permuted", "gain"] == pytest.approx(control_share, abs=0.01)
    assert (found["gain_low"] <= found["gain"]).loc[found["gain_low"].notna()].all()
    assert (found["gain"] <= found["gain_high"]).loc[found["gain_low"].notna()].all()
    assert "in later windows" in found.loc["sample size", "sentence"]
    assert set(tables) == {
        *("summary", "by_feature", "by_horizon", "by_sample_size", "smoothing", "verdicts"),
    }
    assert tables["smoothing"]["more_than_smoothing"].notna().all()


def test_an_invalid_study_says_so_first():
    baseline = make_baseline()
    methods = {SOFT: towards_truth(baseline, 0.2, noise=0.05)}
    tables = tables_of(baseline, methods, Validity(False, "gate baseline failed (why)", 1.9))
    table = tables["verdicts"]
    assert table["sentence"].iloc[0].startswith("NOT VALID: gate baseline failed (why).")
    assert not table["valid"].any()
    page = as_markdown(table, "Soft group masks: s")
    assert page.splitlines()[:3] == [
        "# Soft group masks: s",
        "",
        f"- {table['sentence'].iloc[0]}",
    ]
    assert page.count("\n- ") == len(table)


def test_a_sweep_without_a_test_has_words_too():
    baseline = make_baseline()
    same = dict(baseline.forecasts)
    summary = summary_of(baseline, {SOFT: same}, sizes=dict.fromkeys(TASKS, 1)).reset_index()
    samples = pd.DataFrame(columns=["variant", "n_forecasts"])
    table = verdicts("s", summary, samples, VALID)
    assert "nothing could be tested" in table.set_index("subject").loc["correlation", "sentence"]
