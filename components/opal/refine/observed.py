"""What the train split shows of the catalogue's language, values and pictures: one pass, bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from components.catalog.format.schema import CatalogSchema
from components.evidence.listing import SellerListing
from components.evidence.observed import ObservedEvidence, nothing_yet
from components.opal.refine.known_values import KnownValues
from components.opal.refine.params import RefineParams


@dataclass(frozen=True)
class JudgeEvidence(ObservedEvidence):
    """Everything the offline judges know besides the schema."""

    values: KnownValues


def observe(
    batches: Iterable[list[SellerListing]], schema: CatalogSchema, params: RefineParams, scratch: Path
) -> JudgeEvidence:
    """Read every listing once; values of open attributes are counted on the train split, as words are.

    Args:
        scratch: folder for what may grow with the catalogue.
    """
    values = KnownValues(params.words.most_words, params.words.min_count)
    evidence = nothing_yet(schema, params.words, params.support, scratch)
    for batch in batches:
        evidence.add(batch)
        for listing in batch:
            if listing.split == "train":
                values.add(listing, schema)
    evidence.finish()
    return JudgeEvidence(evidence.words, evidence.synonyms, evidence.pictures, evidence.siblings, values)
