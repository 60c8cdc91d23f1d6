"""Other tables whose rows are put into a product's row, by a key."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress

from components.catalog.format.errors import MappingError
from components.catalog.source.mapping import JoinRule, Mapping
from components.catalog.source.reading.rows import SourceRow
from components.catalog.source.values.paths import look_up, opened
from components.catalog.source.values.texts import text_of

MAX_JOINED = 100  # rows of one product; what is beyond is left aside
Read = Callable[[str, list[str]], Iterator[tuple[str, SourceRow]]]


class Joined(ExitStack):
    """The tables that ``mapping`` joins, held in a file of SQLite's own; use as a context manager.

    ``read`` yields the rows of a file of the source with the fields that are asked for. Memory does not grow
    with the tables.

    Raises:
        SourceError, MappingError: a table is missing or unreadable, or has not the fields that are asked for.
    """

    def __init__(self, mapping: Mapping, read: Read) -> None:
        super().__init__()
        self._rules = mapping.join
        base = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._base = self.enter_context(closing(base))
        self._base.execute("CREATE TABLE joined (name TEXT, key TEXT, row TEXT)")
        self._base.execute("BEGIN")
        asked = mapping.product_fields()
        for name, rule in self._rules.items():
            inside = [path.removeprefix(f"{name}.") for path in asked if path.startswith(f"{name}.")]
            self._fill(name, rule, [rule.key, *_fields_of(inside)], read)
        self._base.execute("CREATE INDEX by_key ON joined (name, key)")

    def _fill(self, name: str, rule: JoinRule, paths: list[str], read: Read) -> None:
        for _, row in read(rule.file, paths):
            key = ", ".join(_keys(row, rule.key))
            if key and not row.problem:
                kept = {path.split(".")[0]: look_up(row.fields, path.split(".")[0])[1] for path in paths}
                kept |= {path: row.fields[path] for path in paths if path in row.fields}
                text = json.dumps(kept, default=_plain)
                self._base.execute("INSERT INTO joined VALUES (?, ?, ?)", (name, key, text))

    def into(self, row: SourceRow) -> SourceRow:
        """``row`` with a field for every joined table: the list of its rows that have the key.

        Raises:
            MappingError: the row has a field of the table's name already.
        """
        fields = dict(row.fields)
        for name, rule in self._rules.items():
            if name in row.fields:
                raise MappingError(f"join.{name}: rows have a field of that name; give the table another.")
            asked = "SELECT row FROM joined WHERE name = ? AND key = ? ORDER BY rowid LIMIT ?"
            keys = ((name, key, MAX_JOINED) for key in _keys(row, rule.field))
            found = [json.loads(text) for one in keys for (text,) in self._base.execute(asked, one)]
            if found:
                fields[name] = found[:MAX_JOINED]
        return row._replace(fields=fields)


def _fields_of(inside: list[str]) -> list[str]:
    """Paths in the joined row, without the place that says which of several rows is meant."""
    return [path.split(".", 1)[-1] if path[:1] in "[-0123456789" and "." in path else path for path in inside]


def _keys(row: SourceRow, path: str) -> list[str]:
    """The keys that a field holds, several where it is a list; what is no text is none."""
    value = opened(look_up(row.fields, path)[1])
    found = []
    for one in value[:MAX_JOINED] if isinstance(value, list) else [value]:
        with suppress(ValueError):
            found.append(text_of(one))
    return [key for key in dict.fromkeys(found) if key]


def _plain(value: object) -> object:
    """What JSON has no form for: a picture as base64, anything else (a date, a decimal) as text."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
