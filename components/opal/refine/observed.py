"""What the train split shows of the catalogue's language, values and pictures: one pass, bounded memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from components.catalog.format.attributes import facts
from components.catalog.format.schema import CatalogSchema
from components.evidence.listing import SellerListing
from components.evidence.observed import ObservedEvidence, nothing_yet
from components.evidence.words import most_common
from components.opal.refine.params import RefineParams


class KnownValues:
    """Values of free-text attributes, counted in the train split by category; bounded by ``most``."""

    def __init__(self, most: int, min_count: int) -> None:
        self._most, self._min_count = most, min_count
        self._counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)

    def add(self, listing: SellerListing, schema: CatalogSchema) -> None:
        """Count the free-text values of one listing."""
        category = schema.categories.get(listing.category)
        for name, value in facts(listing.attributes):
            attribute = category.attributes.get(name) if category else None
            if attribute is not None and attribute.type == "string":
                counts = self._counts[(listing.category, name)]
                counts[value] += 1
                if len(counts) > 4 * self._most:
                    self._counts[(listing.category, name)] = most_common(counts, self._most)

    @lru_cache(maxsize=4096)  # noqa: B019 - lives as long as the one stage that uses it
    def usual(self, category: str, name: str) -> tuple[str, ...]:
        """Values that several listings state, most frequent first."""
        counts = most_common(self._counts.get((category, name), Counter()), self._most)
        return tuple(value for value, count in counts.items() if count >= self._min_count)


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
