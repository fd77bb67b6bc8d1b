"""Figures of soft masks say what they must, repeat byte for byte, and choose by their rules."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from scipy.cluster.hierarchy import leaves_list, linkage
from soft_data import (
    TASKS,
    make_baseline,
    pairs_by,
    towards_truth,
    write_similarities,
)

from chronos2_attention.errors import InputError
from study.evaluation.gates import Validity
from study.evaluation.statistics import USUAL
from study.report import soft_figures
from study.report.style import Caption, save
from study.soft_masks.examples import Window, clustered, largest_batch, median_gain
from study.soft_masks.summary import evaluate
from study.soft_masks.sweep import sweep_variants
from study.soft_masks.verdicts import sweep_tables

CONTROLS = ["permuted", "uniform"]
VALID = Caption("demo", "nano", Validity(True))
INVALID = Caption("demo", "nano", Validity(False, "gate baseline failed (why)"))
WINDOW = Window(
    "n = 1 window",
    np.arange(20.0),
    np.arange(5.0),
    {
        name: np.add.outer([0.0, -1.0, 1.0], np.arange(5.0))
        for name in ("full attention", "soft_cosine_t5")
    },
)


@pytest.fixture(scope="module")
def tables():
    gc.freeze()
    baseline = make_baseline()
    pairs, batches = pairs_by(baseline)
    run = {"weights_fingerprint": "abc", "study": "s"}
    names = sweep_variants(["correlation", "cosine"], [0.5, 5], CONTROLS)
    gains = {name: 0.2 if name == "soft_cosine_t5" else 0.0 for name in names}
    made = {
        name: evaluate(
            name, baseline, towards_truth(baseline, gain, noise=0.05, seed=i), pairs,
            cross_group_mass=0.1 * i, run=run,
        )
        for i, (name, gain) in enumerate(gains.items())
    }  # fmt: skip
    found = sweep_tables(
        "s", baseline, pairs, batches, made, CONTROLS, Validity(True, "", 0.9),
        lambda task, item: item, USUAL, resamples=20, seed=0,
    )  # fmt: skip
    gc.unfreeze()
    return found


DRAW = {
    "heatmap": lambda t, c: soft_figures.heatmap(t["summary"], c),
    "controls": lambda t, c: soft_figures.controls(t["summary"], c),
    "by_mass": lambda t, c: soft_figures.by_mass(t["summary"], c),
    "by_horizon": lambda t, c: soft_figures.by_horizon(t["by_horizon"], t["summary"], c),
    "by_feature": lambda t, c: soft_figures.by_feature(t["by_feature"], t["summary"], c),
    "by_sample_size": lambda t, c: soft_figures.by_sample_size(
        t["by_sample_size"], t["summary"], c
    ),
    "example": lambda t, c: soft_figures.one_window(WINDOW, c),
    "similarity": lambda t, c: soft_figures.similarities(
        {"cosine": np.eye(3)}, ["a", "b", "c"], "n = 3 series", c
    ),
}


def texts(figure):
    return " | ".join(text.get_text().replace("\n", " ") for text in figure.texts)


@pytest.mark.parametrize("name", DRAW)
def test_a_figure_names_its_study_and_marks_an_invalid_one(tables, name):
    valid, invalid = (texts(DRAW[name](tables, caption)) for caption in (VALID, INVALID))
    for shown in (valid, invalid):
        assert "suite demo, model nano, n = " in shown
    assert "INVALID" not in valid
    assert "INVALID: gate baseline failed" in invalid


@pytest.mark.parametrize("name", ["heatmap", "by_feature"])
def test_files_repeat_byte_for_byte(tables, name, tmp_path):
    paths = [tmp_path / f"{turn}.svg" for turn in range(2)]
    for path in paths:
        save(DRAW[name](tables, VALID), [path])
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_map_marks_and_frames_what_the_table_says(tables):
    upper, lower = DRAW["heatmap"](tables, VALID).axes
    summary = tables["summary"].set_index("variant")
    assert [label.get_text() for label in upper.get_yticklabels()] == ["correlation", "cosine"]
    assert [label.get_text() for label in lower.get_xticklabels()] == ["joint", "0.5", "5"]
    cells = {text.get_position(): text.get_text() for text in upper.texts}
    gain = -100 * np.expm1(summary.loc["soft_cosine_t5", "log_ratio_mean"])
    assert cells[(2, 1)] == f"{gain:+.1f}*"
    assert len(upper.patches) == 1
    masses = {text.get_position(): text.get_text() for text in lower.texts}
    assert masses[(2, 1)] == f"{100 * summary.loc['soft_cosine_t5', 'cross_group_mass']:.0f}"


def test_features_are_those_of_the_best_soft_mask(tables):
    axis = DRAW["by_feature"](tables, VALID).axes[0]
    labels = [text.get_text() for text in axis.get_yticklabels()]
    rows = tables["by_feature"]
    rows = rows[rows["variant"] == "soft_cosine_t5"].sort_values("gain")
    assert labels == [
        f"{f} ({n})" for f, n in zip(rows["feature"], rows["n_forecasts"], strict=True)
    ]


def test_the_example_has_the_median_gain():
    baseline = make_baseline()
    variant = towards_truth(baseline, 0.1, noise=0.3)
    alone = next(iter(TASKS))
    pairs, _ = pairs_by(baseline, sizes={alone: 1})
    task, row = median_gain(baseline, variant, pairs)
    assert task != alone
    gains = np.concatenate(
        [1 - variant[t].error / baseline.forecasts[t].error for t in TASKS if t != alone]
    )
    chosen = 1 - variant[task].error[row] / baseline.forecasts[task].error[row]
    assert chosen == np.quantile(gains, 0.5, method="lower")
    nobody, _ = pairs_by(baseline, sizes=dict.fromkeys(TASKS, 1))
    with pytest.raises(InputError, match="no series shares a batch"):
        median_gain(baseline, variant, nobody)


def test_similarities_are_put_in_the_order_of_a_tree(tmp_path):
    baseline = make_baseline()
    path = write_similarities(tmp_path / "c.parquet", baseline, alone=("task00",))
    assert largest_batch(path)[:2] == ("task01", 0)
    matrices, names, task, window = clustered({"correlation": path})
    assert (task, window) == ("task01", 0)
    matrix = matrices["correlation"]
    np.testing.assert_array_equal(matrix, matrix.T)
    assert sorted(names) == [f"i{i}" for i in range(5)]
    again = linkage((1 - matrix)[np.triu_indices(5, 1)], "average", optimal_ordering=True)
    assert leaves_list(again).tolist() in (list(range(5)), list(range(5))[::-1])
