"""Every command of the README and the docs: run for real where a test can, planned elsewhere."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import REPO_ROOT
from small_model import build_upstream_model

from chronos2_attention import Chronos2VariantPipeline

# But for the pages that test_docs.py runs from top to bottom.
TUTORIALS = {"new_variant", "cross_learning"}
DOCS = {
    path.stem: path.read_text(encoding="utf-8")
    for path in (REPO_ROOT / "README.md", *sorted((REPO_ROOT / "docs").glob("*.md")))
    if path.stem not in TUTORIALS
}

# Too long for a test, or in need of a hub, a cluster or the tests themselves: what stands in.
PLANNED = {
    "make test": "this",
    "snakemake --cores 2 results/demo_groups_group_value.csv": "test_group_value.py",
    "snakemake --cores 2 results/demo_soft_verdicts.csv": "test_soft_proof.py, a smaller sweep",
    "snakemake --cores 2 all soft": "test_soft_proof.py and test_soft_figures.py",
    'make report OF="all soft"': "test_pages.py",
    "snakemake --resources gpu=1 --cores 4 results/cbii_ttest_r8.csv": "test_hub.py",
    "snakemake --resources gpu=1 --cores 4 results/cbii_soft_verdicts.csv": "test_soft_proof.py",
    "snakemake --resources gpu=1 --cores 4 results/fev_bench_group_value.csv": "test_hub.py",
    "snakemake --cores 2 --config mirror=MIRROR only=ETTh1,ETTh2"
    " -- results/ett@nano_soft_verdicts.csv": "test_soft_proof.py",
    "snakemake --workflow-profile workflow/profiles/slurm"
    " results/cbii_ttest_r8.csv": "test_slurm.py",
    "snakemake --resources gpu=4 --cores 16 results/cbii_radius_summary.csv": "test_devices.py",
    "snakemake --cores 2 results/benchmarks/attention_cpu.csv": "test_engine.py",
    "snakemake --cores 2 --config mirror=MIRROR"
    " -- results/benchmarks/attention_cpu.csv": "test_engine.py",
    'snakemake --cores 4 --resources gpu=1 --config mirror=MIRROR "forecast={dtype: bfloat16}"'
    " -- results/benchmarks/attention_cuda.csv": "test_engine.py",
    "snakemake --cores 2 results/benchmarks/probe_cpu.csv": "test_efficiency.py",
    "snakemake --cores 1 --set-threads benchmark_scale=1"
    " -- results/benchmarks/scale_cpu.csv": "test_scale.py",
    "snakemake --cores 1 results/benchmarks/statistics.csv": "test_statistics.py",
    "snakemake --cores 2 pretrain": "test_training.py",
}


def lines_of(block: str) -> list[str]:
    """Return the commands of a block, each on one line."""
    lines = block.replace("\\\n", "").splitlines()
    return list(filter(None, (" ".join(line.split("#")[0].split()) for line in lines)))


def commands() -> list[str]:
    text = "\n\n".join(DOCS.values())
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.S)
    lines = [line for block in blocks for line in lines_of(block)]
    inline = re.findall(r"`((?:snakemake|make) [^`]*)`", text)
    found = dict.fromkeys(" ".join(line.split()) for line in lines + inline)
    return [line for line in found if line.split()[0] in ("make", "snakemake")]


RUN = [command for command in commands() if command not in PLANNED]


def test_the_readme_has_its_main_commands():
    assert {"make demo", "make test", "snakemake --cores 2"} <= set(commands())
    assert set(commands()) >= PLANNED.keys(), "what is planned only is still in the docs"


def call_of(command: str, folder: Path, *options: str) -> list[str]:
    """Return the program and arguments of a command; its mirror is a folder of this name."""
    program, *arguments = shlex.split(command)
    arguments = [word.replace("mirror=MIRROR", f"mirror={folder / 'MIRROR'}") for word in arguments]
    if program == "make":  # the environment that runs this test takes the place of a new one
        installed = ("--assume-old", f"{sys.prefix}/.installed", f"VENV={sys.prefix}")
        return ["make", *installed, *options, *arguments]
    if program == "python":
        return [sys.executable, *arguments]
    return [sys.executable, "-m", "snakemake", *options, *arguments]


def plan(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command dry, in a folder of its own."""
    (folder / "MIRROR").mkdir(parents=True)
    options = ["--dry-run"]
    if command.startswith("snakemake"):
        snakefile = str(REPO_ROOT / "workflow" / "Snakefile")
        options += ["--snakefile", snakefile, "--directory", str(folder)]
    call = call_of(command, folder, *options)
    return subprocess.run(
        call, cwd=REPO_ROOT, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """What is not run, planned side by side: most of its time is the start of Snakemake."""
    folder = tmp_path_factory.mktemp("readme")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda c: plan(c[1], folder / str(c[0])), enumerate(PLANNED))
        return dict(zip(PLANNED, done, strict=True))


@pytest.mark.workflow
@pytest.mark.parametrize("command", PLANNED)
def test_a_long_command_is_planned_without_error(command, planned):
    done = planned[command]
    assert done.returncode == 0, done.stdout + done.stderr


def copy_of_repository(folder: Path) -> Path:
    left_out = (".git", ".venv", ".snakemake", "results", "report.html", "*.pyc")
    return shutil.copytree(REPO_ROOT, folder, ignore=shutil.ignore_patterns(*left_out))


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory):
    """A copy of the repository with no results, in which the commands run one after the other."""
    return copy_of_repository(tmp_path_factory.mktemp("newcomer") / "repository")


@pytest.mark.workflow
@pytest.mark.parametrize("command", RUN)
def test_a_command_runs(command, newcomer, request):
    if "mirror=MIRROR" in command and not (newcomer / "MIRROR").exists():
        (newcomer / "MIRROR").symlink_to(request.getfixturevalue("mirror"))
    done = subprocess.run(
        call_of(command, newcomer),
        cwd=newcomer,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    files = [word for word in shlex.split(command) if word.startswith("results/")]
    files += {"make report": ["report.html"], "make demo": ["results/demo_ttest_r8.csv"]}.get(
        command, []
    )
    for name in files:
        assert (newcomer / name).stat().st_size > 0


@pytest.mark.workflow
def test_the_readme_tells_what_its_first_command_gives(newcomer):
    rows = re.findall(
        r"\| `demo` \(embedded model\) \| (\d+) \| (\d+) \| ([-+.\d]+) % \|.*\| (\w+) \| (\w+) \|",
        DOCS["results"],
    )
    assert len(rows) == 2
    for radius, tasks, change, verdict, valid in rows:
        (row,) = pd.read_csv(newcomer / f"results/demo_ttest_r{radius}.csv").to_dict("records")
        assert row["n"] == int(tasks)
        # Processors differ in rounding, and forecasts with them, in the last digit shown at most.
        assert 100 * np.expm1(row["log_ratio_mean"]) == pytest.approx(float(change), abs=0.02)
        assert (row["verdict"], str(row["valid"])) == (verdict, valid)


def test_the_python_example_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS["library"], flags=re.S)
    build_upstream_model().save_pretrained(tmp_path / "resources" / "models" / "nano")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    assert isinstance(names["full"], Chronos2VariantPipeline)
    assert [tuple(part.shape) for part in names["quantiles"]] == [(1, 24, 9)] * 2
