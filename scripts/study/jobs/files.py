"""Files that are written whole or not at all, checksums, and what is wrong with a damaged file."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# Columns of results that hold names which users choose, or parts of them.
NAMES = ("study", "suite", "task_name", "task", "dataset", "variant", "model", "model_name")
NAMES += ("item_id", "target", "feature", "weights_fingerprint", "dataset_fingerprint", "device")


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name `path` only on success.

    The suffix is kept, so that writers which look at it (pandas, matplotlib)
    behave as with the final name. An exception removes what was written and
    leaves an earlier file untouched. A process that was killed cannot clean
    up: what it left is hidden, and removed here when the file is made again.

    Parameters
    ----------
    path:
        Final path of a file or directory; its parent is made if absent.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    lock = os.open(holder, os.O_RDONLY)
    temporary = holder / path.name
    try:
        _lock(lock)
        yield temporary
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        os.close(lock)
        shutil.rmtree(holder, ignore_errors=True)


def _lock(descriptor: int) -> bool:
    """Lock a folder, which says that its writer lives; False if another holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: never take a writer for dead
        return False
    return True


def _remove_leftovers(path: Path) -> None:
    """Remove what killed writers of `path` left behind; those that still write keep theirs."""
    pattern = f".{glob.escape(path.name)}.{'?' * 8}.partial"
    for holder in path.parent.glob(pattern):
        try:
            descriptor = os.open(holder, os.O_RDONLY)
        except OSError:  # gone meanwhile, or somebody else's
            continue
        if _lock(descriptor):
            shutil.rmtree(holder, ignore_errors=True)
        os.close(descriptor)


def damage(path: str | os.PathLike) -> str | None:
    """Say what is wrong with the bytes of a result file, or None.

    Reads the whole file, so it is for finding out why something failed.

    Parameters
    ----------
    path:
        A file; its suffix says what it should hold: ``.parquet``, ``.json``, ``.safetensors`` or
        ``.csv``. Of others nothing is known.
    """
    path = Path(path)
    if not path.is_file():
        return None
    if path.stat().st_size == 0:
        return "empty file"
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            file = pq.ParquetFile(path)
            for group in range(file.num_row_groups):
                file.read_row_group(group)
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="numpy"):
                pass
        elif path.suffix == ".csv":
            import pandas as pd

            pd.read_csv(path)
    except Exception as error:  # every reader has errors of its own
        return f"not readable as {path.suffix.lstrip('.')}: {' '.join(str(error).split())}"
    return None


def read_results(path: str | os.PathLike) -> pd.DataFrame:
    """Read a CSV file of results: names are text, whatever they look like; an empty cell is NaN."""
    import pandas as pd

    # A task may be called NA, None, 001 or 1e5.
    texts = dict.fromkeys(NAMES, str)
    return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])


def sha256_of_file(path: str | os.PathLike) -> str:
    """Return the hexadecimal SHA-256 digest of the file at `path`."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
