"""Downloads over HTTP: bounded retries with back-off, resumption, and checksums."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx

from study.jobs.files import sha256_of_file

log = logging.getLogger("study.network")

T = TypeVar("T")

TIMEOUT_S = 10.0

ATTEMPTS = 5

# For what waiting seldom mends: a server out of reach, a file that is not the one expected.
FEW_ATTEMPTS = 2

PAUSE_S = 1.0

LONGEST_PAUSE_S = 30.0

# `huggingface_hub` raises these as well: its errors derive from httpx.HTTPError or OSError.
FAILURES = (OSError, httpx.HTTPError)


class ChecksumError(OSError):
    """What arrived is not the file expected."""


def with_retry(action: Callable[[], T], what: str) -> T:
    """Call `action`; after a transient failure wait, each time twice as long, and try again.

    There are `ATTEMPTS` calls in all. A server that cannot be reached and a wrong checksum are met
    `FEW_ATTEMPTS` times; an answer that will not change (4xx, save 408, 425 and 429) and a full or
    forbidden disk once. ``Retry-After`` is obeyed up to `LONGEST_PAUSE_S` seconds.

    Parameters
    ----------
    action:
        What to do.
    what:
        Its name for the log.

    Raises
    ------
    Exception
        The last failure, as it came.
    """
    pause = PAUSE_S
    met: Counter[int] = Counter()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except FAILURES as error:
            allowed = _attempts_for(error)
            met[allowed] += 1
            if attempt == ATTEMPTS or met[allowed] == allowed:
                raise
            wait = min(max(pause, _retry_after(error)), LONGEST_PAUSE_S)
            log.warning("%s: %s; attempt %d in %.0f s", what, reason(error), attempt + 1, wait)
            time.sleep(wait)
            pause *= 2
    raise AssertionError("the last attempt returns or raises")


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that caused an error, or None."""
    return getattr(getattr(error, "response", None), "status_code", None)


def never_reached(error: BaseException) -> bool:
    """Return whether no server answered: no route, no such host, connection refused."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, httpx.ConnectError | httpx.ConnectTimeout):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def full_or_forbidden(error: BaseException) -> bool:
    """Return whether the failure is one of this machine's disk, not of the network."""
    return getattr(error, "errno", None) in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
    )


def _attempts_for(error: BaseException) -> int:
    status = status_of(error)
    if full_or_forbidden(error) or (status and status < 500 and status not in (408, 425, 429)):
        return 1
    if isinstance(error, ChecksumError) or never_reached(error):
        return FEW_ATTEMPTS
    return ATTEMPTS


def _retry_after(error: BaseException) -> float:
    response = getattr(error, "response", None)
    try:
        return float(response.headers["Retry-After"])
    except (AttributeError, KeyError, ValueError):  # absent, or a date
        return 0.0


def reason(error: BaseException) -> str:
    """Return the first line of an exception's message, or its kind where it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("Got: ")


def download(url: str, path: Path) -> None:
    """Fetch `url` into the file `path`, going on where a broken attempt left it.

    The server must say that it sends the rest (206); if it sends the whole, the file is begun
    anew. The time-out is for each wait, not for the whole.

    Raises
    ------
    httpx.HTTPError
        If the server cannot be reached, refuses, or breaks off; what arrived stays in `path`.
    OSError
        If the file cannot be written.
    """
    headers = {"User-Agent": "chronos2-attention-study", "Accept-Encoding": "identity"}
    have = path.stat().st_size if path.is_file() else 0
    if have:
        headers["Range"] = f"bytes={have}-"
    with httpx.stream(
        "GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True
    ) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            path.unlink()
            raise ConnectionError(f"no bytes from {have} on; the file is begun anew")
        answer.raise_for_status()
        resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT and answer.headers.get(
            "Content-Range", ""
        ).startswith(f"bytes {have}-")
        with open(path, "ab" if resumed else "wb") as handle:
            for chunk in answer.iter_raw():
                handle.write(chunk)


def git_blob_sha1(path: Path) -> str:
    """Return the object name that git gives the file's content (SHA-1 repositories)."""
    digest = hashlib.sha1(b"blob %d\0" % os.path.getsize(path), usedforsecurity=False)
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_file(path: Path, kind: str, expected: str) -> None:
    """Compare a file with its checksum.

    Parameters
    ----------
    path:
        The file.
    kind, expected:
        ``sha256`` or ``git blob sha1``, and its hexadecimal digits.

    Raises
    ------
    ChecksumError
        If they differ; the message gives both.
    """
    found = sha256_of_file(path) if kind == "sha256" else git_blob_sha1(path)
    if found != expected:
        raise ChecksumError(f"{path.name} has {kind} {found}, expected {expected}")
