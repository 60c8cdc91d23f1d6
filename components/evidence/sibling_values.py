"""Which values the other products of a group state, kept on disk: groups grow with the catalogue."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from components.catalog.format.attributes import facts
from components.evidence.listing import SellerListing


class SiblingValues:
    """Counts of (group, attribute, value) in one SQLite file."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(file)
        self._db.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-8000;"
            "CREATE TABLE stated (group_id TEXT, name TEXT, value TEXT)"
        )

    def add(self, listings: Sequence[SellerListing]) -> None:
        """Keep what some listings state."""
        rows = [(x.group_id, n, v) for x in listings if x.group_id for n, v in facts(x.attributes)]
        with self._db:
            self._db.executemany("INSERT INTO stated VALUES (?, ?, ?)", rows)

    def finish(self) -> None:
        """All is added; make it quick to look up."""
        with self._db:
            self._db.execute("CREATE INDEX of_group ON stated (group_id)")

    def of(self, listings: Sequence[SellerListing]) -> list[Counter[tuple[str, str]]]:
        """For each listing how many *other* products of its group state each (attribute, value)."""
        groups = sorted({x.group_id for x in listings if x.group_id})
        found: dict[str, Counter[tuple[str, str]]] = {g: Counter() for g in groups}
        for start in range(0, len(groups), 500):
            part = groups[start : start + 500]
            marks = ",".join("?" * len(part))
            query = f"SELECT group_id, name, value FROM stated WHERE group_id IN ({marks})"
            for group, name, value in self._db.execute(query, part):
                found[group][(name, value)] += 1
        return [found.get(x.group_id, Counter()) - Counter(facts(x.attributes)) for x in listings]

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
