"""The demonstration as jobs of a real Slurm, one of which the scheduler kills."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict

import pandas as pd
import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.workflow]

TARGET = "results/demo_ttest_r8.csv"
GPU_RULES = {"forecast", "probe_attention", "measure_efficiency"}
CPU_RULES = {"seasonal_naive", "score", "validity", "ttest"}


@pytest.fixture(scope="module")
def slurm():
    """Skip where no Slurm answers, but in CI; `.ci/slurm.sh start` sets one up."""
    without = pytest.fail if os.environ.get("STUDY_REQUIRE_SLURM") else pytest.skip
    if shutil.which("sbatch") is None:
        without("SKIPPED, NOT PASSED: Slurm is not installed (.ci/run installs and starts it)")
    state = subprocess.run(
        ["sinfo", "--noheader", "--format", "%T"], capture_output=True, text=True, check=False
    )
    if state.returncode != 0 or not state.stdout.strip():
        without("SKIPPED, NOT PASSED: Slurm does not answer (.ci/slurm.sh start)")


def show_jobs(prefix: str) -> list[dict[str, str]]:
    """Return what Slurm knows of the jobs of a run, by its name, in the order of submission."""
    shown = subprocess.run(
        ["scontrol", "show", "job", "--oneliner"], capture_output=True, text=True, check=False
    )
    jobs = []
    for line in shown.stdout.splitlines():
        fields = dict(re.findall(r"(\S+?)=(\S*)", line))
        if fields.get("JobName", "").startswith(prefix):
            fields["rule"] = re.sub(r"^rule_([a-z_]+?)_wildcards_.*", r"\1", fields["Comment"])
            jobs.append(fields)
    return sorted(jobs, key=lambda fields: int(fields["JobId"]))


def test_the_demonstration_runs_as_jobs_and_a_killed_one_is_retried(
    slurm, repo_root, tmp_path, capsys
):
    prefix = f"test{os.getpid()}"
    log = tmp_path / "snakemake.log"
    command = [
        *(sys.executable, "-m", "snakemake"),
        *("--snakefile", str(repo_root / "workflow" / "Snakefile")),
        *("--directory", str(tmp_path)),
        *("--workflow-profile", str(repo_root / "workflow" / "profiles" / "slurm")),
        # What a cluster without accounting needs, and what a small machine has.
        *("--slurm-status-command", "squeue", "--slurm-jobname-prefix", prefix),
        *("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"),
        *("--set-threads", *(f"{rule}=1" for rule in sorted(GPU_RULES))),
        *("--set-resources", *(f"{rule}:mem_mb=2000 * attempt" for rule in sorted(GPU_RULES))),
        *("--default-resources", "mem_mb=1500 * attempt", "runtime=30"),
        *("--set-scatter", "forecast=1", "--", TARGET),
    ]
    started = time.monotonic()
    killed = None
    with open(log, "w", encoding="utf-8") as output:
        run = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True)
        try:
            while run.poll() is None and time.monotonic() - started < 900:
                time.sleep(1)
                if killed is None:
                    running = [
                        job
                        for job in show_jobs(prefix)
                        if job["rule"] == "forecast" and job["JobState"] == "RUNNING"
                    ]
                    if running:
                        killed = running[0]
                        subprocess.run(["scancel", killed["JobId"]], check=True)
        finally:
            run.terminate()
            run.wait()
    seconds = time.monotonic() - started
    assert run.returncode == 0, log.read_text()
    jobs = show_jobs(prefix)

    row = pd.read_csv(tmp_path / TARGET).iloc[0]
    assert row["n"] == 29
    assert row["valid"]

    by_rule = defaultdict(list)
    for job in jobs:
        by_rule[job["rule"]].append(job)
    assert by_rule.keys() == GPU_RULES | CPU_RULES
    for rule, found in by_rule.items():
        for job in found:
            asked = job.get("TresPerJob", "")
            assert asked == ("gres:gpu:1" if rule in GPU_RULES else ""), (rule, asked)

    states = {job["JobId"]: job["JobState"] for job in jobs}
    assert states.pop(killed["JobId"]) == "CANCELLED"
    assert set(states.values()) == {"COMPLETED"}
    assert len(by_rule["forecast"]) == 3  # two variants, and one again
    memory = sorted(job["MinMemoryNode"] for job in by_rule["forecast"])
    assert memory == ["2000M", "2000M", "4000M"]  # the retried job asked for more
    with capsys.disabled():
        print(f"\n\n{len(jobs)} jobs in {seconds:.0f} s; one forecast cancelled and retried")
        for job in jobs:
            gpu = job.get("TresPerJob", "no GPU")
            print(f"{job['JobId']:>6} {job['rule']:20} {job['JobState']:10} {gpu}")
