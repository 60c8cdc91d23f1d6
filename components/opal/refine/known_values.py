"""Which values listings of the train split state of free-text attributes."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import lru_cache

from components.catalog.format.attributes import facts
from components.catalog.format.schema import CatalogSchema
from components.evidence.listing import SellerListing


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
                    kept_values = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: self._most]
                    self._counts[(listing.category, name)] = Counter(dict(kept_values))

    @lru_cache(maxsize=4096)  # noqa: B019 - lives as long as the one stage that uses it
    def usual(self, category: str, name: str) -> tuple[str, ...]:
        """Values that several listings state, most frequent first."""
        counts = self._counts.get((category, name), Counter())
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(value for value, count in ranked[: self._most] if count >= self._min_count)
