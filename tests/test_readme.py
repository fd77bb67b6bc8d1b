"""Every command of the README is one that works."""

import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import REPO_ROOT, build_upstream_model

from chronos2_attention import Chronos2VariantPipeline

README = (REPO_ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`((?:snakemake|make) [^`]*)`", README)
    return list(dict.fromkeys(filter(None, lines + inline)))


def test_the_readme_has_its_main_commands():
    assert {"make demo", "make test", "snakemake --cores 2"} <= set(commands())


def plan(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command dry, in a folder of its own."""
    program, *arguments = shlex.split(command)
    mirror = folder / "MIRROR"
    mirror.mkdir(parents=True)
    if program == "make":
        call = ["make", "--dry-run", *arguments]
    else:
        assert program == "snakemake"
        where = ["--snakefile", str(REPO_ROOT / "workflow" / "Snakefile"), "--dry-run"]
        arguments = [word.replace("mirror=MIRROR", f"mirror={mirror}") for word in arguments]
        call = [sys.executable, "-m", "snakemake", *where, "--directory", str(folder), *arguments]
    return subprocess.run(
        call, cwd=REPO_ROOT, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """All commands, planned side by side: most of their time is the start of Snakemake."""
    folder = tmp_path_factory.mktemp("readme")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda c: plan(c[1], folder / str(c[0])), enumerate(commands()))
        return dict(zip(commands(), done, strict=True))


@pytest.mark.workflow
@pytest.mark.parametrize("command", commands())
def test_each_command_is_planned_without_error(command, planned):
    """Dry runs: what they would compute is run for real by the other tests and by CI."""
    done = planned[command]
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_python_example_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    build_upstream_model().save_pretrained(tmp_path / "resources" / "models" / "nano")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    assert isinstance(names["full"], Chronos2VariantPipeline)
    assert [tuple(part.shape) for part in names["quantiles"]] == [(1, 24, 9)] * 2
