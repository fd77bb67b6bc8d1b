"""The data layer: a registry of data sets, and their tables with provenance.

The registry (``config/datasets.yaml``) says where each data set comes from; see
`study.sources` for the sources and `study.series_table` for the one layout
that all of them are brought to.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronos2_attention.errors import InputError
from study.config_files import load_checked_yaml
from study.files import atomic_path, sha256_of_file
from study.specs import DatasetSpec, FactorGroups, PackageTable, Recipe, SourceFile, TimeAxis

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DatasetSpec", "fetch", "find_spec", "load_registry", "write_dataset"]

# Series in a row group, and what later steps load, forecast and write together.
ROWS_AT_ONCE = 1024


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


def fetch(
    spec: DatasetSpec, *, mirror: str | Path | None = None, offline: bool = False
) -> tuple[pa.Table, dict[str, Any]]:
    """Get a data set and check it.

    Parameters
    ----------
    spec:
        An entry of the registry.
    mirror:
        Directory looked into before the network: ``<repo>/<config>.parquet`` or, as
        on the hub, ``<repo>/<config>/*.parquet``; ``<folder>/<file>`` for URLs.
    offline:
        Do not use the network; what the Hugging Face cache holds still counts.

    Returns
    -------
    table:
        In the layout of `study.series_table`, sorted by id.
    provenance:
        Source, revision or version and checksums; the same on every machine.

    Raises
    ------
    InputError
        If the mirror is no directory, the data cannot be had, a checksum differs,
        or the data violate the layout.
    """
    from study import sources
    from study.series_table import validate

    mirror = Path(mirror) if mirror else None
    if mirror is not None and not mirror.is_dir():
        raise InputError("no such directory", f"mirror={mirror}", "set mirror to one, or unset it")
    if spec.source == "hub":
        table, provenance = sources.fetch_hub(spec, mirror, offline)
    elif spec.source == "url":
        table, provenance = sources.fetch_url(spec, mirror, offline)
    elif spec.source == "local":
        table, provenance = sources.fetch_local(spec)
    elif spec.source == "synthetic":
        table, provenance = sources.draw_synthetic(spec)
    else:
        table, provenance = sources.fetch_package(spec)
    if spec.resample is not None:
        from study.resampling import resample_table

        table = resample_table(table, spec.resample, spec.aggregate, spec.name)
        provenance |= {"resample": spec.resample, "aggregate": spec.aggregate}
    return table, {**provenance, "freq": validate(table, spec.name)}


def write_dataset(
    table: pa.Table, provenance: dict[str, Any], parquet_path: str | Path
) -> tuple[Path, Path]:
    """Write a table as Parquet and its sidecar as JSON beside it, both whole or neither.

    Parameters
    ----------
    table, provenance:
        As `fetch` returns them.
    parquet_path:
        Ends in ``.parquet``; the sidecar has the same name and ends in ``.json``.

    Returns
    -------
    The two paths. The sidecar holds the provenance and ``series``, ``observations``
    (values that are not NaN), ``timestamps``, ``columns`` and ``parquet_sha256``;
    no time of day, so that the same source gives the same bytes.
    """
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    parquet_path = Path(parquet_path)
    sidecar_path = parquet_path.with_suffix(".json")
    targets = table.column_names[2:]
    observed = sum(
        int(np.count_nonzero(~np.isnan(pc.list_flatten(table[name]).to_numpy())))
        for name in targets
    )
    with atomic_path(parquet_path) as parquet, atomic_path(sidecar_path) as sidecar:
        pq.write_table(table, parquet, compression="zstd", row_group_size=ROWS_AT_ONCE)
        record = {
            **provenance,
            "dataset": parquet_path.stem,
            "series": table.num_rows,
            "timestamps": pc.sum(pc.list_value_length(table["timestamp"])).as_py(),
            "observations": observed,
            "columns": targets,
            "parquet_sha256": sha256_of_file(parquet),
        }
        sidecar.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return parquet_path, sidecar_path


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
