"""Rows of CSV and TSV (RFC 4180). A row that cannot be read does not take others with it.

A quoted field may go on over lines. Where its quote is closed in a place that gives no row of the header's
length, or never, the quote was only a character: the line it stands in is set aside, and reading goes on
with the next line.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from components.catalog.format.errors import SourceError, WrongEncodingError
from components.catalog.source.reading.row import FIELD_LIMIT, SourceRow, bad_byte, composed, twice

REMEDY = "save the file as UTF-8, or give the mapping its encoding, as in encoding: cp1252"
USUAL = "utf-8"
FORMER = "cp1252"  # what most tables of offices are in that are no UTF-8; its first half is that of UTF-8
WRONG_ENCODING_ROWS = 3  # so many rows that are no UTF-8, and none that shows it is, mean another encoding


def separated_rows(file: Path, handle: TextIO, tabs: bool, encoding: str = USUAL) -> Iterator[SourceRow]:
    """Yield the rows below the header; ``handle`` was opened with ``surrogateescape`` and ``newline=""``.

    Raises:
        SourceError: the header cannot be read or names a column twice, or the file is in another encoding.
    """
    csv.field_size_limit(FIELD_LIMIT)
    first = handle.readline()
    lines = _Lines(handle, first)
    records = _records(lines, "\t" if tabs else max(",;\t|", key=first.count))
    names = _header(file, next(records, ([], 1, "")), encoding)
    lines.columns = len(names)
    broken = shown = first_broken = 0
    for number, (values, _, problem) in enumerate(records, 1):
        bad = [(name, byte) for name, value in zip(names, values, strict=False) if (byte := bad_byte(value))]
        shown += not bad and not all(map(str.isascii, values))
        if bad:
            broken, first_broken = broken + 1, first_broken or number
            problem = f"{bad[0][0]!r} holds byte {bad[0][1]}, which is not {told(encoding)}; {REMEDY}"
        elif not problem and len(values) > len(names):
            problem = "has more fields than the header"
        padded = values + [None] * (len(names) - len(values))
        yield SourceRow(number, {} if problem else dict(zip(names, padded, strict=True)), problem)
    if broken >= WRONG_ENCODING_ROWS and not shown:
        raise WrongEncodingError(
            f"{file} is not {told(encoding)} ({broken:,} rows, the first is row {first_broken}); {REMEDY}.",
            FORMER,
        )


def told(encoding: str) -> str:
    """An encoding's name for people."""
    return "UTF-8" if encoding == USUAL else encoding


def _header(file: Path, first: tuple[list[str], int, str], encoding: str) -> list[str]:
    values, _, problem = first
    names = [composed(value) for value in values]
    if problem:
        raise SourceError(f"{file}, header: {problem}.")
    if any(map(bad_byte, names)):
        raise WrongEncodingError(f"{file}, header: it is not {told(encoding)}; {REMEDY}.", FORMER)
    if double := twice(names):
        raise SourceError(f"{file} has two columns named {double!r}; rename one of them.")
    return names


class _Lines:
    """The lines of a file that can be taken back. ``columns``: how many fields a row has, once known."""

    def __init__(self, handle: TextIO, first: str) -> None:
        self._handle = handle
        self._waiting = deque([first])
        self.columns = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._waiting.popleft() if self._waiting else self._handle.readline():
            yield line

    def take_back(self, lines: list[str]) -> None:
        """Give lines back, to be read again."""
        self._waiting.extendleft(reversed(lines))


def _records(lines: _Lines, delimiter: str) -> Iterator[tuple[list[str], int, str]]:
    """Yield (values, lines taken, why it is no record) of all but lines without a value."""
    taken: list[str] = []

    def _fed() -> Iterator[str]:
        size = 0
        for line in lines:
            taken.append(line)
            size += len(line)
            if size > FIELD_LIMIT:
                raise csv.Error("a row is longer than a row may be")
            yield line

    while True:
        taken.clear()
        try:
            values = next(csv.reader(_fed(), delimiter=delimiter, strict=True), None)
            problem = ""
        except csv.Error as error:
            values, problem = [], str(error)
        if values is None:
            return
        count = len(taken)
        if count > 1 and (problem or (lines.columns and len(values) != lines.columns)):
            lines.take_back(taken[1:])
            yield [taken[0]] if bad_byte(taken[0]) else [], 1, "a quote is not closed"
        elif problem:
            open_quote = "unexpected end" in problem
            yield [], count, "a quote is not closed" if open_quote else f"is not CSV ({problem[:80]})"
        elif taken[0].strip(delimiter + "\r\n"):  # Excel leaves rows of nothing but delimiters below a table
            yield values, count, ""
