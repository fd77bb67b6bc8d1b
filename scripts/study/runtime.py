"""What every rule's script shares: its log, and errors that a user can read."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chronos2_attention.errors import InputError
from study.failures import explain

log = logging.getLogger("study")


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
    `study.failures` can explain: a full disk, missing permission, lack of
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
