"""From an entry of the registry to a table with provenance, written whole.

See `study.data.sources` for the sources and `study.data.series_table` for the one layout.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronos2_attention.errors import InputError
from study.config.datasets import (
    DatasetSpec,
)
from study.data.series_table import ROWS_AT_ONCE
from study.jobs.files import atomic_path, sha256_of_file

if TYPE_CHECKING:
    import pyarrow as pa


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
        In the layout of `study.data.series_table`, sorted by id.
    provenance:
        Source, revision or version and checksums; the same on every machine.

    Raises
    ------
    InputError
        If the mirror is no directory, the data cannot be had, a checksum differs,
        or the data violate the layout.
    """
    from study.data import sources
    from study.data.series_table import validate

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
        from study.data.recipes import resample_table

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
