"""What every rule's script shares: its log, and errors that a user can read."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chronos2_attention.errors import InputError

log = logging.getLogger("study")


@contextmanager
def rule_script(snakemake) -> Iterator[logging.Logger]:
    """Run a script's body with its rule's log attached.

    Records go to the rule's log file and to standard error. An `InputError`
    becomes one line and exit status 1; any other exception is logged with its
    traceback and raised, because it is a defect and not a user's mistake.

    Parameters
    ----------
    snakemake:
        The object that Snakemake puts into a script's namespace; only its
        `rule` and `log` are read.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if snakemake.log:
        path = Path(str(snakemake.log[0]))
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="w", encoding="utf-8"))
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=handlers,
        force=True,
    )
    for noisy in ("httpx", "httpcore", "urllib3", "filelock", "fsspec", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    started = time.perf_counter()
    try:
        yield log
    except InputError as error:
        log.error("%s: %s", snakemake.rule, error)
        sys.exit(1)
    except Exception:
        log.exception("%s failed", snakemake.rule)
        raise
    log.info("%s finished in %.1f s", snakemake.rule, time.perf_counter() - started)
