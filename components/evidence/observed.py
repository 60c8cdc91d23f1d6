"""What the train split shows of a catalogue's words and pictures: one pass, bounded memory."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.catalog.format.attributes import facts
from components.catalog.format.schema import CatalogSchema
from components.evidence.example_pictures import ExamplePictures
from components.evidence.listing import SellerListing
from components.evidence.params import EvidenceParams, WordParams
from components.evidence.synonyms import Synonyms
from components.evidence.words import Words


class SiblingValues:
    """Which values the other products of a group state, in SQLite: groups grow with the catalogue."""

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


@dataclass(frozen=True)
class ObservedEvidence:
    """Everything that evidence is read from besides the schema; :meth:`add` all batches, then :meth:`finish`.

    Words and pictures are counted on the train split alone; which values siblings state (products of one
    group, which lies in one split) on all.
    """

    words: Words
    synonyms: Synonyms
    pictures: ExamplePictures | None  # None where pictures are not asked
    siblings: SiblingValues

    def add(self, batch: Sequence[SellerListing]) -> None:
        """Read some listings, each of them once."""
        train = [listing for listing in batch if listing.split == "train"]
        for listing in train:
            self.words.add(listing.title, listing.description, listing.product_type)
            self.synonyms.add(listing)
        if self.pictures is not None:
            self.pictures.add(train)
        self.siblings.add(batch)

    def finish(self) -> None:
        """All listings are read."""
        self.words.finish()
        self.synonyms.finish()
        self.siblings.finish()


def nothing_yet(
    schema: CatalogSchema, words: WordParams, support: EvidenceParams | None, scratch: Path
) -> ObservedEvidence:
    """An observation to be filled; without ``support`` pictures are not asked.

    Args:
        scratch: folder for what may grow with the catalogue.
    """
    return ObservedEvidence(
        Words(words, schema),
        Synonyms(words, schema),
        ExamplePictures(schema, support) if support else None,
        SiblingValues(scratch / "siblings.sqlite"),
    )
