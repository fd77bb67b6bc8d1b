"""Fixtures that find the repository and the optional reference data beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPO_ROOT = Path(__file__).resolve().parent.parent


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
