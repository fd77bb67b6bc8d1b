"""Files of the Hugging Face hub: fetched with its own client, checked, and never executed."""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import yaml
from huggingface_hub import (
    HfApi,
    constants,
    get_token,
    hf_hub_download,
    metadata_load,
    snapshot_download,
)
from huggingface_hub import set_client_factory as use_clients
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils._http import default_client_factory

from study.data.download import (
    ATTEMPTS,
    ChecksumError,
    Client,
    FetchError,
    T,
    address,
    check_file,
    deadline,
    reason,
    usable,
    with_retry,
)

log = logging.getLogger("study.data.hub")

# Its warnings quote signed addresses, and all that they say is said here.
logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
# The Xet backend knows no bound on time, size or rate; every Xet file is to be had over HTTP, too.
constants.HF_HUB_DISABLE_XET = True

COMMIT = re.compile(r"[0-9a-f]{40}")
# The client makes names of files of these.
NAMES = dict.fromkeys(("ETag", "X-Linked-Etag"), r"[\w-]+(\.[\w-]+)*")
NAMES["X-Repo-Commit"] = COMMIT.pattern
CACHE_MEND = "fill the Hugging Face cache (HF_HOME) on a machine with a network"
LISTING_BYTES = 1e8
ABSENT = "no file fits"  # a code beside the hub's
# What the client raises where an answer lacks what it takes for granted.
DEFECTS = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError)
# A file without its size, such as one of a mirror, may still come with some headers.
SLACK_BYTES = 1e6
# What the hub says of a request, by its own code: why, and what the user can do.
REFUSALS = {
    "GatedRepo": "the hub gives {repo} only to those who accepted its terms; accept them at "
    "{place}/{repo} and set HF_TOKEN",
    "RepoNotFound": "the hub has no {kind} {repo}, or keeps it private; check its name, or set "
    "HF_TOKEN",
    "RevisionNotFound": "the hub has no revision {revision!r} of {repo}",
    "EntryNotFound": "the hub lists a file of {repo} and has it not",
}


@dataclass(frozen=True)
class HubFiles:
    """Files of one commit, in the client's cache, by their names in the repository."""

    commit: str
    paths: dict[str, Path]
    # The hub's own, where it gave one: ``sha256:...``, or ``git:...``, git's name of the object.
    checksums: dict[str, str]


def hub_origin(spec: Any, commit: str | None) -> dict[str, Any]:
    """Return the provenance of a data set or model of the hub; without a commit, of a mirror's."""
    return {
        "repo": spec.repo,
        "revision_requested": spec.revision,
        "revision": commit,
        "from_mirror": commit is None,
    }


def hub_files(
    repo: str, kind: str, revision: str, patterns: Sequence[str], *, offline: bool = False
) -> HubFiles:
    """Fetch and check files, some for each of `patterns`; there ``**`` alone matches a slash."""
    if offline or constants.HF_HUB_OFFLINE:
        because = FetchError("offline" if offline else "HF_HUB_OFFLINE is set")
        return _from_cache(repo, kind, revision, patterns, because)
    try:
        return _from_hub(repo, kind, revision, patterns)
    except FetchError as error:
        if error.code in REFUSALS:
            of = {"repo": repo, "kind": kind, "revision": revision, "place": _endpoint()}
            raise FetchError(*REFUSALS[error.code].format(**of).split("; ")) from None
        if error.final:
            mend = error.mend.replace("TMPDIR", "HF_HOME")
            why = f"{repo} at revision {revision!r}: {error}"
            raise FetchError(why, mend, code=error.code) from None
        because = FetchError(f"the hub cannot be used ({error})", error.mend)
    log.warning("%s: %s; looking into the cache", repo, because)
    return _from_cache(repo, kind, revision, patterns, because)


def dataset_files(repo: str, config: str, revision: str, *, offline: bool = False) -> HubFiles:
    """Fetch a configuration's Parquet files: ``<config>/*.parquet``, or those the card names."""
    get = partial(hub_files, repo, "dataset", revision, offline=offline)
    try:
        return get([f"{config}/*.parquet"])
    except FetchError as error:
        if error.code != ABSENT:
            raise
        try:
            (card,) = get(["README.md"]).paths.values()
        except FetchError:
            raise error from None
        named = named_by_card(card, config)
        if not named:
            raise error
    return get(named)


def named_by_card(card: Path, config: str) -> list[str]:
    """Return patterns of the Parquet files that a card gives a configuration to train on."""
    found = []
    try:
        (entry,) = [e for e in metadata_load(card)["configs"] if e["config_name"] == config]
        files = entry.get("data_files", "**")
        if isinstance(files, dict):
            files = [{"split": split, "path": path} for split, path in files.items()]
        for file in files if isinstance(files, list) else [files]:
            path = file if isinstance(file, str) else file["path"]
            if isinstance(file, str) or file.get("split", "train") == "train":
                found += path if isinstance(path, list) else [path]
        found = [os.path.normpath(os.path.join(entry.get("data_dir") or "", p)) for p in found]
    except (OSError, yaml.YAMLError, *DEFECTS):
        return []
    found = [re.sub(r"\*\*$", "**/*", path) for path in found if not path.startswith(("/", ".."))]
    return [f"{path}.parquet" if path.endswith("*") else path for path in found]


def _endpoint() -> str:
    # The client reads HF_ENDPOINT when it is imported; this reads it when it is used.
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


def _selected(names: Iterable[str], patterns: Sequence[str], where: str) -> list[str]:
    """Return the names that fit, sorted; a pattern that fits none is a `FetchError`."""
    names = sorted(names)
    chosen = set()
    for pattern in patterns:
        depth, flat = pattern.count("/"), pattern.replace("**/", "")
        fitting = [name for name in names if "**" in pattern or name.count("/") == depth]
        fitting = [name for name in fitting if fnmatch(name, pattern) or fnmatch(name, flat)]
        if not fitting:
            there = dict.fromkeys(name.split("/")[0] for name in names if name.count("/") >= depth)
            near = difflib.get_close_matches(pattern.split("/")[0], there, n=5) or list(there)[:5]
            why = f"no file {pattern} in {where}, which has {', '.join(near) or 'none'}"
            raise FetchError(why, code=ABSENT, final=True)
        chosen.update(fitting)
    return sorted(chosen)


def _check_settings() -> None:
    """Raise if the address or the token could not be sent, which libraries say with a traceback."""
    usable("HF_ENDPOINT", partial(address, schemes=("http", "https")))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_USER_AGENT_ORIGIN"):
        usable(name, _sendable)
    try:
        _sendable(get_token() or "")
    except ValueError as error:
        raise FetchError(f"the token in {constants.HF_TOKEN_PATH}: {reason(error)}") from None


def _sendable(value: str) -> None:
    if not re.fullmatch(r"[!-~]*", value.strip()):
        raise ValueError("it holds what no header holds, such as blanks")


def _check_answer(answer: httpx.Response) -> None:
    """Refuse names of files that lead elsewhere; a 401 of the hub itself says that it has none."""
    said = "X-Error-Code" in answer.headers or "X-Error-Message" in answer.headers
    if answer.status_code == 401 and not said and str(answer.url).startswith(_endpoint()):
        raise FetchError("HTTP 401", code="RepoNotFound")
    for header, pattern in NAMES.items():
        value = answer.headers.get(header, "").removeprefix("W/").strip('"')
        if answer.request.method == "HEAD" and value and not re.fullmatch(pattern, value):
            raise FetchError(f"its {header} is not fit for the name of a file", "check HF_ENDPOINT")


def _asked(until: float, most: float, action: Callable[[], T]) -> T:
    """Let the hub's client do something within bounds; what its answers lack is a `FetchError`."""
    cache, kept = Path(constants.HF_HUB_CACHE), constants.DOWNLOAD_CHUNK_SIZE
    use_clients(lambda: Client(until, cache, most, _check_answer, kept))
    try:
        return action()
    except HFValidationError as error:
        raise FetchError(f"no name of a repository: {reason(error)}", final=True) from None
    except (LocalEntryNotFoundError, *DEFECTS) as error:
        raise _not_the_hub(error) from None
    finally:
        use_clients(default_client_factory)


def _not_the_hub(error: Exception | str) -> FetchError:
    log.info("the answer: %r", error)
    return FetchError(f"{_endpoint()} does not answer as the hub does", "check HF_ENDPOINT")


def _from_hub(repo: str, kind: str, revision: str, patterns: Sequence[str]) -> HubFiles:
    _check_settings()
    until = deadline()
    ask = partial(HfApi(endpoint=_endpoint()).repo_info, repo, repo_type=kind, revision=revision)
    # Checksums make the hub look up every file of the repository: that may take longer.
    listing = partial(ask, files_metadata=True, timeout=60)
    info = with_retry(lambda: _asked(until, LISTING_BYTES, listing), f"{repo} on the hub")
    if not COMMIT.fullmatch(info.sha or ""):
        raise _not_the_hub(f"commit {info.sha}")
    if COMMIT.fullmatch(revision) and info.sha != revision:
        why = f"asked for commit {revision} of {repo}, the hub answers with {info.sha}"
        raise FetchError(why, final=True)
    entries = {entry.rfilename: entry for entry in info.siblings or ()}
    paths, checksums = {}, {}
    for name in _selected(entries, patterns, f"{repo} at revision {revision!r}"):
        get = partial(_one_file, repo, kind, revision, info.sha, entries[name], until)
        paths[name], checksum = with_retry(get, f"{repo}/{name}")
        checksums |= checksum
    return HubFiles(info.sha, paths, checksums)


def _one_file(
    repo: str, kind: str, revision: str, commit: str, entry: RepoSibling, until: float
) -> tuple[Path, dict[str, str]]:
    """Return the path of a file in the cache, fetched if it is not there, and its checksum."""
    name = entry.rfilename
    most = float("inf") if entry.size is None else entry.size + SLACK_BYTES
    get = partial(hf_hub_download, repo, name, repo_type=kind, revision=revision)
    path = Path(_asked(until, most, lambda: get(endpoint=_endpoint())))
    root = path.parents[name.count("/")]
    if root.name != commit:
        raise FetchError(f"{revision!r} moved away from {commit} meanwhile", attempts=ATTEMPTS)
    stated = ("git blob sha1", entry.blob_id) if entry.blob_id else None
    if entry.lfs is not None:
        stated = "sha256", entry.lfs.sha256
    try:
        return path, _checked(name, path, stated)
    except ChecksumError as error:
        # Only below the repository's folder in the cache, and nothing elsewhere.
        for place in (_blob(path), path):
            if place.parent.resolve().is_relative_to(root.parents[1].resolve()):
                place.unlink(missing_ok=True)
            else:
                error.mend = f"delete {place}, to which a link leads out of the cache"
        raise


def _from_cache(
    repo: str, kind: str, revision: str, patterns: Sequence[str], because: FetchError
) -> HubFiles:
    lacks = f"{because} and the cache {constants.HF_HUB_CACHE} does not hold"
    look = partial(snapshot_download, repo, repo_type=kind, revision=revision)
    checksums = {}
    try:
        root = Path(look(allow_patterns=list(patterns), local_files_only=True))
        held = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
        paths = {name: root / name for name in _selected(held, patterns, root.name)}
        for name, path in paths.items():
            checksums |= _checked(name, path)
    except (OSError, ValueError):  # no snapshot of the revision, or one known to be incomplete
        raise FetchError(f"{lacks} {repo} at revision {revision!r}", because.mend) from None
    except ChecksumError as error:
        mend = f"delete {_blob(path)} and fetch it again"
        raise FetchError(f"{because} and a file in the cache is damaged: {error}", mend) from None
    except FetchError as error:
        why = f"{lacks} all of {repo}: {error}"
        raise FetchError(why, because.mend, code=error.code) from None
    return HubFiles(root.name, paths, checksums)


def _blob(path: Path) -> Path:
    """Return what a cached file links to, or the file itself where there are no links."""
    # One step only: the blob may link on, to a store that names files by another hash.
    return Path(os.path.normpath(path.parent / path.readlink())) if path.is_symlink() else path


def _checked(name: str, path: Path, stated: tuple[str, str] | None = None) -> dict[str, str]:
    """Check a file by what the hub states, or else by the name under which the cache holds it."""
    held = _blob(path).name
    if stated is None and re.fullmatch(r"[0-9a-f]{64}", held):
        stated = "sha256", held
    elif stated is None and COMMIT.fullmatch(held):
        stated = "git blob sha1", held
    if stated is None:
        log.warning("the hub gives no checksum of %s", name)
        return {}
    check_file(path, *stated)
    return {name: f"{'sha256' if stated[0] == 'sha256' else 'git'}:{stated[1]}"}
