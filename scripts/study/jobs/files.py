"""Files that are written whole or not at all, checksums, and what is wrong with a damaged file."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from chronos2_attention.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

# Columns of results that hold names which users choose, or parts of them.
NAMES = ("study", "suite", "task_name", "task", "dataset", "variant", "model", "model_name")
NAMES += ("item_id", "target", "feature", "weights_fingerprint", "dataset_fingerprint", "device")

# Characters of a name in that of its temporary folder, which must not be longer than names may be.
LONGEST = 200


class KnownFile(NamedTuple):
    """A file that no rule makes, known by its content: Snakemake compares the `repr`."""

    path: str
    sha256: str | None

    def __repr__(self) -> str:
        return f"KnownFile({self.sha256})"

    @classmethod
    def at(cls, path: str | os.PathLike) -> KnownFile:
        """Read a file's checksum now."""
        return cls(str(path), sha256_of_file(path) if os.path.isfile(path) else None)


@contextmanager
def whole_files(paths: Iterable[str | os.PathLike]) -> Iterator[list[Path]]:
    """Yield paths beside `paths`, of their suffixes, which take their names together on success."""
    paths = [Path(path) for path in paths]
    with ExitStack() as stack:
        first = {path.parent: path for path in reversed(paths)}  # names the folder's holder
        holders = {folder: stack.enter_context(_holder(path)) for folder, path in first.items()}
        written = [holders[path.parent] / path.name for path in paths]
        yield written
        for temporary in written:
            temporary.lstat()
        for temporary, path in zip(written, paths, strict=True):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            os.replace(temporary, path)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside one file or folder, see `whole_files`."""
    with whole_files([path]) as (temporary,):
        yield temporary


@contextmanager
def _holder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `path`, which goes when the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    begin, folder = f".{path.name[:LONGEST]}.", path.parent
    holder = Path(tempfile.mkdtemp(prefix=begin, suffix=".partial", dir=folder))
    lock = os.open(holder, os.O_RDONLY)
    try:
        _lock(lock)
        yield holder
    except Exception as error:
        if not holder.is_dir() or not os.path.samestat(os.stat(holder), os.fstat(lock)):
            what = "the folder was removed while its files were made"
            raise InputError(what, str(folder), "run the same command again") from error
        raise
    finally:
        os.close(lock)
        shutil.rmtree(holder, ignore_errors=True)


def _lock(descriptor: int) -> bool:
    """Lock a folder, which says that its writer lives; False if another holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks: never take a writer for dead
        return False
    return True


def _remove_leftovers(path: Path) -> None:
    """Remove what killed writers of `path` left behind; those that still write keep theirs."""
    pattern = f".{glob.escape(path.name[:LONGEST])}.{'?' * 8}.partial"
    for holder in path.parent.glob(pattern):
        try:
            descriptor = os.open(holder, os.O_RDONLY)
        except OSError:  # gone meanwhile, or somebody else's
            continue
        if _lock(descriptor):
            shutil.rmtree(holder, ignore_errors=True)
        os.close(descriptor)


def damage(path: str | os.PathLike) -> str | None:
    """Read a whole result file, after something failed, and say what is wrong with it, or None."""
    path = Path(path)
    if not path.is_file():
        return None
    if path.stat().st_size == 0:
        return "empty file"
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            for _ in pq.ParquetFile(path).iter_batches():
                pass
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


def read_tables(paths: str | Sequence[str]) -> Any:
    """Read CSV files below each other as one table; hand on what is none."""
    import pandas as pd

    every = [paths] if isinstance(paths, str) else list(paths)
    if not every or not all(path.endswith(".csv") for path in every):
        return paths
    return pd.concat(map(read_results, every), ignore_index=True)
