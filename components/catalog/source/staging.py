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
from pathlib import Path
from typing import Any, NamedTuple

from components.catalog.format.union_find import root
from components.catalog.source.drafts import Draft

TABLES = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;
CREATE TABLE products (number INTEGER PRIMARY KEY, product_id TEXT, draft TEXT, member_of INTEGER);
CREATE TABLE group_keys (key TEXT, number INTEGER);
CREATE TABLE queries (query_id TEXT, query TEXT);
CREATE TABLE qrels (query_id TEXT, product_id TEXT, qrel TEXT);
CREATE TABLE rejects (kind TEXT, file TEXT, row INTEGER, field TEXT, reason TEXT, product_id TEXT);
"""


class Staged(NamedTuple):
    """A draft with its group and with where it came from."""

    draft: Draft
    group_id: str
    file: str
    row: int


class Reject(NamedTuple):
    """A row set aside, with its place and the reason; ``kind`` is product, query or qrel."""

    kind: str
    file: str
    row: int  # in that file, from 1
    field: str
    reason: str
    product_id: str  # as far as it is known


class Staging:
    """The staged rows of one source, in a work folder that the caller removes; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.product_count = 0
        # One writer and reader at a time, but the reader may be another thread than the writer was.
        self._base = sqlite3.connect(folder / "rows.sqlite", isolation_level=None, check_same_thread=False)
        self._base.executescript(TABLES)
        self._base.execute("BEGIN")
        self._spool = (folder / "images").open("w+b")

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()
        self._spool.close()

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

    def add_query(self, query: dict[str, str]) -> None:
        """Keep a query."""
        self._base.execute("INSERT INTO queries VALUES (?, ?)", (query["query_id"], json.dumps(query)))

    def add_qrel(self, qrel: dict[str, Any]) -> None:
        """Keep a judgement."""
        values = (qrel["query_id"], qrel["product_id"], json.dumps(qrel))
        self._base.execute("INSERT INTO qrels VALUES (?, ?, ?)", values)

    def reject(self, reject: Reject) -> None:
        """Set a row aside."""
        values = [_clean(value) if isinstance(value, str) else value for value in reject]
        self._base.execute("INSERT INTO rejects VALUES (?, ?, ?, ?, ?, ?)", values)

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

    def queries(self) -> Iterator[dict[str, Any]]:
        """Yield queries by id."""
        rows = self._base.cursor().execute("SELECT query FROM queries ORDER BY query_id, rowid")
        return (json.loads(text) for (text,) in rows)

    def qrels(self) -> Iterator[dict[str, Any]]:
        """Yield judgements by query and product."""
        rows = self._base.cursor().execute("SELECT qrel FROM qrels ORDER BY query_id, product_id, rowid")
        return (json.loads(text) for (text,) in rows)

    def rejects(self) -> Iterator[dict[str, Any]]:
        """Yield rejected rows by kind, file and row."""
        rows = self._base.cursor().execute("SELECT * FROM rejects ORDER BY kind, file, row, field")
        return (Reject(*row)._asdict() for row in rows)

    def worst_reject(self) -> str:
        """What is most often wrong with rejected rows, with one of the reasons and their number."""
        row = self._base.execute(
            "SELECT field, MIN(reason), COUNT(*) FROM rejects GROUP BY kind, field ORDER BY 3 DESC, field"
        ).fetchone()
        return f"{row[0]} in {row[2]} rows, such as: {row[1]}" if row else "nothing was rejected"


def _clean(text: str) -> str:
    """Text that can be stored: source rows may hold lone surrogates, which have no UTF-8 form."""
    return text.encode("utf-8", "replace").decode()
