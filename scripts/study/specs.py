"""What the registry says of a data set, as plain values: cheap to import, no data touched."""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True)
class PackageTable:
    """A table of a package, as ``group/item``, and the recipe for its series."""

    table: str
    recipe: Recipe


@dataclass(frozen=True)
class FactorGroups:
    """Independent groups of series, each driven by a factor, see `study.factor_series`.

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
        Local: a Parquet file in the layout of `study.series_table`, or a Parquet or
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
