"""Cluster profiles: complete, accepted by Snakemake, and sent to the scheduler as they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

CLUSTERS = ["slurm", "lsf", "generic"]


def profile(repo_root: Path, name: str) -> dict:
    path = repo_root / "workflow" / "profiles" / name / "config.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def gpu_rules(repo_root: Path) -> set[str]:
    """Return the rules that ask for a GPU, those of a loop over suffixes and that take over one."""
    found, parents = set(), {}
    for path in (repo_root / "workflow" / "rules").glob("*.smk"):
        text = path.read_text(encoding="utf-8")
        for name, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", text, flags=re.M):
            if re.search(r"^ +gpu=1", body, flags=re.M):
                found.add(name)
        looped = (
            r'^    rule:\n        name:\n            f"(\w+)\{suffix\}"\n((?:        .*\n|\n)+)'
        )
        for name, body in re.findall(looped, text, flags=re.M):
            if re.search(r"^ +gpu=1", body, flags=re.M):
                found |= {f"{name}{suffix}" for suffix in ("", "_soft", "_sweep")}
        parents |= {
            child: parent
            for parent, child in re.findall(r"^use rule (\w+) as (\w+) with", text, flags=re.M)
        }
    return found | {child for child, parent in parents.items() if parent in found}


@pytest.mark.parametrize("name", CLUSTERS)
def test_each_gpu_rule_has_its_place_in_each_profile(repo_root, name):
    rules = gpu_rules(repo_root)
    assert {"forecast", "probe_attention", "probe_groups_sweep", "shuffles"} <= rules
    missing = rules - set(profile(repo_root, name)["set-resources"])
    assert not missing, f"add them to set-resources of workflow/profiles/{name}/config.yaml"


@pytest.mark.parametrize("name", CLUSTERS)
def test_resources_grow_with_each_attempt(repo_root, name):
    settings = profile(repo_root, name)
    assert settings["retries"] >= 1
    for asked in (settings["default-resources"], *settings["set-resources"].values()):
        for key in ("mem_mb", "runtime"):
            first, second = (eval(asked[key], {"attempt": attempt}) for attempt in (1, 2))
            assert second > first


def test_cluster_profiles_keep_what_the_default_profile_sets(repo_root):
    default = profile(repo_root, "default")
    for name in CLUSTERS:
        settings = profile(repo_root, name)
        shared = default.keys() - {"resources"}
        assert {key: settings[key] for key in shared} == {key: default[key] for key in shared}
        assert "resources" not in settings  # as many GPU jobs at once as the cluster gives


def snakemake(repo_root, folder, *arguments, environment=None):
    return subprocess.run(
        [
            *(sys.executable, "-m", "snakemake"),
            *("--snakefile", str(repo_root / "workflow" / "Snakefile")),
            *("--directory", str(folder)),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=repo_root,
        env={**os.environ, **(environment or {})},
        timeout=300,
        check=False,
    )


@pytest.mark.workflow
@pytest.mark.parametrize("option", ["--workflow-profile", "--profile"])
@pytest.mark.parametrize("name", CLUSTERS)
def test_each_profile_plans_a_study(repo_root, tmp_path, name, option):
    done = snakemake(
        repo_root, tmp_path, option, str(repo_root / "workflow" / "profiles" / name), "--dry-run",
        "--", "results/demo_ttest_r8.csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (asked,) = set(
        re.findall(r"rule probe_attention:\n(?:    .*\n)*?    resources: (.*)", done.stdout)
    )
    assert {"mem_mb=16000", "runtime=120", "gpu=1"} <= set(asked.split(", "))
    assert ("lsf_extra=-gpu num=1" in asked) == (name == "lsf")


# Stands in for Grid Engine: `qsub` runs the job at once and keeps its exit status.
GRID_ENGINE = {
    "qsub": """
        echo "$@" >> "$GRID/submitted"
        number=$(wc -l < "$GRID/submitted")
        status=0
        bash "${@: -1}" > "$GRID/$number.log" 2>&1 || status=$?
        printf 'failed       0\\nexit_status  %s\\n' "$status" > "$GRID/$number.record"
        echo "$number"
    """,
    "qstat": "exit 1",
    "qacct": 'cat "$GRID/$2.record"',
    "qdel": "exit 0",
}


@pytest.mark.workflow
def test_the_generic_profile_submits_with_the_commands_of_grid_engine(repo_root, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, code in GRID_ENGINE.items():
        (programs / name).write_text("#!/usr/bin/env bash\nset -u\n" + textwrap.dedent(code))
        (programs / name).chmod(0o755)
    target = "results/accuracy/demo@nano-random_seasonal_naive.csv"
    done = snakemake(
        repo_root, tmp_path, "--workflow-profile",
        str(repo_root / "workflow" / "profiles" / "generic"),
        "--latency-wait", "5", "--seconds-between-status-checks", "1",
        "--config", "only=prices", "--", target,
        environment={"PATH": f"{programs}:{os.environ['PATH']}", "GRID": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert (tmp_path / target).exists()
    first, second = (tmp_path / "submitted").read_text().splitlines()
    assert "-N s.seasonal_naive" in first
    for asked in ("-pe smp 1", "-l mem_free=4000M", "-l h_rt=0:60:0", "-l gpu=0"):
        assert asked in first
    assert "-N s.score" in second


@pytest.mark.parametrize(
    ("record", "state"),
    [
        ("failed       0\nexit_status  0", "success"),
        ("failed       0\nexit_status  1", "failed"),
        ("failed       100 : assumedly after job\nexit_status  137", "failed"),
        (None, "running"),
    ],
)
def test_the_state_of_a_job_that_left_the_queue(repo_root, tmp_path, record, state):
    for name, code in {
        "qstat": "exit 1",
        "qacct": f"printf '{record}'" if record else "exit 1",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [repo_root / "workflow" / "profiles" / "generic" / "status.sh", "7"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
    )
    assert done.stdout.strip() == state
