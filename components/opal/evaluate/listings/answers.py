"""What a model writes about the held-out products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from components.catalog.format.schema import CatalogSchema
from components.opal.evaluate.listings.held_out import HeldOutListings
from components.opal.model.certainty.abstain import StatedAnswer, about_point, threshold_of, without_doubtful
from components.opal.model.certainty.certainty import Certainty
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.language.pictures import category_boxes, pictures_of
from components.opal.model.params import DescribeParams, ListingEvalParams
from components.opal.model.writing.generate import Decoding, Generated, ListingGenerator
from components.stage.paths import Paths

USUAL_POINT = DescribeParams()  # of a profile that says nothing else


class DescribedAnswers(NamedTuple):
    """What ``vitrine describe`` would leave of answers, and a sentence on what it leaves out.

    ``boxes``: x0 y0 x1 y1 of each photo that was read, None of a whole one; empty where all are whole.
    """

    stated: list[StatedAnswer]
    point: str
    boxes: Sequence[Sequence[float] | None] = ()


class Written(NamedTuple):
    """Answers written freely and held to the schema; and the latter without what is doubtful."""

    free: list[Generated]
    held: list[Generated]
    described: DescribedAnswers


@dataclass(frozen=True)
class Asking:
    """How models are asked about held-out products."""

    params: ListingEvalParams
    schema: CatalogSchema
    paths: Paths
    point: DescribeParams = USUAL_POINT

    def answers(
        self,
        model: ListingModel,
        note: dict[str, Any],
        held_out: HeldOutListings,
        what: str,
        certainty: Certainty | None = None,
    ) -> Written:
        """Listings of every product, written freely and held to the schema.

        Args:
            note: of the model's ``listing.json``. what: name of the row, for the line of progress.
            certainty: of the model, by which values are changed and confidences calibrated.
        """
        pictures = pictures_of(model.model, note, self.paths)
        shown = pictures.take(held_out.positions)
        decoding = Decoding(self.params.batch_size, note["max_new_tokens"], note["precision"])
        generator = ListingGenerator(model, note, self.schema, decoding)
        categories = [target.category for target in held_out.targets]
        printed = [listing.printed if listing else frozenset() for listing in held_out.refined]
        free, held = generator.both(shown, categories, what=what, printed=printed)
        if certainty is not None:
            sure, also = (
                certainty.calibrated(answers, categories, generator.titled) for answers in (free, held)
            )
            same = [h is f for f, h in zip(free, held, strict=True)]  # which the count of tokens asks
            free, held = sure, [f if alike else h for f, h, alike in zip(sure, also, same, strict=True)]
        described = self._described(held, categories, generator, certainty)
        if note["crop"]:
            found, at = category_boxes(self.paths), held_out.positions
            described = described._replace(
                boxes=[None if found.fallback[i] else found.boxes[i].tolist() for i in at]
            )
        return Written(free, held, described)

    def _described(
        self,
        held: Sequence[Generated],
        categories: Sequence[str],
        generator: ListingGenerator,
        certainty: Certainty | None,
    ) -> DescribedAnswers:
        """As ``vitrine describe`` states them; whether a photo is unlike all others is not asked here."""
        asked = self.point.precision, self.point.completion
        least = 0.0 if certainty is None else threshold_of(certainty, *asked)
        stated = [
            without_doubtful([one], least, [False], partial(generator.titled, category))[0]
            for one, category in zip(held, categories, strict=True)
        ]
        return DescribedAnswers(stated, about_point(certainty, *asked))
