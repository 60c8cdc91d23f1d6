"""What a model writes about the held-out products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.catalog.format.schema import CatalogSchema
from components.opal.evaluate.listings.held_out import HeldOutListings
from components.opal.model.certainty.certainty import Certainty
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
        self,
        model: ListingModel,
        note: dict[str, Any],
        held_out: HeldOutListings,
        what: str,
        certainty: Certainty | None = None,
    ) -> tuple[list[Generated], list[Generated]]:
        """Listings of every product, written freely and held to the schema.

        Args:
            note: of the model's ``listing.json``. what: name of the row, for the line of progress.
            certainty: of the model, by which values are changed and confidences calibrated.
        """
        pictures = catalogue_pictures(tower_of(model.model), note["image_px"], self.paths)
        shown = pictures.take(held_out.positions)
        decoding = Decoding(self.params.batch_size, note["max_new_tokens"], note["precision"])
        generator = ListingGenerator(model, note, self.schema, decoding)
        categories = [target.category for target in held_out.targets]
        printed = [listing.printed if listing else frozenset() for listing in held_out.refined]
        free, held = generator.both(shown, categories, what=what, printed=printed)
        if certainty is None:
            return free, held
        sure, also = (certainty.calibrated(answers, categories, generator.titled) for answers in (free, held))
        same = (h is f for f, h in zip(free, held, strict=True))  # which the count of tokens asks
        return sure, [f if as_before else h for f, h, as_before in zip(sure, also, same, strict=True)]
