"""What group attention is worth: chosen on early windows, tested on later ones, in both metrics."""

from __future__ import annotations

import re
from ast import literal_eval
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import COMMIT

from study.config.suites import TaskSpec
from study.evaluation import clusters
from study.evaluation.gates import GateRow, Validity, validity_table
from study.report.pages import group_verdict_page
from study.report.soft_figures import group_value as figure
from study.report.style import Caption
from study.soft_masks.group_value import ALL, group_value, sentences

COVARIATES, SEVERAL, NEITHER = "covariates", "several targets", "neither"
VARIANTS = ["soft_correlation_t5", "soft_correlation_t20", "cluster_correlation_k4"]
CONTROLS = ["permuted", "uniform"]
SCORED = [
    *("univariate", "full", "joint", *VARIANTS),
    *(f"soft_correlation-{control}_t{t}" for control in CONTROLS for t in (5, 20)),
]
WINDOWS, ITEMS = 4, 8


def task(name, *, windows=WINDOWS, target=("y",), **columns):
    return TaskSpec(name, "d", 3, 1, num_windows=windows, target=target, **columns)


def value_of(factor, tasks, variants=VARIANTS, controls=CONTROLS, seed=0, **how):
    scores = made(factor, tasks, seed)
    sources = {one.name: (one.name, None) for one in tasks}
    return group_value(scores, tasks, sources, variants, controls, Validity(True), **how)


TASKS = (
    *(task(f"several{i}", target=("y", "z")) for i in range(7)),
    *(task(f"covariates{i}", known_dynamic_columns=("x",)) for i in range(7)),
    task("both", target=("y", "z"), past_dynamic_columns=("x",)),
    task("neither", windows=1),
)


def made(factor, tasks, seed):
    """Scores of all variants: noise that they share, times `factor(variant, early, task)`."""
    rng = np.random.default_rng(seed)
    rows = [
        (one.name, window, f"i{item}", target)
        for one in tasks
        for window in range(one.num_windows)
        for target in one.target
        for item in range(ITEMS)
    ]
    keys = pd.DataFrame(rows, columns=["task_name", "window_index", "item_id", "target"])
    half = {one.name: one.num_windows // 2 for one in tasks}
    level = rng.uniform(0.5, 2, len(keys))
    found = {}
    for variant in SCORED:
        jitter = rng.uniform(0.999, 1.001, len(keys))
        factors = [
            factor(variant, window < half[name], name)
            for name, window in zip(keys["task_name"], keys["window_index"], strict=True)
        ]
        error = level * jitter * np.array(factors)
        found[variant] = keys.assign(MASE=error, SQL=0.8 * error, steps=3)
    return found


def factor(variant, early, name):
    """`full` gains 10 % on several targets, `joint` loses 5 %; a mask gains on early windows."""
    if variant == "univariate":
        return 1 / 0.9 if name.startswith("several") else 1.0
    if variant == "soft_correlation_t20":
        return 0.5 if early else 1.0
    return {"joint": 1.05, "soft_correlation_t5": 0.9}.get(variant, 1.0)


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    """What is drawn widens intervals; here few draws tell as much as many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "DRAWS", 20)
        yield


@pytest.fixture(scope="module")
def table():
    return value_of(factor, TASKS)


def row(table, step, kind=ALL, task=ALL, metric="MASE"):
    found = table.query("step == @step and kind == @kind and task == @task and metric == @metric")
    assert len(found) == 1
    return found.iloc[0]


def test_each_step_is_tested_by_kind_of_task(table):
    kinds = table[table["task"] == ALL].groupby("kind")["n"].max()
    assert dict(kinds) == {ALL: 16, SEVERAL: 7, COVARIATES: 8, NEITHER: 1}
    found = row(table, "full_vs_univariate", SEVERAL)
    assert found["change"] == pytest.approx(-0.1, abs=0.002)
    assert found["change_low"] < found["change"] < found["change_high"] < 0
    assert (found["verdict"], found["baseline"]) == ("better", "univariate")
    assert row(table, "full_vs_univariate", COVARIATES)["verdict"] == "equivalent"
    assert row(table, "joint_vs_full")["change"] == pytest.approx(0.05, abs=0.002)
    assert row(table, "joint_vs_full")["windows_tested"] == 15 * WINDOWS + 1
    assert row(table, "joint_vs_full", metric="SQL")["verdict"] == "worse"
    alone = row(table, "joint_vs_full", NEITHER)
    assert alone["verdict"] not in ("better", "worse", "equivalent")
    assert "fewer than" in alone["reason"]


def test_a_mask_is_chosen_on_early_windows_and_tested_on_later_ones(table):
    found = row(table, "soft_vs_full")
    assert found["variant"] == "soft_correlation_t20"
    assert (found["candidates"], found["windows_chosen"], found["windows_tested"]) == (2, 30, 31)
    # What it gained where it was chosen is not counted, and the better one was not to be seen.
    assert found["change"] == pytest.approx(0, abs=0.001)
    assert found["verdict"] == "equivalent"
    assert row(table, "soft_vs_joint")["change"] == pytest.approx(1 / 1.05 - 1, abs=0.002)
    for control in CONTROLS:
        baseline = row(table, f"soft_vs_{control}")["baseline"]
        assert baseline == f"soft_correlation-{control}_t20"
    # There is one cluster only: nothing is chosen, and every window counts.
    assert row(table, "cluster_vs_joint")["windows_chosen"] == 0
    assert row(table, "cluster_vs_joint")["windows_tested"] == 15 * WINDOWS + 1


def test_each_task_is_tested_over_its_series(table):
    found = row(table, "full_vs_univariate", SEVERAL, "several3")
    assert (found["n"], found["n_clusters"], found["verdict"]) == (2 * ITEMS, ITEMS, "better")
    assert found["change"] == pytest.approx(-0.1, abs=0.001)
    assert row(table, "joint_vs_full", COVARIATES, "both")["verdict"] == "worse"
    chosen = row(table, "soft_vs_full", NEITHER, "neither")
    assert (chosen["variant"], chosen["n"]) == ("", 0)
    assert "no earlier windows" in chosen["reason"]


def test_a_suite_that_pairs_series_is_told_in_series():
    table = value_of(factor, [task("several0", target=("y", "z"))], unit="series")
    whole, within = (
        row(table, "full_vs_univariate"),
        row(table, "full_vs_univariate", SEVERAL, "several0"),
    )
    assert (whole["n"], whole["n_clusters"], whole["verdict"]) == (2 * ITEMS, ITEMS, "better")
    assert whole["change"] == within["change"]
    assert "'all' (n = 16) +10.0 % in MASE" in sentences(table)[0]


def test_choosing_among_masks_that_do_nothing_gains_nothing():
    changes = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        tasks = [task(f"t{i}") for i in range(6)]
        noise = partial(lambda rng, *_: rng.lognormal(0, 0.2), rng)
        found = value_of(noise, tasks, VARIANTS[:2], [], seed)
        changes.append(row(found, "soft_vs_full")["change"])
    error = np.std(changes, ddof=1) / np.sqrt(len(changes))
    assert abs(np.mean(changes)) < 3 * error


def test_the_sentences_say_what_is_worth_what_and_what_cannot_be_told(table):
    first, second, third = sentences(table)
    assert "'several targets' (n = 7) +10.0 % in MASE (+10.0 to +10.0 %: better) and +10" in first
    assert "of kind 'all' (n = 16) -5.0 % in MASE (-5.0 to -5.0 %: worse)" in second
    assert second.endswith("'neither' (n = 1) what cannot be told from so few.")
    assert third.startswith("The soft mask chosen on earlier windows")


def test_figure_and_page_carry_the_validity(table):
    invalid = Validity(False, "gate baseline failed (why)")
    (axis,) = figure(table, Caption("s", "m", invalid)).get_axes()
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["MASE", "SQL"]
    gates = validity_table([GateRow("baseline", "all", 1.2, 1.0, "fail", "why")])
    about = {"name": "group_verdicts", "source": "s_group_value.csv", "validity": gates}
    text = group_verdict_page("s", "what group attention is worth", table, **about)
    assert "gate baseline failed" in text
    assert "several3" not in text


# --- the workflow -------------------------------------------------------------------------------


@pytest.mark.workflow
def test_group_value_of_fev_bench_is_planned_from_a_clean_clone(run, tmp_path):
    done = run(tmp_path, "-n", "-q", "rules", "--", "results/fev_bench_mini_group_value.csv")
    assert done.returncode == 0, done.stdout
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, flags=re.M))
    # Beside the 20 tasks stand those of the gate of the mechanism, drawn by one job.
    assert (counts["fetch_dataset"], counts["fetch_model"]) == ("20", "1")
    assert counts["fetch_suite_leading_factor"] == "1"
    # univariate, full, joint, and two sizes of clusters; three temperatures with their controls; of
    # the gate full, joint, and one temperature.
    assert (counts["forecast"], counts["forecast_soft"], counts["similarity"]) == ("7", "4", "2")
    assert (counts["validity"], counts["group_value"]) == ("1", "1")


TASK = "rossmann_1W"
FOLDER = "rossmann/1W"
CARD = f"---\nconfigs:\n- config_name: {TASK}\n  data_files: {FOLDER}/*.parquet\n---\n".encode()


def weekly_sales(definition):
    """Parquet of six made shops with the columns of the task, whose sales follow a promotion."""
    rng = np.random.default_rng(0)
    shops, weeks = range(6), list(pd.date_range("2013-01-06", periods=130, freq="W"))
    season = 100 + 30 * np.sin(np.arange(130) * 2 * np.pi / 52)
    table = {"id": [f"s{shop}" for shop in shops], "timestamp": [weeks] * 6}
    for name in literal_eval(definition["known_dynamic_columns"]):
        table[name] = [rng.integers(0, 3, 130).astype(float) for _ in shops]
    for name in (definition["target"], *literal_eval(definition["past_dynamic_columns"])):
        table[name] = [season + 20 * promo + rng.normal(0, 5, 130) for promo in table["Promo"]]
    for name in literal_eval(definition["static_columns"]):
        table[name] = [f"{name} {shop % 2}" for shop in shops]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(table), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.workflow
def test_a_task_of_fev_bench_from_download_to_group_value(run, server, repo_root, tmp_path):
    published = pd.read_csv(repo_root / "config/reference/published_fev_bench.csv")
    definition = published.set_index("task_name").loc[TASK]
    files = {"README.md": CARD, f"{FOLDER}/train.parquet": weekly_sales(definition)}
    server.add("dataset", "autogluon/fev_datasets", COMMIT, files)
    target = "results/fev_bench_mini@nano_group_value.csv"
    settings = [f"only={TASK}", "group_value={variants: [soft_correlation_t5]}"]
    environment = {"HF_ENDPOINT": server.base, "HF_HOME": str(tmp_path / "hf")}
    done = run(
        *(tmp_path, "--cores", "2", "--config", *settings, "--", target), environment=environment
    )
    assert done.returncode == 0, done.stdout
    table = pd.read_csv(tmp_path / target)
    assert set(table["kind"]) == {ALL, COVARIATES}
    assert set(table["metric"]) == {"MASE", "SQL"}
    steps = ["full_vs_univariate", "joint_vs_full", "soft_vs_full", "soft_vs_joint"]
    steps += [f"soft_vs_{control}" for control in CONTROLS]
    assert list(dict.fromkeys(table["step"])) == steps
    within = table[table["task"] == TASK]
    assert set(within["n"]) == {6}
    assert within["change"].notna().all()
    assert (within.query("step == 'joint_vs_full'")["change"] != 0).all()
    gates = pd.read_csv(tmp_path / "results/fev_bench_mini@nano_validity.csv")
    assert gates.loc[0, ["gate", "verdict"]].tolist() == ["reproduction", "not applicable"]
    data = gates[gates["gate"] == "data"].iloc[0]
    assert (
        data["verdict"] == "fail"
    )  # made data: neither figures nor fingerprint are those published
    assert "fingerprint is not that published" in data["note"]
    assert set(re.findall("SQL|MASE|WAPE|WQL", data["note"])) == {"MASE", "WAPE"}
