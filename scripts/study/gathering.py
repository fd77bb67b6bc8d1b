"""Putting pieces of forecasts, or of their scores, together."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pyarrow.parquet as pq

from study.forecast_files import KEY_COLUMNS, read_metadata


def gather_pieces(
    pieces: Sequence[str | os.PathLike], path: str | os.PathLike, tasks: Sequence[str]
) -> None:
    """Join files of forecasts or of scores by task and window, a row group at a time.

    Parameters
    ----------
    pieces:
        Files whose row groups hold one window and target each, in the order in which their series
        follow each other.
    path:
        File to write.
    tasks:
        Names of the suite's tasks in its order.
    """
    files = [pq.ParquetFile(piece) for piece in pieces]
    metadata = [read_metadata(piece) for piece in pieces]
    backends = {name for entry in metadata for name in entry["backend"].split("+")}
    joined = metadata[0] | {"backend": "+".join(sorted(backends - {""})), "pieces": len(pieces)}
    rank = {name: index for index, name in enumerate(tasks)}
    parts: list[tuple[tuple, int, int]] = []
    for number, file in enumerate(files):
        for group in range(file.num_row_groups):
            first = next(file.iter_batches(1, row_groups=[group], columns=list(KEY_COLUMNS)))
            task, window, _, target = first.to_pylist()[0].values()
            parts.append(((rank[task], window, target), number, group))
    schema = files[0].schema_arrow.with_metadata({k: str(v) for k, v in joined.items()})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for _, number, group in sorted(parts):
            table = files[number].read_row_group(group).cast(schema)
            writer.write_table(table, row_group_size=max(1, table.num_rows))
