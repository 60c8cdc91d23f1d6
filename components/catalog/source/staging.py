"""Rows on their way from a source into the catalogue: sorted and grouped on disk, never in memory.

An SQLite file holds drafts, queries, judgements and rejects; pictures that came as bytes wait in a spool
file beside it. Memory use is SQLite's page cache plus eight bytes per product, whatever the source's size.
"""

from __future__ import annotations

import json
import os
import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

from components.catalog.format.union_find import root
from components.catalog.source.drafts import Draft
from components.catalog.source.values.texts import RowProblem

TABLES = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;
CREATE TABLE products (number INTEGER PRIMARY KEY, product_id TEXT, draft TEXT, member_of INTEGER);
CREATE TABLE group_keys (key TEXT, number INTEGER);
CREATE TABLE asked (kind TEXT, query_id TEXT, product_id TEXT, row TEXT);
CREATE TABLE rejects (kind TEXT, file TEXT, row INTEGER, field TEXT, reason TEXT, product_id TEXT);
"""


class Staged(NamedTuple):
    """A draft with its group and with where it came from."""

    draft: Draft
    group_id: str
    file: str
    row: int


class Staging(ExitStack):
    """The staged rows of one source, in a work folder that the caller removes; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(parents=True)
        self.product_count = 0
        # One writer and reader at a time, but the reader may be another thread than the writer was.
        base = sqlite3.connect(folder / "rows.sqlite", isolation_level=None, check_same_thread=False)
        self._base = self.enter_context(closing(base))
        self._base.executescript(TABLES)
        self._base.execute("BEGIN")
        self._spool = self.enter_context((folder / "images").open("w+b"))

    def add_product(self, draft: Draft, file: str, row: int) -> None:
        """Keep a draft; its pictures' bytes go to the spool."""
        image, *more = (self._spooled(picture) for picture in (draft.image, *draft.more_images))
        kept = draft._replace(group_keys=[], image=image, more_images=more)
        text = json.dumps([*kept, file, row], ensure_ascii=False)
        number = self.product_count
        self._base.execute("INSERT INTO products VALUES (?, ?, ?, NULL)", (number, draft.product_id, text))
        # Rows with one id are one product told twice: they may not end up in two splits.
        keys = {f"product_id={draft.product_id}", *draft.group_keys} if draft.group_keys else set()
        self._base.executemany(
            "INSERT INTO group_keys VALUES (?, ?)", [(key, number) for key in sorted(keys)]
        )
        self.product_count += 1

    def _spooled(self, picture: str | bytes) -> Any:
        """A path as it is, or the place of bytes in the spool."""
        if isinstance(picture, str):
            return picture
        place = [self._spool.tell(), len(picture)]
        self._spool.write(picture)
        return place

    def add(self, kind: str, row: dict[str, Any]) -> None:
        """Keep a query (``kind`` is query) or a judgement (qrel)."""
        values = (kind, row["query_id"], row.get("product_id"), json.dumps(row))
        self._base.execute("INSERT INTO asked VALUES (?, ?, ?, ?)", values)

    def reject(self, kind: str, file: str, row: int, problem: RowProblem) -> None:
        """Set a row of a product, query or qrel aside; ``row`` is its number in the file, from 1."""
        values = (kind, file, row, problem.field, problem.reason, problem.row_id)
        held = [_clean(value) if isinstance(value, str) else value for value in values]
        self._base.execute("INSERT INTO rejects VALUES (?, ?, ?, ?, ?, ?)", held)

    def group(self) -> None:
        """Join products that share a group key, through any chain of them (union-find)."""
        self._spool.flush()
        self._base.execute("CREATE INDEX by_id ON products (product_id, number)")
        parent = array("q", range(self.product_count))
        last_key, last = None, -1
        for key, number in self._base.execute("SELECT key, number FROM group_keys ORDER BY key, number"):
            if key == last_key:
                parent[root(parent, number)] = root(parent, last)
            last_key, last = key, number
        # A group is named after its smallest product id, whatever the order of the rows.
        name = array("q", [-1]) * self.product_count
        order = self._base.execute("SELECT number FROM products ORDER BY product_id, number")
        for (number,) in order:
            if name[root(parent, number)] < 0:
                name[root(parent, number)] = number
        pairs = ((name[root(parent, number)], number) for number in range(self.product_count))
        self._base.executemany("UPDATE products SET member_of = ? WHERE number = ?", pairs)

    def products(self) -> Iterator[Staged]:
        """Yield drafts by product id, rows of equal ids in their own order; call ``group`` before."""
        rows = self._base.cursor().execute(
            "SELECT p.draft, g.product_id FROM products p JOIN products g ON g.number = p.member_of"
            " ORDER BY p.product_id, p.number"
        )
        for text, group_id in rows:
            *values, file, row = json.loads(text)
            draft = Draft(*values)
            held = {name: tuple(v) if isinstance(v, list) else v for name, v in draft.attributes.items()}
            yield Staged(draft._replace(attributes=held), group_id, file, row)

    def image_bytes(self, place: list[int]) -> bytes:
        """A spooled picture, by the place that stands for it in a staged draft; safe from any thread."""
        return os.pread(self._spool.fileno(), place[1], place[0])

    def asked(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield queries by id, or judgements by query and product."""
        order = "SELECT row FROM asked WHERE kind = ? ORDER BY query_id, product_id, rowid"
        return (json.loads(text) for (text,) in self._base.cursor().execute(order, (kind,)))

    def rejects(self) -> Iterator[dict[str, Any]]:
        """Yield rejected rows by kind, file and row."""
        rows = self._base.cursor().execute("SELECT * FROM rejects ORDER BY kind, file, row, field")
        names = [name for name, *_ in rows.description]
        return (dict(zip(names, row, strict=True)) for row in rows)

    def worst_reject(self) -> str:
        """What is most often wrong with rejected rows, with one of the reasons and their number."""
        row = self._base.execute(
            "SELECT field, MIN(reason), COUNT(*) FROM rejects GROUP BY kind, field ORDER BY 3 DESC, field"
        ).fetchone()
        return f"{row[0]} in {row[2]} rows, such as: {row[1]}" if row else "nothing was rejected"


def _clean(text: str) -> str:
    """Text that can be stored: source rows may hold lone surrogates, which have no UTF-8 form."""
    return text.encode("utf-8", "replace").decode()
