"""Shuffles of a soft mask's similarities, and the p value: the mask's rank among them."""

import numpy as np
import pandas as pd
import pytest
from test_window_batches import MADE, forecasts_of, made, study_of

from chronos2_attention import Chronos2VariantPipeline
from study.config.suites import TaskSpec
from study.data.fetch import write_dataset
from study.data.series_table import conform
from study.evaluation.clusters import forecast_errors, pairs_of
from study.evaluation.scores import score_files
from study.forecasts.batches import ForecastSettings
from study.forecasts.files import KEY_COLUMNS
from study.forecasts.windows import fev_task
from study.soft_masks.shuffles import against_shuffles, may_gain, shuffle_columns


@pytest.mark.parametrize("unit", ["task", "series"])
def test_shuffles_are_scored_as_the_workflow_scores(repo_root, tmp_path, unit):
    pipeline = Chronos2VariantPipeline.from_pretrained(repo_root / "resources" / "models" / "nano")
    path, _ = write_dataset(conform(made(6), "d"), {}, tmp_path / "d.parquet")
    tasks = [
        TaskSpec("a", "d", target=("sales", "visits"), **MADE),
        TaskSpec("b", "d", 12, 7, num_windows=2, target="visits"),
    ]
    study, paths = study_of(tasks, repo_root, pairs=unit), {"d": path}
    clusters = study.suite.clusters
    mask, other = (
        pipeline.with_variant(f"soft_correlation{c}_t5") for c in ("", "-permuted")
    )  # fmt: skip

    def scores(run, seed):
        settings = ForecastSettings(batch_size=100, seed=seed)
        folder = tmp_path / f"{run.variant.name}-{seed}"
        folder.mkdir()
        forecasts = forecasts_of(run, study, paths, folder, settings)
        score_files([fev_task(t, study.suite, path) for t in tasks], (forecasts, folder / "scores"))
        return folder / "scores"

    files = [scores(mask, 3), *(scores(other, seed) for seed in range(3, 6))]
    found = against_shuffles(
        mask, study, paths, ForecastSettings(batch_size=100, seed=3), files[0], clusters,
        number=3, windows_per_task=1,
    )  # fmt: skip
    assert found["variant"].tolist() == ["soft_correlation_t5"] * 3
    assert found["seed"].tolist() == [3, 4, 5]
    tables = [forecast_errors(file) for file in files]
    first = tables[0]["window_index"] == 0
    means = []
    for table in tables:
        pairs = pairs_of(table, table["steps"] * first, unit, clusters)
        means.append(pairs.mean(table["MASE"].to_numpy()))
    expected = [np.log(means[0] / one) for one in means[1:]]
    by = pairs.labels["cluster"].to_numpy()
    expected = [pd.Series(one).groupby(by).mean().mean() for one in expected]
    np.testing.assert_allclose(found["log_ratio"], expected, atol=1e-6)
    assert found["log_ratio"].nunique() == 3  # each shuffle is another


def test_only_masks_that_may_gain_are_shuffled():
    keys = pd.DataFrame([(f"t{t}", 0, "i", "target") for t in range(8)], columns=[*KEY_COLUMNS])
    clusters = {f"t{t}": (f"s{t}", None) for t in range(8)}
    full = keys.assign(steps=1, MASE=1.0)
    changes = {True: [-0.1] * 7 + [0.1], False: [0.1] * 8}
    for gains, change in changes.items():
        mask = keys.assign(MASE=np.exp(change))
        assert may_gain(full, mask, "task", clusters) is gains
    assert not may_gain(full, full, "task", clusters)
    mask = keys.assign(MASE=np.exp([-0.1] * 5 + [0.1] * 3))  # p is 0.73
    assert not may_gain(full, mask, "task", clusters)


def columns(*log_ratios, alpha=0.05):
    return shuffle_columns(pd.DataFrame({"log_ratio": log_ratios}), alpha)


def test_the_p_value_is_the_rank_among_shuffles():
    assert columns(*[-0.1] * 20)["vs_shuffles_p"] == pytest.approx(1 / 21)
    assert columns(*[-0.1] * 20)["vs_shuffles_verdict"] == "better"
    assert columns(*[-0.1] * 18, 0.0, 0.1)["vs_shuffles_p"] == pytest.approx(3 / 21)
    assert columns(*[-0.1] * 18, 0.0, 0.1)["vs_shuffles_verdict"] == "open"
    assert columns() == {"shuffles": 0, "vs_shuffles_verdict": "not tested"}
    assert columns(*[0.0] * 20)["vs_shuffles_p"] == 1
    assert columns(*[np.nan] * 20)["vs_shuffles_verdict"] == "worse"  # of nothing
    assert columns(*[-0.1] * 10, *[0.1] * 10)["vs_shuffles_verdict"] == "worse"


def test_the_p_value_is_stable_over_seeds_within_its_own_error():
    """One shuffle says anything, twenty say the same within their error."""
    rng = np.random.default_rng(0)
    mask = 0.5  # standard deviations better than the mean shuffle: p is 0.31
    found = [columns(*(-mask - rng.normal(size=20)))["vs_shuffles_p"] for _ in range(400)]
    error = np.sqrt(0.31 * 0.69 / 20)
    assert np.std(found) == pytest.approx(20 / 21 * error, rel=0.15)
    assert np.mean(found) == pytest.approx((1 + 20 * 0.3085) / 21, abs=0.02)
    # Where the mask is one of the shuffles, a p below 0.05 is no more frequent than that.
    ranks = [columns(*(rng.normal() - rng.normal(size=20)))["vs_shuffles_p"] for _ in range(2000)]
    assert np.mean(np.array(ranks) < 0.05) <= 0.06
