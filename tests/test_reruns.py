"""A study made in a folder with a difficult name: moved, and with each input changed in turn."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.workflow

PARTS = ("Makefile", "config", "envs", "resources", "scripts", "workflow")
TASKS = "prices,us_macro"
TARGETS = ["results/demo_radius_summary.csv", "results/demo_perf_full.csv"]
MAKE = ["make", "demo", "CORES=2", f"OF={' '.join(TARGETS)}", "--assume-old=.venv/.installed"]
TESTS = {"ttest", "radius_summary"}
GATES = {"validity", *TESTS}
MADE_OF_FORECASTS = {"forecast", "score", "perf", *GATES}


def in_folder(folder: Path, *command: str) -> subprocess.CompletedProcess:
    """Run a command in a folder, with the variables of nobody's cache; its output in `stdout`."""
    return subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(folder.parents[1] / "cache")},
        timeout=1800,
        check=False,
    )


def planned(folder: Path) -> set[str]:
    """Return the rules that a dry run plans."""
    done = in_folder(
        folder, ".venv/bin/python", "-m", "snakemake", "-n", "-q", "rules", "--", *TARGETS
    )
    assert done.returncode == 0, done.stdout
    rules = set(re.findall(r"^(\w+) +\d+$", done.stdout, flags=re.M))
    assert rules or "Nothing to be done" in done.stdout, done.stdout
    return rules - {"total"}


@pytest.fixture(scope="module")
def finished(repo_root, tmp_path_factory):
    """A clone under `My Projects/it's $new`, `make demo` done there for two tasks, then moved."""
    top = tmp_path_factory.mktemp("clones")
    clone = top / "My Projects" / "it's $new"
    for part in PARTS:
        copy = shutil.copytree if (repo_root / part).is_dir() else shutil.copy2
        clone.mkdir(parents=True, exist_ok=True)
        copy(repo_root / part, clone / part)
    settings = clone / "config" / "config.yaml"
    text = settings.read_text().replace("only: null", f'only: "{TASKS}"')
    settings.write_text(text.replace("radii: [8, 32]", "radii: [8]"))
    # An environment that is a folder of the clone by its path, as one of its own would be.
    (clone / ".venv").symlink_to(sys.prefix)
    done = in_folder(clone, *MAKE)
    assert done.returncode == 0, done.stdout
    assert pd.read_csv(clone / "results" / "demo_ttest_r8.csv")["n"].tolist() == [2]
    moved = top / "elsewhere" / "deeper" / "study"
    moved.parent.mkdir(parents=True)
    return clone.rename(moved)


def test_a_moved_study_has_nothing_to_do(finished):
    done = in_folder(finished, *MAKE)
    assert done.returncode == 0, done.stdout
    assert "Nothing to be done" in done.stdout


def test_a_study_moved_away_from_its_workflow_has_nothing_to_do(finished, repo_root, tmp_path):
    away = tmp_path / "a" / "b" / "c"
    for part in ("results", ".snakemake"):
        shutil.copytree(finished / part, away / part)
    done = in_folder(
        away,
        *(sys.executable, "-m", "snakemake", "--snakefile", str(finished / "workflow/Snakefile")),
        *("--cores", "1", "--", *TARGETS),
    )
    assert done.returncode == 0, done.stdout
    assert "Nothing to be done" in done.stdout


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("config.yaml", "alpha: 0.05", "alpha: 0.1", TESTS),
        ("config.yaml", "tost_margin: 0.01", "tost_margin: 0.02", TESTS),
        ("config.yaml", "data_tolerance: 0.01", "data_tolerance: 0.02", GATES),
        ("config.yaml", "threads: 4", "threads: 3", set()),
        ("config.yaml", "resamples: 500", "resamples: 400", set()),
        ("config.yaml", "min_common: 8", "min_common: 9", set()),
        ("config.yaml", "\n  repeats: 3\n", "\n  repeats: 4\n", set()),
        (
            "config.yaml",
            "perf_repeats: 3",
            "perf_repeats: 2",
            {"measure_efficiency", "perf", *TESTS},
        ),
        (
            "config.yaml",
            "max_windows_per_task: 2",
            "max_windows_per_task: 1",
            {"probe_attention", *GATES},
        ),
        (
            "config.yaml",
            "seed: 0",
            "seed: 1",
            {"probe_attention", "measure_efficiency", *MADE_OF_FORECASTS},
        ),
        ("suites/demo.yaml", "Real series of 29 fields", "Series of 29 fields", set()),
        (
            "suites/demo.yaml",
            "name: us_macro, horizon: 8",
            "name: us_macro, horizon: 7",
            {"probe_attention", "measure_efficiency", "seasonal_naive", *MADE_OF_FORECASTS},
        ),
        ("models/nano.yaml", "source:", "baseline_rel_mase_max: {demo: 0.5}\nsource:", GATES),
        ("reference/published_cbii_seasonal_naive.csv", "exchange_rate", "exchange", set()),
    ],
)
def test_a_change_makes_what_depends_on_it_anew(finished, file, old, new, expected):
    path = finished / "config" / file
    kept, text = path.stat(), path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        assert planned(finished) == expected
    finally:
        path.write_text(text)
        os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def test_a_change_of_a_source_makes_what_came_of_it_anew(finished):
    everything = {"probe_attention", "measure_efficiency", *MADE_OF_FORECASTS}
    registry = finished / "config" / "datasets.yaml"
    text = registry.read_text()
    (entry,) = re.findall(r"^  us_macro:\n(?:    .*\n)+", text, flags=re.M)
    registry.write_text(text.replace(entry, entry.replace("1950-01-01", "1950-04-01")))
    assert planned(finished) == {"fetch_suite_demo", "seasonal_naive", *everything}
    description = re.search("description: (.*)", entry)[1]
    registry.write_text(text.replace(description, "Other words"))
    assert planned(finished) == set()
    registry.write_text(text)

    for name in ("config.json", "model.safetensors"):
        os.utime(finished / "resources" / "models" / "nano" / name)
    assert planned(finished) == set()
    weights = finished / "resources" / "models" / "nano" / "config.json"
    weights.write_text(weights.read_text() + "\n")
    assert planned(finished) == {"fetch_model", *everything}
