"""Another workflow uses this one as a Snakemake module, with settings and a folder of its own."""

import subprocess
import sys

import pandas as pd
import pytest

pytestmark = pytest.mark.workflow

OUTER = """
module attention:
    snakefile: "{snakefile}"
    {prefix}
    config: config["attention"]


use rule * from attention as attention_*


rule conclude:
    default_target: True
    input: "{input}"
    output: "conclusion.txt"
    shell: "head -n 1 {{input:q}} > {{output}}"
"""


@pytest.fixture
def outer(repo_root, tmp_path):
    """Write another workflow around this one and run it; return the finished process."""

    def outer(target, settings, *arguments, prefix=""):
        folder = tmp_path / "workflow"
        folder.mkdir()
        snakefile = repo_root / "workflow" / "Snakefile"
        (folder / "Snakefile").write_text(
            OUTER.format(snakefile=snakefile, input=target, prefix=prefix)
        )
        return subprocess.run(
            [
                *(sys.executable, "-m", "snakemake", "--cores", "2", *arguments),
                *("--config", f"attention={settings}"),
            ],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )

    return outer


def test_a_module_runs_with_few_settings(outer, tmp_path):
    target = "results/accuracy/demo_seasonal_naive.csv"
    done = outer(target, "{only: 'prison,visnights'}")
    assert done.returncode == 0, done.stdout
    assert pd.read_csv(tmp_path / target)["task_name"].tolist() == ["visnights", "prison"]
    assert "MASE" in (tmp_path / "conclusion.txt").read_text()


def test_everything_can_be_planned_in_a_folder_of_its_own(outer):
    done = outer(
        "study/results/demo@nano_radius_summary.csv",
        "{run: ['demo@nano'], only: 'prison', radii: [4]}",
        "--dry-run",
        "attention_all",
        prefix='prefix: "study"',
    )
    assert done.returncode == 0, done.stdout
    assert "study/results/demo@nano_ttest_r4.csv" in done.stdout
    assert "study/results/report/demo@nano_sparse_verdicts.html" in done.stdout
    assert " results/" not in done.stdout.replace("log: ", "")


def test_wrong_settings_of_a_module_are_named(outer):
    done = outer("results/x", "{radius: [4]}", "--dry-run")
    assert done.returncode == 1
    assert "error: " in done.stdout
    assert "unknown key 'radius'" in done.stdout


def test_the_outer_workflow_names_its_own_files_as_it_likes(outer):
    done = outer("results/nosuch_ttest_r8.csv", "{only: prison}", "--dry-run")
    assert "error: unknown suite" not in done.stdout
