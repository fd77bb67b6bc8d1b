"""The workflow end to end on real series: results, validity, reruns and refusals."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fev
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import STUDY, TASKS, ask
from seen import seen

pytestmark = pytest.mark.workflow

TTEST_COLUMNS = [
    "metric_col",
    "radius",
    "chunk_size",
    "backend",
    "n",
    "mean_delta",
    "sd_delta",
    "t",
    "p",
    "test",
    "ci_low",
    "ci_high",
    "cohens_dz",
    "wilcoxon_p",
    "log_ratio_mean",
    "log_ratio_p",
    "tost_margin",
    "tost_p",
    "verdict",
    "mean_speedup",
    "median_speedup",
    "mean_delta_peak_alloc_mb",
    "mean_delta_peak_reserved_mb",
    "baseline_rel_mase",
    "valid",
]
UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9"}


def test_random_weights_are_never_valid(small):
    row = pd.read_csv(small / "results" / f"{STUDY}_ttest_r8.csv").iloc[0]
    assert not row["valid"]
    assert "random weights" in row["reason"]
    assert row["baseline_rel_mase"] > 1
    gates = pd.read_csv(small / "results" / f"{STUDY}_validity.csv").set_index(["gate", "task"])
    assert gates.loc[("weights", "all"), "verdict"] == "fail"
    assert gates.loc[("baseline", "all"), "verdict"] == "fail"
    assert gates.loc[("all", "all"), "verdict"] == "fail"


def test_a_ttest_row_has_all_columns(small):
    table = pd.read_csv(small / "results" / f"{STUDY}_ttest_r8.csv")
    assert list(table.columns[: len(TTEST_COLUMNS)]) == TTEST_COLUMNS
    row = table.iloc[0]
    assert row["n"] == len(TASKS.split(","))
    assert row["radius"] == 8
    assert set(row["backend"].split("+")) == {"banded", "reference"}
    assert (row["study"], row["model"], row["variant"]) == (STUDY, "nano-random", "sparse_r8")
    assert row["device"] == "cpu"
    assert row["dtype"] == "float32"


def test_a_second_call_has_nothing_to_do(run, small):
    done = ask(run, small, f"results/{STUDY}_ttest_r8.csv")
    assert done.returncode == 0, done.stdout
    assert "Nothing to be done" in done.stdout


def test_any_radius_works_by_name_and_the_gpu_option_too(run, small):
    target = f"results/{STUDY}_ttest_r12.csv"
    done = run(
        small, "--config", f"only={TASKS}", "--resources", "gpu=1", "--cores", "1", target
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert pd.read_csv(small / target).loc[0, "radius"] == 12

    timed = pd.read_csv(small / "results" / "efficiency" / f"{STUDY}_sparse_r12.csv")
    times = timed.pivot_table(
        index="task_name", columns="variant", values="inference_time_s_median", sort=False
    )
    compared = pd.read_csv(small / "results" / f"{STUDY}_perf_compare_r12.csv")
    assert compared["inference_time_s_median_full"].tolist() == times["full"].tolist()
    assert compared["inference_time_s_median_sparse"].tolist() == times["sparse_r12"].tolist()


def test_the_files_of_a_study(run, small):
    results = small / "results"
    perfs = [f"{STUDY}_perf_{name}.csv" for name in ("seasonal_naive", "full", "sparse_r8")]
    tables = [f"{STUDY}_{name}.csv" for name in ("radius_summary", "mass_summary", "validity")]
    done = ask(run, small, *(f"results/{name}" for name in (*perfs, *tables)))
    assert done.returncode == 0, done.stdout
    board = fev.leaderboard(
        [str(results / name) for name in perfs], baseline_model="seasonal_naive"
    )
    assert set(board.index) == {"seasonal_naive", "nano-random/full", "nano-random/sparse_r8"}
    full = pd.read_csv(results / perfs[1])
    assert (full["inference_time_s_median"] > 0).all()
    assert (full["peak_rss_mb"] > 0).all()
    radii = pd.read_csv(results / tables[0])
    assert radii["radius"].tolist()[:2] == [8, 32]
    assert radii["effect"].tolist() == ["attention cut", "attention cut", "future hidden"]
    mass = pd.read_csv(results / tables[1])
    assert mass["radius"].tolist() == [2, 4, 8, 16, 32, 64, 128]
    # Random weights attend uniformly.
    assert mass["lift_mean_all"].tolist() == pytest.approx([1] * 7, abs=0.01)
    gates = pd.read_csv(results / tables[2]).set_index("gate")
    assert gates.loc["attention", "verdict"] == "fail"
    assert "gate attention failed" in gates.loc["all", "note"]


def test_another_run_gives_identical_bytes(run, small, tmp_path):
    names = [
        "forecasts/{}_sparse_r8.parquet",
        "scores/{}_sparse_r8.parquet",
        "accuracy/{}_sparse_r8.csv",
        "mass/{}_heads.parquet",
        "mass/{}_layers.parquet",
        "{}_mass_per_window.csv",
        "{}_mass_summary.csv",
    ]
    done = ask(run, tmp_path, *(f"results/{name.format(STUDY)}" for name in names))
    assert done.returncode == 0, done.stdout
    for name in names:
        path = Path("results", name.format(STUDY))
        assert (tmp_path / path).read_bytes() == (small / path).read_bytes(), path


def test_forecasts_do_not_depend_on_how_a_job_is_split(run, small, tmp_path):
    target = f"results/forecasts/{STUDY}_full.parquet"
    done = ask(run, tmp_path, target, options=["--set-scatter", "forecast=3"])
    assert done.returncode == 0, done.stdout
    whole, split = pq.read_table(small / target), pq.read_table(tmp_path / target)
    keys = ["task_name", "window_index", "item_id", "target"]
    assert split.select(keys).equals(whole.select(keys))
    for column in ("predictions", "0.1", "0.9"):
        a = np.concatenate(split[column].to_pylist())
        b = np.concatenate(whole[column].to_pylist())
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(b).max())
    assert pq.read_metadata(tmp_path / target).metadata[b"pieces"] == b"3"

    # The scores are split, too, and found where the forecasts are to the last digit but one.
    tables = [f"results/accuracy/{STUDY}_{method}.csv" for method in ("full", "seasonal_naive")]
    scatter = ["--set-scatter", "forecast=3", "score=3"]
    split_more = ask(run, tmp_path, *tables, options=scatter)
    assert split_more.returncode == 0, split_more.stdout
    assert len(re.findall(r"rule score_piece:", split_more.stdout)) == 6
    for table in tables:
        whole, split = pd.read_csv(small / table), pd.read_csv(tmp_path / table)
        assert list(split.columns) == list(whole.columns)
        np.testing.assert_allclose(split[["MASE", "WQL"]], whole[["MASE", "WQL"]], rtol=1e-5)
        same = ["task_name", "horizon", "seasonality", "num_forecasts", "ctx_used", "variant"]
        pd.testing.assert_frame_equal(split[same], whole[same])
    assert not list((tmp_path / "results" / "scores" / "pieces").glob("*.parquet"))


def test_joint_forecasts_share_one_cutoff(run, small):
    target = f"results/{STUDY}_perf_joint.csv"
    done = ask(run, small, target)
    assert done.returncode == 0, done.stdout
    perf = pd.read_csv(small / target)
    assert set(perf["variant"]) == {"joint"}
    full = pd.read_csv(small / "results" / f"{STUDY}_perf_full.csv")
    assert (perf["MASE"] != full["MASE"]).any()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("results/nosuch_ttest_r8.csv", "unknown suite 'nosuch'"),
        ("results/demo@nosuch_ttest_r8.csv", "unknown model 'nosuch'"),
        ("results/demo_ttest_rx.csv", "unknown attention variant 'sparse_rx'"),
        ("results/demo_ttest_r-1.csv", "unknown attention variant 'sparse_r-1'"),
        ("results/forecasts/demo_sparse_rx.parquet", "unknown attention variant 'sparse_rx'"),
        ("results/data/nosuch.parquet", "unknown data set 'nosuch'"),
    ],
)
def test_unknown_names_get_one_line_and_write_nothing(run, tmp_path, target, message):
    done = run(tmp_path, "--cores", "1", target)
    lines = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stdout
    assert not list(tmp_path.glob("results/**/*.*"))


def test_an_unknown_task_is_named_with_its_neighbours(run, tmp_path):
    done = ask(run, tmp_path, "results/demo_ttest_r8.csv", only="tailor")
    assert done.returncode == 1
    assert "error: unknown task 'tailor'" in done.stdout
    assert "taylor" in done.stdout


def test_a_wrong_setting_is_named(run, tmp_path):
    done = run(
        tmp_path, "--cores", "1", "--config", "radii=[-3]", "--", "results/demo_ttest_r8.csv"
    )
    assert done.returncode == 1
    assert "error: radii[0]: -3 should be at least 0" in done.stdout


def test_a_missing_mirror_file_is_named(run, tmp_path):
    empty = tmp_path / "mirror"
    empty.mkdir()
    done = run(
        tmp_path, "--cores", "1", "--config", f"mirror={empty}", "only=monash_hospital", "--",
        "results/cbii@nano-random_perf_seasonal_naive.csv", environment=UNREACHABLE,
    )  # fmt: skip
    assert done.returncode == 1
    expected = empty / "autogluon" / "chronos_datasets" / "monash_hospital.parquet"
    errors = [line for line in done.stdout.splitlines() if " ERROR " in line]
    assert len(set(errors)) == 1
    assert str(expected) in errors[0]
    assert "Traceback" not in done.stdout
    assert not list(tmp_path.glob("results/data/*"))


def test_cbii_seasonal_naive_equals_the_published_figures(run, mirror, tmp_path):
    six = (
        "ETTh,exchange_rate,monash_hospital,monash_m3_quarterly,monash_m3_yearly,"
        "monash_tourism_quarterly"
    )
    target = "results/cbii@nano-random_validity.csv"
    done = run(
        tmp_path, "--cores", "2",
        "--config", f"mirror={mirror.resolve()}", f"only={six}", "--", target,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    gates = pd.read_csv(tmp_path / target)
    data = gates[gates["gate"] == "data"].set_index("task")
    assert sorted(data.index) == sorted(six.split(","))
    assert (data["verdict"] == "pass").all()
    assert (data["value"].abs() < 0.01).all()
    naive = pd.read_csv(tmp_path / "results/accuracy/cbii@nano-random_seasonal_naive.csv")
    assert naive.set_index("task_name").loc["ETTh", "MASE"] == pytest.approx(0.9316, abs=5e-5)
    assert gates.set_index(["gate", "task"]).loc[("weights", "all"), "verdict"] == "fail"


def test_the_prior_study_is_invalid(run, tmp_path):
    target = "results/prior_validity.csv"
    done = run(tmp_path, "--cores", "1", target)
    assert done.returncode == 0, done.stdout
    rows = pd.read_csv(tmp_path / target).set_index("radius")
    assert not rows["valid"].any()
    assert rows.loc[8, "t"] == pytest.approx(-1.66693, abs=5e-6)
    assert rows.loc[8, "p"] == pytest.approx(0.107531, abs=5e-7)
    assert rows.loc[8, "mean_speedup"] == pytest.approx(0.97338, abs=5e-6)
    assert rows.loc[32, "t"] == pytest.approx(1.08253, abs=5e-6)
    assert rows.loc[32, "p"] == pytest.approx(0.288954, abs=5e-7)
    assert rows["reason"].str.contains("gate baseline failed").all()
    assert rows["reason"].str.contains("gate attention failed").all()
    assert (rows["baseline_rel_mase"].round(3) == 1.887).all()


def test_lint_is_clean(run, tmp_path):
    done = run(tmp_path, "--lint")
    assert done.returncode == 0, done.stdout


# --- a changed source ---------------------------------------------------------------------------

OWN = """
  own: {source: local, path: own.csv, freq: D, recipe: {time: {column: day}, values: [y]}}
  other: {source: local, path: other.csv, freq: D, recipe: {time: {column: day}, values: [y]}}
"""
GAPS = "own.csv, freq: D, recipe: {gaps: missing, "


@pytest.fixture(scope="module")
def sources(repo_root, tmp_path_factory):
    """A copy of the workflow whose registry has two data sets of the user's, both fetched."""
    folder = tmp_path_factory.mktemp("sources")
    for part in ("workflow", "scripts", "config", "envs"):
        ignored = shutil.ignore_patterns("*.pyc", "__pycache__")
        shutil.copytree(repo_root / part, folder / part, ignore=ignored)
    with open(folder / "config/datasets.yaml", "a", encoding="utf-8") as registry:
        registry.write(OWN)
    rows = "".join(f"2020-01-0{day},{day}\n" for day in range(1, 6))
    for name in ("own.csv", "other.csv"):
        (folder / name).write_text(f"day,y\n{rows}")
    return folder


def plan(folder, *options):
    """Ask for both data sets; return the names of those that are planned to be fetched."""
    targets = [f"results/data/{name}.parquet" for name in ("own", "other")]
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *options, "--", *targets]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"wildcards: dataset=(\w+)", done.stdout + done.stderr))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.workflow
def test_a_changed_source_is_noticed_and_nothing_else(sources):
    assert plan(sources) == {"own", "other"}
    assert plan(sources, "-n") == set()
    own, registry = sources / "own.csv", sources / "config/datasets.yaml"
    unlike = {
        "file touched": lambda: os.utime(own),
        "file made older": lambda: os.utime(own, (0, 0)),
        "comment in the registry": lambda: edit(registry, "\ndatasets:", "\n# mine\ndatasets:"),
        "another entry edited": lambda: edit(registry, "  taylor:\n", "  taylor2:\n"),
        "description": lambda: edit(registry, "own: {", "own: {description: Mine, "),
    }
    for change in unlike.values():
        change()
    sources = sources.rename(sources.with_name("moved elsewhere"))
    assert plan(sources, "-n") == set()
    for name in (*unlike, "folder moved"):
        seen("a changed source is noticed", name, "nothing to be done")
    own, registry = sources / "own.csv", sources / "config/datasets.yaml"
    changes = {
        "file edited": lambda: edit(own, "04,4", "04,9"),
        "file edited, with its old time": lambda: (
            edit(own, "05,5", "05,7"),
            os.utime(own, (0, 0)),
        ),
        "entry: gaps": lambda: edit(registry, "own.csv, freq: D, recipe: {", GAPS),
        "entry: path": lambda: edit(registry, "path: own.csv", "path: ./own.csv"),
    }
    for name, change in changes.items():
        change()
        assert plan(sources) == {"own"}, name
        seen("a changed source is noticed", name, "fetched again, and no other data set")
    assert plan(sources, "-n") == set()
