"""Fixtures that find the repository and the optional reference data beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import seen

pytest_plugins = ["hub_server", "small_model"]

REPO_ROOT = Path(__file__).resolve().parent.parent


def pytest_terminal_summary(terminalreporter):
    reports = [
        r for word in ("passed", "failed", "skipped") for r in terminalreporter.stats.get(word, [])
    ]
    if found := seen.lines({report.nodeid: report.outcome for report in reports}):
        terminalreporter.section("kinds of faults, inputs tried, and what came of them")
        terminalreporter.write_line("\n".join(found))


def pytest_collection_finish(session):
    """Each kind has its tests: a renamed test must not drop out of the table unnoticed."""
    ids = [item.nodeid for item in session.items]
    files = {test.partition("::")[0].removeprefix("tests/") for test in ids}
    if len(files) > 40:  # all files, not some that were asked for
        lacking = [t for ts in seen.KINDS.values() for t in ts.split() if not seen.of_kind(t, ids)]
        assert not lacking, f"tests/seen.py names tests that are not there: {lacking}"


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return REPO_ROOT


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Reference tables and mirrored data; tests that need them skip where they are absent."""
    path = Path(os.environ.get("STUDY_SHARED_DIR", REPO_ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"SKIPPED, NOT PASSED: no reference data at {path} (set STUDY_SHARED_DIR)")
    return path


@pytest.fixture(scope="session")
def mirror(shared_dir: Path) -> Path:
    path = shared_dir / "data" / "mirror"
    if not path.is_dir():
        pytest.skip(f"SKIPPED, NOT PASSED: no mirrored data sets at {path}")
    return path


# The small study that tests of the workflow share.
TASKS = "eu_stocks,visnights,prices,us_macro,elecdaily"
STUDY = "demo@nano-random"


@pytest.fixture(scope="session")
def run(repo_root):
    """Run Snakemake in a folder; return the finished process, its output in `stdout`."""

    def run(folder: Path, *arguments: str, environment: dict[str, str] | None = None):
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
            env={**os.environ, **(environment or {})},
            timeout=600,
            check=False,
        )

    return run


def ask(run, folder, *targets, only=TASKS, options=()):
    """Run the small study; the options stand before the targets."""
    return run(folder, "--cores", "2", *options, "--config", f"only={only}", "--", *targets)


@pytest.fixture(scope="session")
def small(run, tmp_path_factory):
    """A folder that holds the small study with random weights."""
    folder = tmp_path_factory.mktemp("small")
    done = ask(run, folder, f"results/{STUDY}_ttest_r8.csv")
    assert done.returncode == 0, done.stdout
    return folder
