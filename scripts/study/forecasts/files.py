"""Files of forecasts and of similarities, with metadata of the run in the schema.

Of forecasts, a row each: `task_name`, `window_index` (int32), `item_id`, `target` (its column),
`context_length` (int32, time steps given), `predictions` (the point forecast) and a column a
quantile level, named by it (``"0.1"``); the last are lists of float64, a value a step of the
horizon. Rows follow the suite's tasks, then windows, then fev's items.

Of similarities, a row a series and a row group a batch: `task_name`, `window_index` (int32),
`batch` (int32, counted within task and window), `item_id`, and `similarity`, a list of float64: to
the series of the batch, in the order of its rows. Batches are those of a forecast whose series mix.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from chronos2_attention.errors import InputError

KEY_COLUMNS = ("task_name", "window_index", "item_id", "target")
LISTS = pa.list_(pa.float64())
KEY_TYPES = dict(zip(KEY_COLUMNS, (pa.string(), pa.int32(), pa.string(), pa.string()), strict=True))
# What a file of forecasts says of its run, and every table of results after it.
RUN_COLUMNS = (
    *("study", "variant", "model", "weights_fingerprint"),
    *("device", "dtype", "backend", "chunk_size"),
)


def list_column(values: np.ndarray) -> pa.ListArray:
    """Return a matrix (n, horizon) as an Arrow list column of n lists of float64."""
    n, horizon = values.shape
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float64).ravel())
    return pa.ListArray.from_arrays(pa.array(np.arange(n + 1) * horizon, pa.int32()), flat)


def quantile_columns(names: Sequence[str]) -> list[str]:
    """Return those of a file's column names that are quantile levels, in the file's order."""
    return [name for name in names if name.startswith("0.")]


def matrix(column: pa.ChunkedArray, what: str) -> np.ndarray:
    """Return an Arrow list column, all of one length, as a float64 matrix (n, horizon)."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
    if len(lengths) != 1:
        raise InputError("forecasts of one task differ in length", what, "make the file again")
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float64).reshape(-1, int(lengths[0]))


def group_sizes(file: pq.ParquetFile) -> np.ndarray:
    """Return the number of rows of each row group: int64, shape (n_groups,)."""
    groups = map(file.metadata.row_group, range(file.num_row_groups))
    return np.fromiter((group.num_rows for group in groups), np.int64)


def ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return sums over counts, NaN where there is nothing to count."""
    return np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0)


class RowWriter:
    """Write rows about items, a row group a call of `write`; `types` of columns, in order."""

    def __init__(
        self,
        path: str | os.PathLike,
        types: Mapping[str, pa.DataType],
        metadata: Mapping[str, object],
    ) -> None:
        texts = {str(key): str(value) for key, value in metadata.items()}
        self.schema = pa.schema(list(types.items()), metadata=texts)
        # Numbers of a forecast hardly repeat: a dictionary of them costs time and room.
        plain = {"compression": "zstd", "use_dictionary": False}
        self._writer = pq.ParquetWriter(path, self.schema, **plain)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, **columns: object) -> None:
        """Append n rows: of each column a matrix (n, horizon), n values, or one for all rows."""
        n = len(columns["item_id"])
        arrays = []
        for field in self.schema:
            values = columns[field.name]
            if field.type == LISTS:
                arrays.append(list_column(values))
            elif isinstance(values, str | int | float | np.integer):
                arrays.append(pa.repeat(pa.scalar(values, field.type), n))
            else:
                arrays.append(pa.array(values, field.type))
        table = pa.Table.from_arrays(arrays, schema=self.schema)
        self._writer.write_table(table, row_group_size=max(1, n))

    def add_metadata(self, metadata: Mapping[str, str]) -> None:
        """Add key/value strings that are known only once the work is done."""
        self._writer.add_key_value_metadata({str(k): str(v) for k, v in metadata.items()})


class ForecastWriter(RowWriter):
    """Write a file of forecasts at quantile levels, each in (0, 1)."""

    def __init__(
        self,
        path: str | os.PathLike,
        quantile_levels: Sequence[float],
        metadata: Mapping[str, object],
    ) -> None:
        self.quantile_levels = sorted(quantile_levels)
        lists = ["predictions", *map(str, self.quantile_levels)]
        types = {**KEY_TYPES, "context_length": pa.int32(), **dict.fromkeys(lists, LISTS)}
        super().__init__(path, types, metadata)

    def write_window(
        self,
        task_name: str,
        window_index: int,
        target: str,
        item_ids: Sequence[str],
        context_lengths: np.ndarray,
        point: np.ndarray,
        quantiles: np.ndarray,
    ) -> None:
        """Append a target's `point` (n, horizon), `quantiles` (n, horizon, n_levels), sorted."""
        self.write(
            task_name=task_name,
            window_index=window_index,
            target=target,
            item_id=item_ids,
            context_length=context_lengths,
            predictions=point,
            **{str(q): quantiles[:, :, i] for i, q in enumerate(self.quantile_levels)},
        )


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """Return the run's key/value strings from a file of forecasts or scores."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        mend = "delete it, then run the same command again"
        raise InputError(f"not a readable Parquet file ({error})", str(path), mend) from error
    decoded = {key.decode(): value.decode() for key, value in metadata.items()}
    decoded.pop("ARROW:schema", None)
    return decoded


def read_window(
    source: pads.Dataset,
    task_name: str,
    window_index: int,
    target: str,
    ids: tuple[str, str] | None = None,
) -> pa.Table:
    """Rows of one task, window and target, of the items between `ids` as strings; or InputError."""
    wanted = {"task_name": task_name, "window_index": window_index, "target": target}
    filters = [(name, "==", value) for name, value in wanted.items()]
    if ids is not None:
        filters += [("item_id", ">=", ids[0]), ("item_id", "<=", ids[1])]
    table = source.to_table(filter=pq.filters_to_expression(filters), use_threads=False)
    if table.num_rows == 0:
        what = f"no forecast of task {task_name!r}, window {window_index}, target {target!r}"
        raise InputError(what, source.files[0], "make the forecasts again for this suite")
    return table


def gather_pieces(
    pieces: Sequence[str | os.PathLike], path: str | os.PathLike, tasks: Sequence[str]
) -> None:
    """Join files of forecasts or scores, whose row groups hold one window and target, in order."""
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


SIMILARITY_TYPES = {
    **{name: KEY_TYPES[name] for name in ("task_name", "window_index")},
    **{"batch": pa.int32(), "item_id": pa.string(), "similarity": LISTS},
}


class SimilarityFile:
    """A file of similarities, opened once and read a batch at a time."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.metadata = read_metadata(path)
        self._file = pq.ParquetFile(path)
        sizes = group_sizes(self._file)
        firsts = np.cumsum(sizes) - sizes
        keys = self._file.read(["task_name", "window_index", "item_id"]).take(firsts)
        self._group_of = {tuple(row.values()): group for group, row in enumerate(keys.to_pylist())}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def batch(self, task_name: str, window_index: int, item_ids: Sequence[str]) -> np.ndarray:
        """Return the similarities of a batch, which its items tell, in their order: (n, n)."""
        group = self._group_of.get((task_name, window_index, item_ids[0]))
        rows = None
        if group is not None:
            rows = self._file.read_row_group(group, ["item_id", "similarity"])
        if rows is None or rows["item_id"].to_pylist() != list(item_ids):
            what = f"no similarities of a batch of {len(item_ids)} series from {item_ids[0]!r} "
            what += f"(task {task_name!r}, window {window_index})"
            mend = "make the file again with the batch size and the suite of the forecast"
            raise InputError(what, str(self.path), mend)
        return matrix(rows["similarity"], str(self.path))
