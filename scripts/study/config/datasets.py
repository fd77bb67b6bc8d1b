"""What the registry of data sets says, as plain values: cheap to import, no data touched."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronos2_attention.errors import InputError
from study.config.yaml_files import load_checked_yaml

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class TimeAxis:
    """Where the timestamp of a row comes from.

    Parameters
    ----------
    start:
        Timestamp of the first row; the rows follow in order at the data set's
        frequency. For tables without a time, and for those whose real times are
        irregular (trading days): such timestamps are nominal.
    column:
        Column that holds the time, where `start` is not given.
    format:
        ``iso``, ``year``, ``decimal_year`` (R's time series: 1949.0833 is
        February 1949), ``year_quarter`` (``1981 Q1``), ``iso_week`` (``1991 W06``,
        its Monday) or a `strptime` pattern.
    shift:
        Added to every timestamp, a pandas offset such as ``-14D``.
    """

    start: str | None = None
    column: str | None = None
    format: str = "iso"
    shift: str | None = None


@dataclass(frozen=True)
class Recipe:
    """How a table becomes series.

    Parameters
    ----------
    time:
        See `TimeAxis`.
    columns:
        Value columns, each a series of its own; ``"*"`` for all that are neither time
        nor id. Empty only with ``aggregate="count"``.
    id:
        Columns that tell the series of a long table apart.
    name:
        Name of the series where neither `id` nor several value columns give one,
        a prefix otherwise.
    aggregate:
        ``sum``, ``mean`` or ``count`` of the rows that fall into one step; without
        it two rows with one timestamp are an error.
    gaps:
        What an absent row means: ``none`` (there is none, else an error),
        ``missing`` (not observed, NaN) or ``zero`` (nothing happened).
    """

    time: TimeAxis
    columns: tuple[str, ...] | str = ()
    id: tuple[str, ...] = ()
    name: str = ""
    aggregate: str | None = None
    gaps: str = "none"


@dataclass(frozen=True)
class SourceFile:
    """A CSV file at a URL, with the checksum it must have.

    Exactly one of `sha256` and `git_blob_sha1` (the object name that git gives
    the file) is set. `item` is the id of the series it holds.
    """

    item: str
    file: str
    url: str
    sha256: str | None = None
    git_blob_sha1: str | None = None

    @property
    def checksum(self) -> tuple[str, str]:
        """Its kind and its digits, as `study.data.download.check_file` takes them."""
        if self.sha256 is not None:
            return "sha256", self.sha256
        return "git blob sha1", self.git_blob_sha1 or ""


@dataclass(frozen=True)
class PackageTable:
    """A table of a package, as ``group/item``, and the recipe for its series."""

    table: str
    recipe: Recipe


@dataclass(frozen=True)
class FactorGroups:
    """Independent groups of series, each driven by a factor, see `study.data.sources`.

    Parameters
    ----------
    seed:
        Of the random numbers.
    groups, leaders, followers:
        Groups, and series in each that see the factor early and in time.
    length, lead:
        Steps of each series, and steps by which leaders are early.
    noise:
        Standard deviation of the noise; the factor's is 1.
    """

    seed: int
    groups: int
    leaders: int
    followers: int
    length: int
    lead: int
    noise: float


@dataclass(frozen=True)
class DatasetSpec:
    """A data set of the registry: a name, a source and that source's fields.

    Parameters
    ----------
    name, source, description, origin:
        `source` is ``package``, ``local``, ``url``, ``hub`` or ``synthetic``; `origin`
        says who made the data and under which terms.
    freq:
        Pandas alias of the series' grid (package, and CSV of local).
    repo, config, revision:
        Hub: dataset repository, configuration (a folder of Parquet files), and
        branch or commit.
    folder, files, timestamp, targets:
        URL: folder below the mirror, the files, and the columns of each.
    resample, aggregate:
        URL: pandas alias of a coarser grid, and ``mean`` or ``sum`` of the values of a
        step; None leaves the series as they are.
    path, recipe:
        Local: a Parquet file in the layout of `study.data.series_table`, or a Parquet or
        CSV file of other rows and the recipe for them.
    package, version, tables:
        Package: the installed package, its pinned version, and the tables.
    factors:
        Synthetic: the groups of series to draw.
    """

    name: str
    source: str
    description: str = ""
    origin: str = ""
    freq: str | None = None
    repo: str | None = None
    config: str | None = None
    revision: str = "main"
    folder: str | None = None
    files: tuple[SourceFile, ...] = ()
    timestamp: str | None = None
    targets: tuple[str, ...] = ()
    resample: str | None = None
    aggregate: str | None = None
    path: str | None = None
    recipe: Recipe | None = None
    package: str | None = None
    version: str | None = None
    tables: tuple[PackageTable, ...] = ()
    factors: FactorGroups | None = None

    @property
    def mirrored(self) -> tuple[str, ...]:
        """Paths of this data set's files below a mirror; none for package and local."""
        if self.source == "hub":
            return (f"{self.repo}/{self.config}.parquet",)
        return tuple(f"{self.folder}/{file.file}" for file in self.files)


def load_registry(path: str | Path) -> dict[str, DatasetSpec]:
    """Read the registry.

    Parameters
    ----------
    path:
        A YAML file that fits ``workflow/schemas/datasets.schema.yaml``.

    Raises
    ------
    InputError
        If the file is absent or does not fit; the message names file and key.
    """
    document = load_checked_yaml(path, "datasets")
    pins = document.get("packages", {})
    registry = {}
    for name, entry in document["datasets"].items():
        fields = dict(entry)
        if entry["source"] == "url":
            fields["files"] = tuple(SourceFile(**file) for file in entry["files"])
        elif entry["source"] == "package":
            if entry["package"] not in pins:
                raise InputError(
                    f"datasets.{name}: no version is pinned for {entry['package']!r}",
                    str(path),
                    "add it to 'packages'",
                )
            fields["version"] = pins[entry["package"]]
            # What all tables share stands once, beside the list of tables.
            shared = fields.pop("recipe", {})
            fields["tables"] = tuple(
                PackageTable(table["table"], _recipe({**shared, **table}))
                for table in entry["tables"]
            )
        elif entry["source"] == "local" and "recipe" in entry:
            fields["recipe"] = _recipe(entry["recipe"])
        elif entry["source"] == "synthetic":
            fields["factors"] = FactorGroups(seed=fields.pop("seed"), **entry["factors"])
        if "targets" in fields:
            fields["targets"] = tuple(fields["targets"])
        registry[name] = DatasetSpec(name=name, **fields)
    return registry


def find_spec(registry: dict[str, DatasetSpec], name: str) -> DatasetSpec:
    """Return a data set of the registry; an unknown name is an `InputError` with near ones."""
    if name in registry:
        return registry[name]
    near = difflib.get_close_matches(name, registry, n=3) or [*sorted(registry)[:8], "..."]
    raise InputError(
        f"unknown data set {name!r}", "config/datasets.yaml", f"known: {', '.join(near)}"
    )


def _recipe(entry: dict[str, Any]) -> Recipe:
    values = entry.get("values", ())
    return Recipe(
        time=TimeAxis(**entry["time"]),
        columns=values if isinstance(values, str) else tuple(values),
        id=tuple(entry.get("id", ())),
        name=entry.get("name", ""),
        aggregate=entry.get("aggregate"),
        gaps=entry.get("gaps", "none"),
    )
