"""What a model writes about the held-out products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.catalog.format.schema import CatalogSchema
from components.opal.evaluate.listings.held_out import HeldOutListings
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.language.pictures import catalogue_pictures, tower_of
from components.opal.model.params import ListingEvalParams
from components.opal.model.writing.generate import Decoding, Generated, ListingGenerator
from components.stage.paths import Paths


@dataclass(frozen=True)
class Asking:
    """How models are asked about held-out products."""

    params: ListingEvalParams
    schema: CatalogSchema
    paths: Paths

    def answers(
        self, model: ListingModel, note: dict[str, Any], held_out: HeldOutListings, what: str
    ) -> tuple[list[Generated], list[Generated]]:
        """Listings of every product, written freely and held to the schema.

        Args:
            note: of the model's ``listing.json``. what: name of the row, for the line of progress.
        """
        pictures = catalogue_pictures(tower_of(model.model), note["image_px"], self.paths)
        shown = pictures.take(held_out.positions)
        decoding = Decoding(self.params.batch_size, note["max_new_tokens"], note["precision"])
        generator = ListingGenerator(model, note, self.schema, decoding)
        return generator.both(shown, [t.category for t in held_out.targets], what=what)
