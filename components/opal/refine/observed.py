"""What the train split shows of the catalogue's language, values and pictures: one pass, bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from components.catalog.format.schema import CatalogSchema
from components.opal.refine.known_values import KnownValues
from components.opal.refine.listings import Listing
from components.opal.refine.params import RefineParams
from components.opal.refine.support.example_pictures import ExamplePictures
from components.opal.refine.support.sibling_values import SiblingValues
from components.opal.refine.words.synonyms import Synonyms
from components.opal.refine.words.words import Words


class Observed(NamedTuple):
    """Everything the offline judges know besides the schema."""

    words: Words
    synonyms: Synonyms
    values: KnownValues
    pictures: ExamplePictures | None  # None where pictures are not asked
    siblings: SiblingValues


def observe(
    batches: Iterable[list[Listing]], schema: CatalogSchema, params: RefineParams, scratch: Path
) -> Observed:
    """Read every listing once. Words, values and pictures are counted on the train split alone; which values
    siblings state (products of one group, which lies in one split) on all.

    Args:
        scratch: folder for what may grow with the catalogue.
    """
    pictures = ExamplePictures(schema, params.support) if params.support else None
    observed = Observed(
        Words(params.words, schema),
        Synonyms(params.words, schema),
        KnownValues(params.words.most_words, params.words.min_count),
        pictures,
        SiblingValues(scratch / "siblings.sqlite"),
    )
    for batch in batches:
        train = [listing for listing in batch if listing.split == "train"]
        for listing in train:
            observed.words.add(listing.title, listing.description, listing.product_type)
            observed.synonyms.add(listing)
            observed.values.add(listing, schema)
        if pictures is not None:
            pictures.add(train)
        observed.siblings.add(batch)
    observed.words.finish()
    observed.synonyms.finish(observed.words.counts)
    observed.siblings.finish()
    return observed
