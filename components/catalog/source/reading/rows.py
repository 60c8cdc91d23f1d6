"""Rows of a source file, one at a time: JSON, CSV or TSV, an XML feed, or Parquet; also packed by gzip."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from components.catalog.format.errors import SourceError, WrongEncodingError
from components.catalog.source.reading.feeds import feed_rows
from components.catalog.source.reading.json_objects import json_rows
from components.catalog.source.reading.parquet_table import parquet_rows
from components.catalog.source.reading.row import SourceRow as SourceRow
from components.catalog.source.reading.separated import REMEDY, USUAL, separated_rows

JSON = (".jsonl", ".ndjson", ".json")
SEPARATED = (".csv", ".tsv")
FEEDS = (".xml", ".rss", ".atom")


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
        suffix, packed = _suffix(file)
        if suffix not in (*JSON, *SEPARATED, *FEEDS, ".parquet") or (packed and suffix == ".parquet"):
            raise SourceError(
                f"{file} is none of .jsonl, .ndjson, .json, .csv, .tsv, .xml (each also as .gz)"
                " and .parquet; convert it first."
            )
    return files


def read_rows(file: Path, columns: Sequence[str], encoding: str = USUAL) -> Iterator[SourceRow]:
    """Yield the rows of a file; of Parquet, only the named top-level ``columns`` that exist are read.

    What is no row (broken JSON, a quote that is not closed, a byte that is not UTF-8) is yielded with its
    problem. ``encoding`` is that of CSV and TSV: JSON is UTF-8, XML names its own, and Parquet has none.

    Raises:
        SourceError: the file cannot be read any further, or is in another encoding.
    """
    suffix, _ = _suffix(file)
    if suffix == ".parquet":
        yield from parquet_rows(file, columns)
        return
    row = SourceRow(0, {})
    try:
        with _opened(file) as handle:
            for row in _text_rows(file, handle, suffix, encoding):
                yield row
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        where = f" after row {row.number}" if row.number else ""
        raise SourceError(f"{file} cannot be read{where}: {' '.join(str(error).split())[:200]}.") from None


def _text_rows(file: Path, handle: BinaryIO, suffix: str, encoding: str) -> Iterator[SourceRow]:
    if suffix in FEEDS:
        yield from (SourceRow(number, fields) for number, fields in enumerate(feed_rows(file, handle), 1))
        return
    start = handle.read(4)
    handle.seek(0)
    wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start
    if wide and (encoding == USUAL or suffix in JSON):
        remedy = "save it as UTF-8" if suffix in JSON else REMEDY.replace("cp1252", "utf-16")
        raise WrongEncodingError(
            f"{file} is not UTF-8 from its first row on (it looks like UTF-16); {remedy}.", "utf-16"
        )
    if suffix in JSON:
        yield from json_rows(handle, lines=suffix != ".json")
        return
    decoded = "utf-8-sig" if encoding == USUAL else encoding
    with io.TextIOWrapper(handle, decoded, errors="surrogateescape", newline="") as text:
        yield from separated_rows(file, text, suffix == ".tsv", encoding)


def _suffix(file: Path) -> tuple[str, bool]:
    """The suffix that tells the format, and whether the file is packed by gzip."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    packed = suffixes[-1:] == [".gz"]
    return (suffixes[:-1] if packed else suffixes)[-1:][0] if len(suffixes) > packed else "", packed


def _opened(file: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file)) if _suffix(file)[1] else file.open("rb")
