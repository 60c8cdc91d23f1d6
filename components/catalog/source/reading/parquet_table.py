"""Rows of Parquet, as values that read like what people wrote: no null and no type changes a number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog.format.errors import SourceError
from components.catalog.source.reading.row import SourceRow, composed, twice

BATCH_ROWS = 64


def parquet_rows(file: Path, columns: Sequence[str]) -> Iterator[SourceRow]:
    """Yield the rows; only the named top-level ``columns`` that exist are read.

    A row with a value that Python cannot hold (a date beyond its calendar, text that is no UTF-8, a map with
    a key twice) is yielded with its problem.

    Raises:
        SourceError: no Parquet file, not to its end, or one with two columns of one name.
    """
    number = 0
    try:
        with pq.ParquetFile(file, pre_buffer=False) as parquet:
            names = parquet.schema_arrow.names
            if double := twice([composed(name) for name in names]):
                raise SourceError(f"{file} has two columns named {double!r}; rename one of them.")
            # Without a known column all are read, so that the caller can say which fields exist.
            wanted = set(columns)
            known = [name for name in names if name in wanted or composed(name) in wanted] or names
            for batch in parquet.iter_batches(BATCH_ROWS, columns=known):
                yield from _rows(batch, number)
                number += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        where = f" after row {number}" if number else ""
        raise SourceError(
            f"{file} is not a readable Parquet file{where}: {' '.join(str(error).split())[:200]}."
        ) from None


def _rows(batch: pa.RecordBatch, before: int) -> Iterator[SourceRow]:
    names = [composed(name) for name in batch.schema.names]
    columns = [_cells(column) for column in batch.columns]
    for place in range(batch.num_rows):
        cells = [column[place] for column in columns]
        bad = next((pair for pair in zip(names, cells, strict=True) if isinstance(pair[1], Exception)), None)
        problem = f"{bad[0]!r} holds what cannot be read ({str(bad[1])[:80]})" if bad else ""
        yield SourceRow(before + place + 1, {} if bad else dict(zip(names, cells, strict=True)), problem)


def _cells(column: pa.Array) -> list[Any]:
    """The values of a column, each value that cannot be had as the exception that says why."""
    shorter = _with_floats(column.type)
    try:
        values = column.to_pylist(maps_as_pydicts="strict")
    except (ValueError, OverflowError, KeyError):
        values = [_cell(value) for value in column]
    return [_shortened(value, column.type) for value in values] if shorter else values


def _cell(value: pa.Scalar) -> Any:
    try:
        return value.as_py(maps_as_pydicts="strict")
    except (ValueError, OverflowError, KeyError) as error:
        return error


def _with_floats(kind: pa.DataType) -> bool:
    """Whether values of this type hold floating-point numbers of less than double precision."""
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        return True
    return any(_with_floats(kind.field(place).type) for place in range(kind.num_fields))


def _shortened(value: Any, kind: pa.DataType) -> Any:
    """Single-precision numbers as the shortest decimal that means them: 0.1, not 0.10000000149011612."""
    if value is None or isinstance(value, Exception):
        return value
    if isinstance(value, float):
        return float(str(np.float16(value) if pa.types.is_float16(kind) else np.float32(value)))
    if isinstance(value, list):
        return [_shortened(one, kind.value_type) for one in value]
    if isinstance(value, dict) and pa.types.is_map(kind):
        return {name: _shortened(one, kind.item_type) for name, one in value.items()}
    if isinstance(value, dict):
        types = {field.name: field.type for field in (kind.field(i) for i in range(kind.num_fields))}
        return {name: _shortened(one, types[name]) for name, one in value.items()}
    return value
