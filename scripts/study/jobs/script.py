"""What every rule's script shares: its log, and errors that a user can read."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chronos2_attention.errors import InputError
from study.jobs.files import atomic_path, damage, whole_files

log = logging.getLogger("study")

AGAIN = "then run the same command again: what is finished is kept"

# Some writers keep the system's words and not its number, and `datasets` has its own.
FULL = ("no space left on the disk", "free some")
TOO_LARGE = ("a file is larger than its file system or `ulimit -f` allows", "raise the limit")
NO_ROOM = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EFBIG: TOO_LARGE}
NO_ROOM_TEXTS = {os.strerror(number): told for number, told in NO_ROOM.items()}
NO_ROOM_TEXTS["Not enough disk space"] = FULL
PERMISSION = ("no permission", "change its owner or mode")
PATHS = {
    errno.EROFS: ("the file system can only be read", "use another --directory, or remount"),
    errno.ENAMETOOLONG: (
        "the path of a file is too long",
        "use a --directory with a shorter path, or shorter names",
    ),
    **dict.fromkeys((errno.EACCES, errno.EPERM), PERMISSION),
}
CPU_ALLOCATOR = "DefaultCPUAllocator: can't allocate memory"


class _Console(logging.Formatter):
    """Only the first line of what is no warning: tables are for the log, not for the console."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        return text.partition("\n")[0].rstrip() if record.levelno <= logging.INFO else text


@contextmanager
def rule_script(snakemake) -> Iterator[logging.Logger]:
    """Run a script's body with its rule's log attached; its outputs become whole or not at all.

    In the block, `snakemake.output` holds temporary paths of the same names. What `explain` knows
    becomes one line and exit status 1; any other exception is a defect, logged and raised.
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
    # A job is ended by Ctrl-C, its shell or a scheduler: all three are one line, not a traceback.
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.perf_counter()
    job = " ".join([snakemake.rule, *map(str, snakemake.wildcards)])
    final = snakemake.output
    try:
        if snakemake.log:
            path = Path(str(snakemake.log[0]))
            path.parent.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(path, mode="w", encoding="utf-8")
            handler.setFormatter(logging.Formatter(**form))
            logging.getLogger().addHandler(handler)
        log.info("%s started", job)
        with whole_files(final) as temporary:
            snakemake.output = type(final)(map(str, temporary))
            snakemake.output._take_names(final._get_names())
            yield log
    except KeyboardInterrupt:
        log.error("%s: interrupted; %s", snakemake.rule, AGAIN.removeprefix("then "))
        sys.exit(130)
    except Exception as error:
        inputs = [str(path) for path in snakemake.input]
        explained = explain(error, inputs, dict(snakemake.params.items()))
        if explained is not None:
            log.error("%s: %s", snakemake.rule, explained)
            sys.exit(1)
        log.exception("%s failed", snakemake.rule)
        raise
    finally:
        signal.signal(signal.SIGTERM, earlier)
    log.info("%s finished in %.1f s", job, time.perf_counter() - started)


def explain(
    error: BaseException, inputs: Iterable[str], params: Mapping[str, Any]
) -> InputError | None:
    """Say what a user can do about a failed job, its causes too; None if its error is a defect."""
    causes = list(_chain(error))
    found = [_of_room(cause) or _of_memory(cause, params) for cause in causes]
    found += [error] if isinstance(error, InputError) else map(_of_paths, causes)
    for explained in filter(None, found):
        return explained
    for path in inputs:
        # Absolute paths lie in the repository or in the user's folders: no rule makes them.
        mend = "put it right" if Path(path).is_absolute() else "delete it"
        wrong = damage(path)
        if wrong is None and isinstance(error, FileNotFoundError) and not Path(path).exists():
            wrong, mend = "the file was removed while the job ran", "leave it there"
        if wrong is not None:
            return InputError(wrong, path, f"{mend}, {AGAIN}")
    return None


def plain_interpreter() -> str:
    """Return this interpreter's path, or one through a link, that a shell takes without quotes."""
    interpreter = Path(sys.executable)
    if _is_plain(interpreter):
        return str(interpreter)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    environment = interpreter.parent.parent
    name = hashlib.sha256(os.fsencode(environment)).hexdigest()[:16]
    link = cache / "chronos2-attention-study" / name
    mend = "set XDG_CACHE_HOME to a folder without such characters that can be written"
    if not _is_plain(link):
        raise InputError("a path holds characters that a shell takes apart", str(link), mend)
    try:
        if not link.is_symlink() or link.readlink() != environment:
            with atomic_path(link) as temporary:
                temporary.symlink_to(environment)
    except OSError as error:
        reason = f"cannot link to the environment at {environment}: {error.strerror}"
        raise InputError(reason, str(link), mend) from error
    return str(link / interpreter.parent.name / interpreter.name)


def _is_plain(path: Path) -> bool:
    return shlex.quote(str(path)) == str(path)


def check_writable(folder: Path) -> None:
    """Try to write into a folder, before a run begins; make it if it is absent."""
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


def _of_room(error: BaseException) -> InputError | None:
    told = NO_ROOM.get(getattr(error, "errno", None)) or next(
        (told for text, told in NO_ROOM_TEXTS.items() if text in str(error)), None
    )
    if told is not None:
        what, mend = told
        temporary = os.environ.get("TMPDIR", "/tmp")
        where = getattr(error, "filename", None) or f"the results or TMPDIR ({temporary})"
        return InputError(what, str(where), f"{mend}, {AGAIN}")
    if isinstance(error, FileNotFoundError) and "No usable temporary directory" in str(error):
        where = "TMPDIR, /tmp, /var/tmp and the working directory"
        mend = f"free some space, or set TMPDIR to a folder that can be written, {AGAIN}"
        return InputError("no folder for temporary files can be written", where, mend)
    return None


def _of_paths(error: BaseException) -> InputError | None:
    told = PATHS.get(error.errno) if isinstance(error, OSError) else None
    if told is None or (told is PERMISSION and not error.filename):  # a socket's, it may be
        return None
    return InputError(told[0], str(error.filename or "the results"), f"{told[1]}, {AGAIN}")


def _of_memory(error: BaseException, params: Mapping[str, Any]) -> InputError | None:
    # By name, so that jobs which need no torch do not import it.
    on_device = type(error).__name__ == "OutOfMemoryError"
    if not (on_device or isinstance(error, MemoryError) or CPU_ALLOCATOR in str(error)):
        return None
    forecast = params.get("forecast", {})
    settings = [
        f"forecast.{name} (now {forecast[name] or 'the limit of the model'})"
        for name in ("batch_size", "context_length")
        if name in forecast
    ]
    mends = [f"lower {' or '.join(settings)}"] if settings else []
    if not on_device:
        mends.append("give the job more memory (mem_mb on a cluster)")
    what = "out of memory on the GPU" if on_device else "out of memory"
    return InputError(what, "", f"{' or '.join(mends) or 'use a larger GPU'}, {AGAIN}")
