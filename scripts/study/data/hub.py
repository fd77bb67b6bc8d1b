"""Files of the Hugging Face hub: fetched with its own client, checked, and never executed.

Only the files asked for are fetched; a repository's code is not. What the client holds in its
cache is used where the hub cannot be reached.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)

from study.data import download as network
from study.data.download import FAILURES, ChecksumError, check_file, reason, status_of, with_retry

log = logging.getLogger("study.hub")

# The client prints what it also passes on to the log of the rule: once is enough.
logging.getLogger("huggingface_hub").handlers.clear()

COMMIT = re.compile(r"[0-9a-f]{40}")


class HubError(Exception):
    """The files cannot be had; the message is one line, `mend` says what else than a mirror helps.

    Parameters
    ----------
    why:
        What was tried, and what came of it.
    mend:
        What the user can do about it.
    """

    def __init__(self, why: str, mend: str = "") -> None:
        self.mend = mend
        super().__init__(" ".join(why.split()))


@dataclass(frozen=True)
class HubFiles:
    """Files of one commit, in the client's cache.

    Attributes
    ----------
    commit:
        What the revision resolved to, 40 hexadecimal digits.
    paths:
        Name in the repository to path on this machine, sorted by name.
    checksums:
        Name to the hub's own checksum that the file was found to have: ``sha256:...`` for large
        files, ``git:...`` (the object name that git gives it) for others. A file is absent where
        the hub gave none.
    """

    commit: str
    paths: dict[str, Path]
    checksums: dict[str, str]


def hub_files(
    repo: str, kind: str, revision: str, patterns: Sequence[str], *, offline: bool = False
) -> HubFiles:
    """Fetch the files of a repository whose names fit one of some patterns, and check them.

    Parameters
    ----------
    repo, kind:
        Name of the repository, and ``model`` or ``dataset``.
    revision:
        Branch, tag or commit.
    patterns:
        Of names, as in a shell; ``*`` does not match a slash. Each must fit a file.
    offline:
        Use the cache alone. It is also used where the hub cannot be reached, and where
        ``HF_HUB_OFFLINE`` is set.

    Raises
    ------
    HubError
        If the hub has no such repository, revision or file, gives no access, cannot be reached
        while the cache lacks a file, or what it sends has not the checksum that it states. A file
        of the wrong checksum is removed from the cache.
    """
    if offline or constants.HF_HUB_OFFLINE:
        because = "offline" if offline else "HF_HUB_OFFLINE is set"
        return _from_cache(repo, kind, revision, patterns, because)
    try:
        return _from_hub(repo, kind, revision, patterns)
    except GatedRepoError:
        raise HubError(
            f"the hub gives {repo} only to those who accepted its terms",
            f"accept them at {_endpoint() or constants.ENDPOINT}/{repo} and set HF_TOKEN",
        ) from None
    except RepositoryNotFoundError:
        raise HubError(
            f"the hub has no {kind} {repo}, or keeps it private", "check its name, or set HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise HubError(f"the hub has no revision {revision!r} of {repo}") from None
    except RemoteEntryNotFoundError as error:
        raise HubError(f"the hub lists a file of {repo} and has it not: {reason(error)}") from None
    except HFValidationError as error:
        raise HubError(f"{repo!r} is no name of a repository: {reason(error)}") from None
    except (ValueError, KeyError, TypeError):  # a page of another server, such as a login
        place = _endpoint() or constants.ENDPOINT
        raise HubError(f"{place} does not answer as the hub does", "check HF_ENDPOINT") from None
    except ChecksumError as error:
        raise HubError(f"{repo} at revision {revision!r}: {error}") from None
    except FAILURES as error:
        if network.full_or_forbidden(error):
            raise HubError(
                f"cannot write to the cache {constants.HF_HUB_CACHE}: {reason(error)}",
                "free space there, or set HF_HOME to another folder",
            ) from None
        because = f"the hub cannot be reached ({reason(error)})"
        if status_of(error):
            because = f"the hub refuses ({reason(error)})"
        return _from_cache(repo, kind, revision, patterns, because)


def _endpoint() -> str | None:
    # The client reads HF_ENDPOINT when it is imported; this reads it when it is used.
    return os.environ.get("HF_ENDPOINT")


def _selected(names: Iterable[str], patterns: Sequence[str], where: str) -> list[str]:
    """Return the names that fit, sorted; a pattern that fits none is a `HubError`."""
    names = sorted(names)
    chosen: set[str] = set()
    for pattern in patterns:
        depth = pattern.count("/")
        fitting = [name for name in names if name.count("/") == depth and fnmatch(name, pattern)]
        if not fitting:
            there = dict.fromkeys(name.split("/")[0] for name in names if name.count("/") >= depth)
            near = difflib.get_close_matches(pattern.split("/")[0], there, n=5) or list(there)[:5]
            raise HubError(f"no file {pattern} in {where}, which has {', '.join(near) or 'none'}")
        chosen.update(fitting)
    return sorted(chosen)


def _from_hub(repo: str, kind: str, revision: str, patterns: Sequence[str]) -> HubFiles:
    api = HfApi(endpoint=_endpoint())

    def ask():
        # Checksums make the hub look up every file of the repository: that may take longer. Other
        # calls of the client that list files have no time-out at all.
        return api.repo_info(
            repo,
            repo_type=kind,
            revision=revision,
            files_metadata=True,
            timeout=3 * network.TIMEOUT_S,
        )

    info = with_retry(ask, f"{repo} on the hub")
    if COMMIT.fullmatch(revision) and info.sha != revision:
        raise HubError(f"asked for commit {revision} of {repo}, the hub answers with {info.sha}")
    entries = {entry.rfilename: entry for entry in info.siblings or ()}
    paths, checksums = {}, {}
    for name in _selected(entries, patterns, f"{repo} at revision {revision!r}"):
        entry = entries[name]
        if entry.lfs is not None:
            stated = ("sha256", entry.lfs.sha256)
        else:
            stated = ("git blob sha1", entry.blob_id) if entry.blob_id else None

        def fetch(name=name, stated=stated) -> tuple[Path, str | None]:
            path = _downloaded(repo, kind, revision, name)
            if _commit_of(path, name) != info.sha:
                raise ConnectionError(f"{revision!r} moved away from {info.sha} meanwhile")
            try:
                return path, _checked(path, stated or _in_name(path))
            except ChecksumError:
                for link in (path.resolve(), _blob(path), path):
                    link.unlink(missing_ok=True)
                raise

        paths[name], checksum = with_retry(fetch, f"{repo}/{name}")
        if checksum is not None:
            checksums[name] = checksum
        else:
            log.warning("the hub gives no checksum of %s/%s", repo, name)
    return HubFiles(info.sha, paths, checksums)


def _downloaded(repo: str, kind: str, revision: str, name: str) -> Path:
    """Return a file's path in the cache; the client itself resumes a download that breaks off."""
    try:
        return Path(
            hf_hub_download(
                repo,
                name,
                repo_type=kind,
                revision=revision,
                etag_timeout=network.TIMEOUT_S,
                endpoint=_endpoint(),
            )
        )
    except LocalEntryNotFoundError as error:  # says neither why nor with which status
        raise (error.__cause__ if isinstance(error.__cause__, FAILURES) else error) from None
    except (XetDownloadError, RuntimeError) as error:  # of hf_xet, which knows no httpx
        raise ConnectionError(reason(error)) from error


def _from_cache(
    repo: str, kind: str, revision: str, patterns: Sequence[str], because: str
) -> HubFiles:
    place = f"{because} and the cache {constants.HF_HUB_CACHE}"
    try:
        root = Path(
            snapshot_download(
                repo,
                repo_type=kind,
                revision=revision,
                allow_patterns=list(patterns),
                local_files_only=True,
            )
        )
    except OSError:  # no snapshot of the revision, or one known to be incomplete
        raise HubError(f"{place} does not hold {repo} at revision {revision!r}") from None
    try:
        held = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
        paths = {name: root / name for name in _selected(held, patterns, root.name)}
    except HubError as error:
        raise HubError(f"{place} does not hold all of {repo}: {error}") from None
    checksums = {}
    for name, path in paths.items():
        try:
            checksum = _checked(path, _in_name(path))
        except ChecksumError as error:
            raise HubError(
                f"{because} and a file in the cache is damaged: {error}",
                f"delete {_blob(path)} and fetch it again",
            ) from None
        if checksum is not None:
            checksums[name] = checksum
    return HubFiles(root.name, paths, checksums)


def _commit_of(path: Path, name: str) -> str:
    """Return the commit in a cached path, ``.../snapshots/<commit>/<name>``."""
    return path.parts[-1 - len(name.split("/"))]


def _blob(path: Path) -> Path:
    """Return what a cached file links to, or the file itself where there are no links."""
    # One step only: the blob may link on, to a store that names files by another hash.
    return Path(os.path.normpath(path.parent / path.readlink())) if path.is_symlink() else path


def _in_name(path: Path) -> tuple[str, str] | None:
    """Return the checksum that the cache names a file by, where it keeps files by content."""
    name = _blob(path).name
    if re.fullmatch(r"[0-9a-f]{64}", name):
        return "sha256", name
    return ("git blob sha1", name) if COMMIT.fullmatch(name) else None


def _checked(path: Path, stated: tuple[str, str] | None) -> str | None:
    if stated is None:
        return None
    kind, expected = stated
    check_file(path, kind, expected)
    return f"{'sha256' if kind == 'sha256' else 'git'}:{expected}"
