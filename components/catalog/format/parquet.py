"""Rows to Parquet and back, one row group at a time, with the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.catalog.format.errors import CatalogueError

ROWS_PER_GROUP = 256
SMALL_ROWS_PER_GROUP = 65_536  # of queries and judgements
# A group is closed early when its pictures grow large, so that memory is bounded by bytes too.
BYTES_PER_GROUP = 32 * 2**20


class RowWriter:
    """Write dictionaries as rows of one Parquet file; at most one row group is held in memory."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema = schema
        self._buffer: list[dict[str, Any]] = []
        self._buffered_bytes = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _writer(path, schema)

    def add(self, row: dict[str, Any], size: int = 0) -> None:
        """Append one row; ``size`` is the bytes of its large fields."""
        self._buffer.append(row)
        self._buffered_bytes += size
        self.rows += 1
        if len(self._buffer) >= ROWS_PER_GROUP or self._buffered_bytes >= BYTES_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._buffer:
            table = pa.Table.from_pylist(self._buffer, schema=self._schema)
            self._file.write_table(table, row_group_size=len(self._buffer))
            self._buffer, self._buffered_bytes = [], 0

    def close(self) -> None:
        """Write what is buffered and the footer."""
        self._flush()
        self._file.close()

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if kind is not None:
            self._buffer = []
        self.close()


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> int:
    """Write a whole file and return its number of rows."""
    with RowWriter(path, schema) as writer:
        for row in rows:
            writer.add(row)
    return writer.rows


def write_columns(path: Path, schema: pa.Schema, rows: Iterable[object]) -> int:
    """Write a whole file of small rows, whose attributes are the columns; returns their number.

    A reader of short texts and numbers pays by the row group, so there are few.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    iterator, count = iter(rows), 0
    with _writer(path, schema) as file:
        while chunk := list(islice(iterator, SMALL_ROWS_PER_GROUP)):
            columns = [pa.array(list(map(attrgetter(f.name), chunk)), f.type) for f in schema]
            file.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(chunk))
            count += len(chunk)
    return count


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # No dictionaries and no statistics: both would keep copies of picture bytes in the footer's reach.
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=False,
        write_statistics=False,
    )


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file for reading by row group.

    Raises:
        CatalogueError: it is missing, or is not a Parquet file.
    """
    try:
        return pq.ParquetFile(path, pre_buffer=False)
    except FileNotFoundError:
        raise CatalogueError(f"{path} does not exist; build the catalogue first.") from None
    except (OSError, pa.ArrowException) as error:
        raise CatalogueError(
            f"{path} is not a readable Parquet file: {' '.join(str(error).split())[:200]}."
        ) from None


def row_groups(
    path: Path,
    columns: Sequence[str] | None = None,
    split: str | None = None,
    wanted: Callable[[pa.Table], pa.Array] | None = None,
    groups: Sequence[int] | None = None,
) -> Iterator[pa.Table]:
    """Yield the rows of a file, one table per row group; only one group is in memory.

    ``wanted`` maps a group's ``product_id`` column table to a boolean mask; groups without a wanted row are
    skipped before their other columns are read. ``groups`` are the row groups to look at, else all.

    Raises:
        CatalogueError: the file is missing or broken, or lacks a column.
    """
    file = open_parquet(path)
    names = list(columns) if columns is not None else file.schema_arrow.names
    if missing := sorted(set(names) - set(file.schema_arrow.names)):
        raise CatalogueError(
            f"{path} has no column {', '.join(missing)} (it has {', '.join(file.schema_arrow.names)})."
        )
    read = names if split is None or "split" in names else [*names, "split"]
    try:
        for group in range(file.num_row_groups) if groups is None else groups:
            mask = wanted(file.read_row_group(group, columns=["product_id"])) if wanted else None
            if mask is not None and not pc.any(mask).as_py():
                continue
            table = file.read_row_group(group, columns=read)
            if mask is not None:
                table = table.filter(mask)
            if split is not None:
                table = table.filter(pc.equal(table["split"], split))
            yield table.select(names)
    except (OSError, pa.ArrowException) as error:
        raise CatalogueError(f"{path} is damaged: {' '.join(str(error).split())[:200]}.") from None
    finally:
        file.close()
