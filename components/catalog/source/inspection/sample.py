"""What a folder holds: its tables, a sample of their rows, and its pictures."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from components.catalog.format.errors import SourceError, WrongEncodingError
from components.catalog.source.reading.rows import read_rows, source_files
from components.catalog.source.reading.separated import USUAL
from components.catalog.source.values.paths import Fields
from components.catalog.source.values.texts import text_of

ROWS = 1000  # of each table that are looked at
MOST_FILES = 2_000_000  # names that are looked at
DIFFERENT = 2000  # values of a field that are told apart
EXAMPLES = 3
PICTURES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"))
LANGUAGE_KEYS = ("language_tag", "language", "lang", "locale")


@dataclass
class FieldFacts:
    """What the sampled rows show in one field.

    Attributes:
        filled: rows with something in it. lists: of these, rows with several values. pictures: of these, rows
            with the bytes of a picture. values: how often each text occurs, up to ``DIFFERENT`` of them.
    """

    filled: int = 0
    lists: int = 0
    pictures: int = 0
    chars: int = 0
    values: Counter[str] = field(default_factory=Counter)

    def add(self, value: Any) -> None:
        """Count what one row holds."""
        if isinstance(value, bytes) or (isinstance(value, dict) and isinstance(value.get("bytes"), bytes)):
            self.filled += 1
            self.pictures += 1
            return
        parts = value if isinstance(value, list) else [value]
        try:
            texts = [text for part in parts if (text := text_of(part))]
        except ValueError:
            return
        if texts:
            self.filled += 1
            self.lists += len(texts) > 1
            self.chars += len(texts[0])
            if texts[0] in self.values or len(self.values) < DIFFERENT:
                self.values[texts[0]] += 1

    def examples(self) -> list[str]:
        """Some values, the most frequent first."""
        return [text for text, _ in self.values.most_common(EXAMPLES)]

    @property
    def length(self) -> float:
        """Characters of a value, on average."""
        return self.chars / max(1, self.filled)


@dataclass
class SampledTable:
    """A file, or several of one form, with what its first rows show.

    Attributes:
        pattern: relative to the folder, as a mapping names it. rows: sampled. more: there are others.
        problems: reasons why rows cannot be read. encoding: that it was read with.
    """

    pattern: str
    rows: list[Fields] = field(default_factory=list)
    more: bool = False
    problems: Counter[str] = field(default_factory=Counter)
    fields: dict[str, FieldFacts] = field(default_factory=dict)
    encoding: str = USUAL


@dataclass
class Folder:
    """Tables of a folder and the relative paths of its pictures."""

    root: Path
    tables: list[SampledTable]
    pictures: set[str]

    @cached_property
    def by_name(self) -> dict[str, list[str]]:
        """The pictures by the last part of their paths."""
        found: dict[str, list[str]] = {}
        for picture in sorted(self.pictures):
            found.setdefault(PurePosixPath(picture).name, []).append(picture)
        return found


def look_into(root: Path) -> Folder:
    """Sample every table below ``root`` and list its pictures.

    Raises:
        SourceError: there is no table that can be read.
    """
    if not root.is_dir():
        raise SourceError(f"{root} is not a folder; give the folder that holds the source's files.")
    tables: list[SampledTable] = []
    pictures: set[str] = set()
    refused: list[str] = []
    for name in islice(_files(root), MOST_FILES):
        if Path(name).suffix.lower() in PICTURES:
            pictures.add(name)
        elif table := _sampled(root, name, refused):
            _put(tables, table)
    if not tables:
        told = f"{root} holds no table of products (JSON lines, CSV, TSV, XML or Parquet)."
        raise SourceError(refused[0] if refused else told)
    return Folder(root, tables, pictures)


def _files(root: Path) -> Iterator[str]:
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _sampled(root: Path, name: str, refused: list[str]) -> SampledTable | None:
    """A table, or None; ``refused`` is told why a file that should be one cannot be read at all."""
    table = SampledTable(name)
    try:
        (file,) = source_files(root, glob.escape(name))
    except (SourceError, ValueError):  # of another form
        return None
    try:
        _fill(table, file)
    except WrongEncodingError as error:
        table = SampledTable(name, encoding=error.likely)
        try:
            _fill(table, file)
        except SourceError:
            refused.append(str(error))
    except SourceError as error:  # what was read of it may still show its fields
        refused.append(str(error))
    for fields in table.rows:
        for path, value in _values(fields):
            table.fields.setdefault(path, FieldFacts()).add(value)
    return table if table.rows or table.problems else None


def _fill(table: SampledTable, file: Path) -> None:
    for row in read_rows(file, (), table.encoding):
        if len(table.rows) == ROWS:
            table.more = True
            break
        if row.problem:
            table.problems[row.problem] += 1
        elif row.fields:
            table.rows.append(row.fields)


def _put(tables: list[SampledTable], table: SampledTable) -> None:
    """Add a table; files of one folder, kind and form are one, ``part-*.parquet``."""
    here = Path(table.pattern)
    for known in tables:
        there = Path(known.pattern)
        alike = there.parent == here.parent and there.suffix == here.suffix
        if alike and known.fields and known.fields.keys() == table.fields.keys():
            stems = os.path.commonprefix((there.stem.rstrip("*"), here.stem))  # noqa: RUF071 - of names
            known.pattern = (here.parent / f"{stems}*{here.suffix}").as_posix()
            known.more = True
            return
    table.pattern = glob.escape(table.pattern)
    tables.append(table)


def _values(row: Fields, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Paths of a row with their values; a list is one field, a list of languages one per language."""
    for name, value in row.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and value and not isinstance(value.get("bytes"), bytes):
            yield from _values(value, f"{path}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield from _of_objects(path, [member for member in value if isinstance(member, dict)])
        else:
            yield path, value


def _of_objects(path: str, members: list[Fields]) -> Iterator[tuple[str, Any]]:
    for key in LANGUAGE_KEYS:
        if all(isinstance(member.get(key), str) for member in members):
            for tag in sorted({member[key] for member in members}):
                these = [member for member in members if member[key] == tag]
                names = (name for name in these[0] if name != key)
                yield from ((f"{path}.[{key}={tag}].{n}", [m.get(n) for m in these]) for n in names)
            return
    if all(isinstance(member.get("bytes"), bytes) for member in members):
        yield path, members[0]
        return
    for name in dict.fromkeys(name for member in members for name in member):
        yield f"{path}.{name}", [member.get(name) for member in members]
