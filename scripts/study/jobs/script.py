"""What every rule's script shares: its log, and errors that a user can read."""

from __future__ import annotations

import errno
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chronos2_attention.errors import InputError
from study.jobs.files import damage

log = logging.getLogger("study")

AGAIN = "then run the same command again: what is finished is kept"

NO_SPACE = {errno.ENOSPC, errno.EDQUOT}

# Some writers keep the system's words and not its number.
NO_SPACE_TEXT = os.strerror(errno.ENOSPC)

NOT_PERMITTED = {errno.EACCES, errno.EPERM}

CPU_ALLOCATOR = "DefaultCPUAllocator: can't allocate memory"


class _Console(logging.Formatter):
    """Only the first line of what is no warning: tables are for the log, not for the console."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        return text.partition("\n")[0].rstrip() if record.levelno <= logging.INFO else text


@contextmanager
def rule_script(snakemake) -> Iterator[logging.Logger]:
    """Run a script's body with its rule's log attached.

    Records go to the rule's log file and, the first line of each, to standard
    error. An `InputError` becomes one line and exit status 1, and so does what
    `study.jobs.script` can explain: a full disk, missing permission, lack of
    memory, a damaged input. Any other exception is logged with its traceback
    and raised, because it is a defect and not a user's mistake.

    Parameters
    ----------
    snakemake:
        The object that Snakemake puts into a script's namespace; only its
        `rule`, `wildcards`, `log`, `input` and `params` are read.
    """
    # The log may lie on the disk that is full: that must not hide the error itself.
    logging.raiseExceptions = False
    form = {"fmt": "%(asctime)s %(levelname)s %(message)s", "datefmt": "%H:%M:%S"}
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(_Console(**form))
    logging.basicConfig(level=logging.INFO, handlers=[console], force=True)
    for noisy in ("httpx", "httpcore", "urllib3", "filelock", "fsspec", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    started = time.perf_counter()
    job = " ".join([snakemake.rule, *map(str, snakemake.wildcards)])
    try:
        if snakemake.log:
            path = Path(str(snakemake.log[0]))
            path.parent.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(path, mode="w", encoding="utf-8")
            handler.setFormatter(logging.Formatter(**form))
            logging.getLogger().addHandler(handler)
        log.info("%s started", job)
        yield log
    except InputError as error:
        log.error("%s: %s", snakemake.rule, error)
        sys.exit(1)
    except Exception as error:
        inputs = [str(path) for path in snakemake.input]
        explained = explain(error, inputs, dict(snakemake.params.items()))
        if explained is not None:
            log.error("%s: %s", snakemake.rule, explained)
            sys.exit(1)
        log.exception("%s failed", snakemake.rule)
        raise
    log.info("%s finished in %.1f s", job, time.perf_counter() - started)


def explain(
    error: BaseException, inputs: Sequence[str], params: Mapping[str, Any]
) -> InputError | None:
    """Turn a failure that is no defect of the program into what a user can do about it.

    Parameters
    ----------
    error:
        What a job's script raised; causes and contexts are looked at too.
    inputs:
        The job's input files, relative to the working directory where a rule makes them. They are
        read when nothing else explains the error.
    params:
        The rule's parameters; `batch_size` and `context_length` are named if memory ran out.

    Returns
    -------
    The error to show, or None if this one is a defect.
    """
    for cause in _chain(error):
        found = _of_disk(cause) or _of_memory(cause, params)
        if found is not None:
            return found
    for path in inputs:
        wrong = damage(path)
        if wrong is not None:
            # Absolute paths lie in the repository or in the user's folders: no rule makes them.
            mend = "put it right" if Path(path).is_absolute() else "delete it"
            return InputError(wrong, path, f"{mend}, {AGAIN}")
    return None


def check_writable(folder: Path) -> None:
    """Try to write into a folder, before a run begins; make it if it is absent.

    Raises
    ------
    InputError
        If nothing can be written: the message says why.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        error.filename = str(folder)
        explained = explain(error, [], {})
        if explained is None:
            raise
        raise explained from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _of_disk(error: BaseException) -> InputError | None:
    number = getattr(error, "errno", None)
    where = str(getattr(error, "filename", None) or "the results or TMPDIR")
    if number in NO_SPACE or NO_SPACE_TEXT in str(error):
        return InputError("no space left on the disk", where, f"free some, {AGAIN}")
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.EROFS:
        return InputError(
            "the file system can only be read",
            where,
            f"use another --directory, or remount, {AGAIN}",
        )
    if error.errno == errno.EFBIG:
        mend = f"raise the limit on the size of files (ulimit -f), {AGAIN}"
        return InputError("a file is larger than this system allows", where, mend)
    if error.errno == errno.ENAMETOOLONG:
        mend = f"use a --directory with a shorter path, or shorter names, {AGAIN}"
        return InputError("the path of a file is too long", where, mend)
    if "No usable temporary directory" in str(error):  # tempfile's own words, without a name
        return InputError("no folder for temporary files", "TMPDIR", f"set it to one, {AGAIN}")
    if error.errno in NOT_PERMITTED and error.filename:  # without a name it may be a socket's
        return InputError("no permission", where, f"change its owner or mode, {AGAIN}")
    return None


def _of_memory(error: BaseException, params: Mapping[str, Any]) -> InputError | None:
    # By name, so that jobs which need no torch do not import it.
    on_device = type(error).__name__ == "OutOfMemoryError"
    if not (on_device or isinstance(error, MemoryError) or CPU_ALLOCATOR in str(error)):
        return None
    settings = [
        f"forecast.{name} (now {params[name] or 'the limit of the model'})"
        for name in ("batch_size", "context_length")
        if name in params
    ]
    mends = [f"lower {' or '.join(settings)}"] if settings else []
    if not on_device:
        mends.append("give the job more memory (mem_mb on a cluster)")
    return InputError(
        "out of memory on the GPU" if on_device else "out of memory",
        "",
        f"{' or '.join(mends) or 'use a larger GPU'}, {AGAIN}",
    )
