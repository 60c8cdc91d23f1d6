"""What the train split shows of a catalogue's words and pictures: one pass, bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.catalog.format.schema import CatalogSchema
from components.evidence.example_pictures import ExamplePictures
from components.evidence.listing import SellerListing
from components.evidence.params import EvidenceParams, WordParams
from components.evidence.sibling_values import SiblingValues
from components.evidence.synonyms import Synonyms
from components.evidence.words import Words


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
