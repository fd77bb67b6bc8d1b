"""The house keeps its shape: sizes of modules, scripts and rules, and imports that go one way."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_modules_scripts_and_rules_are_short(repo_root):
    modules = {path: lines_of(path) for path in (repo_root / "scripts").rglob("*.py")}
    assert max(modules.values()) <= 450
    scripts = [lines for path, lines in modules.items() if path.parent.name == "scripts"]
    assert len(scripts) <= 25
    assert max(scripts) <= 45
    assert [path.name for path in (repo_root / "scripts/study").glob("*.py")] == ["__init__.py"]
    rules = [path.read_text(encoding="utf-8") for path in (repo_root / "workflow/rules").glob("*")]
    assert sum(len(text.splitlines()) for text in rules) <= 1000
    for text in rules:
        for rule in re.split(r"^(?=(?:use )?rule )", text, flags=re.MULTILINE)[1:]:
            body = re.match(r".+\n(?:(?: .*)?\n)*", rule)[0]
            assert len(body.split("\n\n\n")[0].strip().splitlines()) <= 20, body


def test_each_script_is_named_as_a_rule_that_runs_it(repo_root):
    rules = "".join(path.read_text() for path in (repo_root / "workflow/rules").glob("*.smk"))
    scripts = {path.name for path in (repo_root / "scripts").glob("*.py")}
    assert set(re.findall(r"scripts/(\w+\.py)", rules)) == scripts


# Jobs that compute without the model, and start many times: torch takes longer to import than most.
LIGHT = (
    *("fetch_dataset", "gather_forecasts", "seasonal_naive", "score", "perf", "validity"),
    *("ttest", "radius_summary", "group_value", "plot", "report"),
)


def test_jobs_without_a_model_start_without_torch(repo_root):
    scripts = [(repo_root / f"scripts/{name}.py").read_text(encoding="utf-8") for name in LIGHT]
    imports = "".join(text.partition("with rule_script")[0] for text in scripts)
    code = f"{imports}import sys\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=repo_root / "scripts", check=True)


def contracts(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "scripts")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("study/config/suites.py", "from study.report import pages"),
        ("study/evaluation/scores.py", "from study.soft_masks import sweep"),
        ("chronos2_attention/batching.py", "import study.config"),
    ],
)
def test_an_import_that_goes_back_up_is_found(repo_root, tmp_path, module, planted):
    shutil.copytree(repo_root / "scripts", tmp_path / "scripts")
    shutil.copy(repo_root / "pyproject.toml", tmp_path)
    assert contracts(tmp_path).returncode == 0
    path = tmp_path / "scripts" / module
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{planted}\n", encoding="utf-8")
    done = contracts(tmp_path)
    assert done.returncode != 0
    assert "BROKEN" in done.stdout
