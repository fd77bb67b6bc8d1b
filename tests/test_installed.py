"""The library as others install it: a wheel of `chronos2_attention` alone, used elsewhere."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

# Those of its tests that need nothing of the repository, and what they share.
NAMES = ("batching", "similarity", "strided", "variants")
ITS_TESTS = [*(f"test_{name}.py" for name in NAMES), "small_model.py"]
USE = """
from chronos2_attention import AttentionVariant, Chronos2VariantPipeline

def variants(pipeline: Chronos2VariantPipeline) -> list[AttentionVariant]:
    return [pipeline.variant, pipeline.with_variant("sparse_r8").variant]

def wrong(pipeline: Chronos2VariantPipeline) -> str:
    return pipeline.with_variant("sparse_r8").variant
"""

# What they check is the library: to read torch with it takes half a minute.
MYPY = """
[mypy]
[mypy-torch.*,chronos.*,transformers.*,numpy.*,pandas.*,pydantic.*]
ignore_missing_imports = true
follow_imports = skip
"""


@pytest.fixture(scope="module")
def installed(repo_root, tmp_path_factory):
    """Build the wheel from a copy, and install it into an environment that knows ours."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repo_root / name, source)
    shutil.copytree(repo_root / "scripts", source / "scripts")
    venv.create(folder / "venv")
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "ours.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "-w", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *options, "--target", site, wheel], check=True)
    return folder, wheel


def run_elsewhere(folder, *command):
    """Run Python of that environment where the checkout's `scripts` cannot be imported."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PYTHON"))}
    python = folder / "venv" / "bin" / "python"
    return subprocess.run([python, *command], cwd=folder, env=env, capture_output=True, text=True)


def test_the_wheel_holds_the_library_alone_and_says_that_it_is_typed(installed):
    names = zipfile.ZipFile(installed[1]).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"chronos2_attention"}
    assert "chronos2_attention/py.typed" in names


def test_its_tests_pass_outside_the_checkout(installed, repo_root):
    folder, _ = installed
    (folder / "tests").mkdir()
    for name in ITS_TESTS:
        shutil.copy(repo_root / "tests" / name, folder / "tests")
    (folder / "tests" / "conftest.py").write_text('pytest_plugins = ["small_model"]')
    done = run_elsewhere(folder, "-m", "pytest", "-q", "tests")
    assert done.returncode == 0, done.stdout[-2000:]
    where = run_elsewhere(folder, "-c", "import chronos2_attention as c; print(c.__file__)")
    assert where.stdout.startswith(str(folder / "venv")), where


def test_its_hints_are_seen_by_mypy(installed):
    folder, _ = installed
    (folder / "use.py").write_text(USE)
    (folder / "mypy.ini").write_text(MYPY)
    done = run_elsewhere(folder, "-m", "mypy", "use.py")
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, done
    assert errors[0].startswith("use.py:8: error: Incompatible return value type"), errors
