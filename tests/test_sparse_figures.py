"""Figures say what they must and repeat byte for byte; a task's interval is a sound one."""

import numpy as np
import pandas as pd
import pytest

from study.evaluation.clusters import task_log_ratios
from study.evaluation.gates import Validity
from study.report import sparse_figures as figures
from study.report.style import Caption, save

WHY = "gate baseline failed (MASE is 1.9 times Seasonal Naive's)"
VALID = Caption("demo", "nano", Validity(True))
INVALID = Caption("demo", "nano", Validity(False, WHY))
TASKS = ["alpha", "beta", "gamma"]


def mass(tokens=(8, 40, 200)):
    rows = [
        {
            "task_name": task,
            "window_index": 0,
            "radius": radius,
            "S_tokens": size,
            "kept_mass_frac_ctxQ": min(1.0, 0.1 * radius),
            "kept_edges_frac_ctxQ": min(1.0, 0.05 * radius),
            "layer": layer,
            "head": head,
        }
        for task, size in zip(TASKS, tokens, strict=True)
        for radius in (2, 4, 8)
        for layer in range(2)
        for head in range(3)
    ]
    return pd.DataFrame(rows)


def ratios(shift):
    values = np.array([-0.01, 0.0, 0.02]) + shift
    return pd.DataFrame(
        {
            "task_name": TASKS,
            "n": 9,
            "log_ratio": values,
            "ci_low": values - 0.01,
            "ci_high": [values[0] + 0.01, values[1] + 0.01, np.nan],
        }
    )


def summary():
    return pd.DataFrame(
        {
            "radius": [8, 32],
            "log_ratio_mean": [0.003, 0.001],
            "log_ratio_ci_low": [-0.004, -0.002],
            "log_ratio_ci_high": [0.01, 0.004],
            "tost_margin": 0.01,
            "n_clusters": [22, 13],
            "effect_80": [0.023, 0.027],
        }
    )


def compared():
    return pd.DataFrame(
        {"task_name": TASKS * 2, "radius": [8] * 3 + [32] * 3, "speedup": np.linspace(0.9, 1.4, 6)}
    )


def perf():
    return pd.DataFrame(
        {
            "task_name": TASKS * 2,
            "variant": ["full"] * 3 + ["sparse_r8"] * 3,
            "peak_alloc_mb_median": np.nan,
            "peak_rss_mb": np.linspace(500, 600, 6),
        }
    )


def accuracy(*values):
    return pd.DataFrame({"task_name": TASKS, "MASE": values})


DRAW = {
    "mass_by_radius": lambda c: figures.mass_by_radius(mass(), c),
    "mass_by_layer": lambda c: figures.mass_by_layer_and_head(mass(), c, radius=4),
    "delta_mase": lambda c: figures.changes_by_task({8: ratios(0), 32: ratios(0.01)}, summary(), c),
    "power": lambda c: figures.power(summary(), {"alpha": 0.05, "tost_margin": 0.01}, c),
    "speedup": lambda c: figures.speedup(compared(), mass(), c),
    "memory": lambda c: figures.memory(perf(), c),
    "skill": lambda c: figures.skill(accuracy(0.8, 0.9, 1.2), accuracy(1, 1, 1), 1.0, c),
}


def texts(figure):
    return " | ".join(text.get_text().replace("\n", " ") for text in figure.texts)


@pytest.mark.parametrize("name", DRAW)
def test_a_figure_names_its_study_and_marks_an_invalid_one(name):
    valid, invalid = texts(DRAW[name](VALID)), texts(DRAW[name](INVALID))
    for shown in (valid, invalid):
        assert "suite demo, model nano, n = " in shown
    assert "INVALID" not in valid
    assert "INVALID: gate baseline failed" in invalid


@pytest.mark.parametrize("name", DRAW)
def test_files_repeat_byte_for_byte(name, tmp_path):
    contents = []
    for folder in ("first", "second"):
        paths = [tmp_path / folder / f"figure.{suffix}" for suffix in ("svg", "png")]
        paths[0].parent.mkdir()
        save(DRAW[name](VALID), paths)
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    assert contents[0][0].startswith(b"<?xml")


def test_learned_and_uniform_curves_are_those_of_the_table():
    figure = DRAW["mass_by_radius"](VALID)
    short = figure.axes[0]
    curves = {line.get_label(): line.get_ydata() for line in short.lines}
    np.testing.assert_allclose(curves["learned"], [0.2, 0.4, 0.8])
    np.testing.assert_allclose(curves["uniform"], [0.1, 0.2, 0.4])
    assert "n = 2" in short.get_title(loc="left")


def errors(rng, n, ratio=1.0):
    base = rng.gamma(2, 1, n)
    keys = {"task_name": "t", "window_index": 0, "item_id": np.arange(n).astype(str), "target": "y"}
    variant = base * ratio * rng.lognormal(0, 0.1, n)
    return (pd.DataFrame({**keys, "MASE": values}) for values in (base, variant))


def test_intervals_agree_with_a_bootstrap():
    rng = np.random.default_rng(0)
    base, variant = errors(rng, 400, 1.05)
    row = task_log_ratios(base, variant).iloc[0]
    picks = rng.integers(0, 400, (4000, 400))
    b, v = base["MASE"].to_numpy()[picks].mean(1), variant["MASE"].to_numpy()[picks].mean(1)
    low, high = np.quantile(np.log(v / b), [0.025, 0.975])
    assert row["n"] == 400
    assert row["ci_low"] == pytest.approx(low, abs=1.5e-3)
    assert row["ci_high"] == pytest.approx(high, abs=1.5e-3)


def test_one_forecast_has_no_interval_and_missing_ones_are_left_out():
    base, variant = errors(np.random.default_rng(1), 3)
    base.loc[0, "MASE"] = np.nan
    variant.loc[1, "MASE"] = np.nan
    row = task_log_ratios(base, variant).iloc[0]
    assert row["n"] == 1
    assert row["log_ratio"] == pytest.approx(np.log(variant["MASE"][2] / base["MASE"][2]))
    assert np.isnan(row["ci_low"])


@pytest.mark.parametrize("tasks", [3, 29, 60])
def test_figures_of_many_tasks_stay_as_tall_as_a_screen(tasks):
    names = [f"task{index}" for index in range(tasks)]
    full = pd.DataFrame({"task_name": names, "MASE": np.linspace(0.5, 1.5, tasks)})
    many = pd.concat([perf().assign(task_name=perf()["task_name"] + str(i)) for i in range(tasks)])
    part = ratios(0).iloc[[0] * tasks].assign(task_name=names)
    drawn = [
        figures.skill(full, full.assign(MASE=1.0), 1.0, VALID),
        figures.memory(many[many["task_name"].str.startswith("alpha")], VALID),
        figures.changes_by_task({8: part, 32: part}, summary(), INVALID),
    ]
    # The report shows 768 pixels less its margins of 24, at 96 to the inch.
    assert max(figure.get_figheight() for figure in drawn) <= (768 - 24) / 96
