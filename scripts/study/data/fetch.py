"""The data layer: fetch a data set, check it, and write it with its provenance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chronos2_attention.errors import InputError
from study.config.datasets import DatasetSpec
from study.data.series_table import ROWS_AT_ONCE, number_columns, validate
from study.data.sources import fetch_source
from study.jobs.files import atomic_path, sha256_of_file


def fetch(
    spec: DatasetSpec, *, mirror: str | Path | None = None, offline: bool = False
) -> tuple[pa.Table, dict[str, Any]]:
    """Get and check a data set, from the `mirror` or its source: its table and its provenance."""
    mirror = Path(mirror) if mirror else None
    if mirror is not None and not mirror.is_dir():
        raise InputError("no such directory", f"mirror={mirror}", "set mirror to one, or unset it")
    table, provenance = fetch_source(spec, mirror, offline)
    freq = validate(table, spec.name, provenance.get("time_zone", ""))
    return table, {**provenance, "source": spec.source, "freq": freq}


def write_dataset(
    table: pa.Table, provenance: dict[str, Any], parquet_path: str | Path
) -> tuple[Path, Path]:
    """Write Parquet and a JSON sidecar, whole or neither; no time of day, so that bytes repeat."""
    parquet_path = Path(parquet_path)
    sidecar_path = parquet_path.with_suffix(".json")
    numbers = number_columns(table)
    cells = np.concatenate([pc.list_flatten(table[name]).to_numpy() for name in numbers])
    with atomic_path(parquet_path) as parquet, atomic_path(sidecar_path) as sidecar:
        pq.write_table(table, parquet, compression="zstd", row_group_size=ROWS_AT_ONCE)
        record = {
            **provenance,
            "dataset": parquet_path.stem,
            "series": table.num_rows,
            "timestamps": pc.sum(pc.list_value_length(table["timestamp"])).as_py(),
            "observations": int(np.count_nonzero(~np.isnan(cells))),
            "columns": table.column_names[2:],
            "parquet_sha256": sha256_of_file(parquet),
        }
        sidecar.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return parquet_path, sidecar_path
