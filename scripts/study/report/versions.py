"""What a result was made with: commit of this workflow, versions of packages, the machine."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("snakemake", "torch", "chronos-forecasting", "fev", "numpy", "pandas", "scipy")


def commit_of(folder: Path) -> str:
    """Return the commit checked out in a folder, and whether files differ from it.

    ``unknown`` where the folder is not a git checkout, or git is absent.
    """
    git = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    edited = " with uncommitted changes" if changed.stdout.strip() else ""
    return commit.stdout.decode().strip() + edited


def versions() -> dict[str, str]:
    """Return the commit of this workflow, versions of packages, and the machine."""
    return {
        "workflow commit": commit_of(Path(__file__).resolve().parents[3]),
        **{name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}",
    }
