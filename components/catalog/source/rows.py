"""Rows of a source file, one at a time: JSON lines, CSV or TSV, or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from components.catalog.format.errors import SourceError
from components.catalog.source.tables.feeds import feed_rows

JSON_LINES = (".jsonl", ".ndjson")
SEPARATED = (".csv", ".tsv")
FEEDS = (".xml", ".rss", ".atom")
FIELD_LIMIT = 16 * 2**20  # characters in one CSV field; a picture in base64 must fit
BATCH_ROWS = 64


class SourceRow(NamedTuple):
    """One row: its number in the file from 1, its fields, and why it has none (empty when it has)."""

    number: int
    fields: dict[str, Any]
    problem: str = ""


def source_files(root: Path, pattern: str) -> list[Path]:
    """The files that ``pattern`` names under ``root``, in order of their names.

    Raises:
        SourceError: there is none, or one is of a kind that cannot be read.
    """
    if not root.is_dir():
        raise SourceError(f"{root} is not a folder; give the folder that holds the source's files.")
    files = sorted(path for path in root.glob(pattern) if path.is_file())
    if not files:
        here = ", ".join(sorted(path.name for path in root.iterdir())[:12]) or "nothing"
        raise SourceError(
            f"{root / pattern} does not exist ({root} holds {here}); correct the mapping or the path."
        )
    for file in files:
        if file.suffix.lower() not in (*JSON_LINES, *SEPARATED, *FEEDS, ".parquet"):
            raise SourceError(
                f"{file} is none of .jsonl, .ndjson, .csv, .tsv, .xml and .parquet; convert it first."
            )
    return files


def read_rows(file: Path, columns: Sequence[str]) -> Iterator[SourceRow]:
    """Yield the rows of a file; of Parquet, only the named top-level ``columns`` that exist are read.

    A line that is not a row (broken JSON, too many CSV fields) is yielded with its problem.

    Raises:
        SourceError: the file cannot be read any further.
    """
    suffix = file.suffix.lower()
    try:
        if suffix in JSON_LINES:
            yield from _json_lines(file)
        elif suffix in SEPARATED:
            yield from _separated(file)
        elif suffix in FEEDS:
            yield from (SourceRow(number, fields) for number, fields in enumerate(feed_rows(file), 1))
        else:
            yield from _parquet(file, columns)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{file} cannot be read: {' '.join(str(error).split())[:200]}.") from None


def _json_lines(file: Path) -> Iterator[SourceRow]:
    # By bytes, so that one badly encoded line is one bad row and not the end of the file.
    with file.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            try:
                loaded = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield SourceRow(number, {}, f"is not JSON ({str(error)[:80]})")
                continue
            if isinstance(loaded, dict):
                yield SourceRow(number, loaded)
            else:
                yield SourceRow(number, {}, "is JSON, but not an object of fields")


def _separated(file: Path) -> Iterator[SourceRow]:
    csv.field_size_limit(FIELD_LIMIT)
    with file.open(encoding="utf-8-sig", newline="") as handle:
        header = handle.readline()
        handle.seek(0)
        delimiter = "\t" if file.suffix.lower() == ".tsv" else max(",;\t|", key=header.count)
        for number, row in enumerate(csv.DictReader(handle, delimiter=delimiter), 1):
            if None in row:
                yield SourceRow(number, {}, "has more fields than the header")
            else:
                yield SourceRow(number, row)


def _parquet(file: Path, columns: Sequence[str]) -> Iterator[SourceRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(file, pre_buffer=False) as parquet:
            names = parquet.schema_arrow.names
            # Without a known column all are read, so that the caller can say which fields exist.
            known = [name for name in names if name in set(columns)] or names
            for batch in parquet.iter_batches(BATCH_ROWS, columns=known):
                for row in batch.to_pylist():
                    number += 1
                    yield SourceRow(number, row)
    except pa.ArrowException as error:
        raise SourceError(
            f"{file} is not a readable Parquet file: {' '.join(str(error).split())[:200]}."
        ) from None
