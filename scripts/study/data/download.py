"""Downloads over HTTP within bounds of time, size and rate, with retries and checksums."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import certifi
import httpx

from chronos2_attention.errors import InputError

log = logging.getLogger("study.download")

T = TypeVar("T")
TIMEOUT_S = 10.0
LONGEST_TIMEOUT = 1.5  # of these, where a caller asks for more
ATTEMPTS = 5
# For what waiting seldom mends: a server out of reach, a file that is not the one expected.
FEW_ATTEMPTS = 2
PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
ALL_PAUSES_S = 45.0
RATE_WINDOW_S = 20.0
REDIRECT_BYTES = 1e6
# No byte of a compressed answer becomes more than these: the limit of deflate.
LARGEST_INFLATION = 1032
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
# What keeps a file from being written, and the way out beside another folder.
DISK = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free space there, or ")
DISK[errno.EFBIG] = "raise the limit on the size of files (ulimit -f), or "


@dataclass(frozen=True)
class Limits:
    """What a fetch may take: the settings ``network``."""

    min_kb_per_s: float = 1.0
    max_minutes: float = 120.0
    max_gb: float = 5.0


LIMITS = Limits()  # a rule's script puts the configuration's in their place


class FetchError(Exception):
    """A file cannot be had; the message is one line, `mend` what helps beside a mirror.

    It is met `attempts` times before it is given up, after `wait` seconds if the server asks for
    them; `code` is the hub's name of it. If `final`, no copy of an earlier day may stand in.
    """

    def __init__(
        self, why: str, mend: str = "", *, attempts=1, wait=0.0, code="", final=False
    ) -> None:
        self.mend, self.attempts, self.wait, self.code = mend, attempts, wait, code
        self.final = final
        super().__init__(" ".join(why.split())[:1000])


class ChecksumError(FetchError):
    """What arrived is not the file expected."""

    def __init__(self, why: str) -> None:
        super().__init__(why, attempts=FEW_ATTEMPTS, final=True)


def public(text: str) -> str:
    """Take the secrets out of the addresses in a text: passwords, and what signs a link."""
    return re.sub(r"(?<=://)[^/\s@]*@|(?<=[\w/])\?[^\s'\"]+", "", text)


def reason(error: BaseException) -> str:
    """Return the first line of an exception's message without secrets, or its kind."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return public(lines[0])[:300]


def explained(error: Exception) -> FetchError | None:
    """Turn what the libraries raise into what the user is told; None for a defect."""
    if isinstance(error, FetchError):
        return error
    if isinstance(error, OSError) and error.errno:  # httpx has its own for those of sockets
        mend = f"{DISK.get(error.errno, '')}set TMPDIR to another folder"
        why = f"cannot write {error.filename or 'what arrives'}: {error.strerror}"
        return FetchError(why, mend, final=True)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | httpx.TooManyRedirects):
        return FetchError(f"not an address that can be asked: {reason(error)}")
    if isinstance(error, httpx.ConnectError | httpx.TimeoutException | httpx.ProxyError):
        names = [name for name in map(_in_use, PROXIES) if os.environ.get(name)]
        mend = f"check {', '.join(names)}" if names else ""
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            mend = "set SSL_CERT_FILE to a file with your network's certificates"
        return FetchError(reason(error), mend, attempts=FEW_ATTEMPTS)
    if isinstance(error, OSError | httpx.HTTPError):
        return FetchError(reason(error), attempts=ATTEMPTS)
    return None


def with_retry(action: Callable[[], T], what: str) -> T:
    """Call `action` until it succeeds, waiting twice as long each time; raise its `FetchError`."""
    pause, waited = PAUSE_S, 0.0
    met: Counter[int] = Counter()
    while True:
        try:
            return action()
        except Exception as error:
            failure = explained(error)
            if failure is None:
                raise
        met[failure.attempts] += 1
        wait = min(max(pause, failure.wait), LONGEST_PAUSE_S)
        waited += wait
        given_up = met[failure.attempts] >= failure.attempts or met.total() >= ATTEMPTS
        if given_up or waited > ALL_PAUSES_S:
            raise failure
        log.warning("%s: %s; again in %.0f s", what, failure, wait)
        time.sleep(wait)
        pause *= 2


def deadline() -> float:
    """Return when a fetch that begins now must be done, on the monotonic clock."""
    return time.monotonic() + 60 * LIMITS.max_minutes


class Client(httpx.Client):
    """A client that keeps to `LIMITS` and raises `FetchError`, which no library tries to mend.

    It stops at `until`, after `most` bytes of an answer, or what `folder` has room for; after
    `kept` bytes a caller itself goes on with a broken one.
    """

    def __init__(
        self,
        until: float | None = None,
        folder: Path | None = None,
        most: float = float("inf"),
        check: Callable[[httpx.Response], None] = lambda answer: None,
        kept: float = float("inf"),
    ) -> None:
        self.until = deadline() if until is None else until
        bounds = [
            (most, f"more than the {most:.0f} bytes expected", ""),
            (1e9 * LIMITS.max_gb, f"more than {LIMITS.max_gb:g} GB", "raise network.max_gb"),
        ]
        if folder is not None:
            there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
            room = 0.9 * shutil.disk_usage(there).free
            bounds.append((room, f"more than there is room for in {folder}", "free space there"))
        self.most, self.too_large, self.mend = min(bounds)
        self._since, self._bytes, self.total = time.monotonic(), 0, 0
        self._kept, self._late = kept, False
        self._watch = threading.Timer(0.0, self._give_up)
        for name in map(_in_use, PROXIES):
            usable(name, _proxy)
        hooks = {"request": [self._before], "response": [check, self._after]}
        try:
            super().__init__(
                verify=_certificates(), follow_redirects=True, timeout=TIMEOUT_S, event_hooks=hooks
            )
        except (ValueError, httpx.InvalidURL) as error:  # the proxies have been tried one by one
            raise FetchError(f"{_in_use('NO_PROXY')} cannot be used: {reason(error)}") from None

    def send(self, request: httpx.Request, **options) -> httpx.Response:
        try:
            return super().send(request, **options)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError) as error:
            late = httpx.ReadTimeout("the first lines of the answer did not arrive in time")
            failure = explained(late if self._late else error)
            if failure is None:
                raise
            raise failure from None
        finally:
            self._watch.cancel()

    def _before(self, request: httpx.Request) -> None:
        self._in_time()
        request.headers["Accept-Encoding"] = "identity"
        waits = request.extensions["timeout"]
        for name, wait in waits.items():
            waits[name] = min(wait or TIMEOUT_S, LONGEST_TIMEOUT * TIMEOUT_S)
        # Each wait has its time-out; first lines that trickle in never meet it.
        self._watch.cancel()
        self._watch = threading.Timer(1.5 * waits["read"], self._give_up)
        self._watch.daemon = True
        self._watch.start()

    def _give_up(self) -> None:
        self._late = True
        self.close()

    def _after(self, answer: httpx.Response) -> None:
        self._watch.cancel()
        # 416: there is nothing after what a broken attempt left, and the checksum tells why.
        if answer.status_code >= 400 and answer.status_code != 416:
            raise _refusal(answer)
        if answer.status_code != httpx.codes.PARTIAL_CONTENT:  # which goes on with a broken one
            self._since, self._bytes, self.total = time.monotonic(), 0, 0
        most = min(self.most, REDIRECT_BYTES) if answer.has_redirect_location else self.most
        plain = answer.headers.get("Content-Encoding", "identity") == "identity"
        stated = answer.headers.get("Content-Length", "")
        if answer.request.method != "HEAD" and stated.isdecimal() and int(stated) > most:
            raise FetchError(self.too_large, self.mend)
        weight = 1 if plain else LARGEST_INFLATION
        count = partial(self.count, weight=weight, most=most)
        answer.stream = _Body(answer.stream, count, self._kept)

    def _in_time(self) -> None:
        if time.monotonic() > self.until:
            why = f"not done within {LIMITS.max_minutes:g} minutes"
            raise FetchError(why, "raise network.max_minutes")

    def count(self, number: int, weight: int, most: float) -> None:
        """Take note of bytes that arrived; raise if it is too late, or too many or too few."""
        self._in_time()
        self.total += weight * number
        if self.total > most:
            raise FetchError(self.too_large, self.mend)
        self._bytes += number
        seconds = time.monotonic() - self._since
        if seconds > RATE_WINDOW_S:
            if self._bytes < 1000 * LIMITS.min_kb_per_s * seconds:
                why = f"less than {LIMITS.min_kb_per_s:g} kB a second for {RATE_WINDOW_S:g} s"
                raise FetchError(why, "lower network.min_kb_per_s", attempts=FEW_ATTEMPTS)
            self._since, self._bytes = time.monotonic(), 0


class _Body(httpx.SyncByteStream):
    """An answer's bytes, counted."""

    def __init__(
        self, stream: httpx.SyncByteStream, count: Callable[[int], None], kept: float
    ) -> None:
        self.stream, self.count, self.kept, self.close = stream, count, kept, stream.close

    def __iter__(self) -> Iterator[bytes]:
        came = 0
        try:
            for chunk in self.stream:
                came += len(chunk)
                self.count(len(chunk))
                yield chunk
        except httpx.TransportError as error:
            if came >= self.kept:
                raise
            raise explained(error) from None


def _refusal(answer: httpx.Response) -> FetchError:
    status, headers = answer.status_code, answer.headers
    transient = status >= 500 or status in (408, 425, 429)
    wait = headers.get("Retry-After", "")  # else it is a date
    said = headers.get("X-Error-Message", "")
    return FetchError(
        f"HTTP {status} {answer.reason_phrase}{f', {said[:200]}' if said else ''}",
        attempts=ATTEMPTS if transient else 1,
        wait=float(wait) if re.fullmatch(r"\d{1,9}", wait) else 0.0,
        code=headers.get("X-Error-Code", ""),
    )


def _in_use(name: str) -> str:
    return name.lower() if os.environ.get(name.lower()) else name


def usable(name: str, use: Callable[[str], T]) -> T | None:
    """Use an environment variable, if it is set; if it cannot be used, name it."""
    value = os.environ.get(name)
    if not value:
        return None
    try:
        return use(value)
    except (ImportError, ValueError, OSError) as error:
        raise FetchError(f"{name} cannot be used: {reason(error)}", "unset or mend it") from None


def _proxy(value: str) -> None:
    url = address(value if "://" in value else f"http://{value}")
    httpx.HTTPTransport(verify=False, proxy=url).close()


def address(value: str, schemes: Sequence[str] = ()) -> httpx.URL:
    """Return an address that has a host and a port that there is; others are a `ValueError`."""
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from None
    if schemes and url.scheme not in schemes:
        raise ValueError(f"it must begin with {schemes[-1]}://")
    if not url.host:
        raise ValueError("no host in it")
    if not 0 < (url.port or 1) < 65536:
        raise ValueError("no such port")
    return url


def _certificates() -> ssl.SSLContext:
    # OpenSSL opens it for every context, and would be blamed on the certificates.
    usable("SSLKEYLOGFILE", lambda path: open(path, "a").close())
    given = (usable(name, _context) for name in CERTIFICATES)
    return next(filter(None, given), None) or _context(certifi.where())


@cache
def _context(value: str) -> ssl.SSLContext:
    if any(map(os.path.isdir, value.split(os.pathsep))):
        return ssl.create_default_context(capath=value)
    return ssl.create_default_context(cafile=value)


def fetch_file(url: str, path: Path, kind: str, expected: str) -> None:
    """Fetch a file and check it, going on where an attempt broke; else raise a `FetchError`."""
    until = deadline()

    def attempt() -> None:
        with Client(until, path.parent) as client:
            _download(client, url, path)
        try:
            check_file(path, kind, expected)
        except ChecksumError:
            path.unlink()  # or the next attempt would go on where this one ended
            raise

    with_retry(attempt, public(url))


def _download(client: Client, url: str, path: Path) -> None:
    have = path.stat().st_size if path.is_file() else 0
    headers = {"User-Agent": "chronos2-attention-study"}
    headers |= {"Range": f"bytes={have}-"} if have else {}
    client.total = have
    with open(path, "ab") as handle, client.stream("GET", url, headers=headers) as answer:
        goes_on = answer.status_code == httpx.codes.PARTIAL_CONTENT
        if not (goes_on and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")):
            handle.truncate(0)
        for chunk in answer.iter_bytes():
            handle.write(chunk)


def check_file(path: Path, kind: str, expected: str) -> None:
    """Compare a file with its ``sha256`` or ``git blob sha1``; raise `ChecksumError`."""
    begin = hashlib.sha256()
    if kind != "sha256":  # the name that git gives a content
        begin = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb") as handle:
        found = hashlib.file_digest(handle, lambda: begin).hexdigest()
    if found != expected:
        raise ChecksumError(f"{path.name} has {kind} {found}, expected {expected}")


def unavailable(
    what: str, files: Sequence[str], mirror: Path | None, error: FetchError, *more: str
) -> InputError:
    """Return the line for what cannot be had: its `files` below a mirror, and `more` ways out."""
    absent = [below for below in files if mirror is None or not (mirror / below).is_file()]
    tried = f"no file {mirror / absent[0]}, and " if mirror is not None else ""
    ways = [error.mend] if error.mend else []
    ways.append(f"put {' and '.join(absent)} below a directory and set mirror=DIRECTORY")
    return InputError(f"cannot get {what}: {tried}{error}", "", ", or ".join([*ways, *more]))
