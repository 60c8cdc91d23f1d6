"""Words that stand for an attribute's value, learned from the train split's own listings.

A title word whose listings nearly all state one value of an attribute says that value, whatever dictionary it
comes from: no list of synonyms is kept, so none can be shared with whoever wrote the listings.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from components.catalog.format.attributes import facts
from components.catalog.format.schema import CatalogSchema
from components.evidence.listing import SellerListing
from components.evidence.params import WordParams
from components.evidence.words import cores, schema_words


class Synonyms:
    """Counts which values are stated where a word stands in the title; ``finish`` decides."""

    def __init__(self, params: WordParams, schema: CatalogSchema) -> None:
        self._params = params
        self._stated: dict[str, frozenset[str]] = {
            name: frozenset(n for n, a in category.attributes.items() if a.values)
            for name, category in schema.categories.items()
        }
        self._seen: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._words: defaultdict[str, Counter[str]] = defaultdict(Counter)  # word -> types of its titles
        self._values: Counter[tuple[str, str, str]] = Counter()  # (type, attribute, value) -> listings
        self._stating: Counter[tuple[str, str]] = Counter()  # (type, attribute) -> listings
        self._own = frozenset(schema_words(schema))  # words of the schema mean what they say
        self.meanings: dict[str, tuple[str, str]] = {}  # word -> (attribute, value)

    def add(self, listing: SellerListing) -> None:
        """Count one listing."""
        words = set(cores(listing.title)) - self._own
        names = self._stated.get(listing.category, frozenset())
        stated = [(n, v) for n, v in facts(listing.attributes) if n in names]
        self._values.update((listing.product_type, n, v) for n, v in stated)
        self._stating.update((listing.product_type, n) for n in {n for n, _ in stated})
        for word in words:
            self._words[word][listing.product_type] += 1
            for name, value in stated:
                self._seen[(word, name)][value] += 1
        if len(self._seen) > 20 * self._params.most_words:
            self._forget()

    def _forget(self) -> None:
        ranked = sorted(self._seen, key=lambda key: (-self._seen[key].total(), key))
        for key in ranked[10 * self._params.most_words :]:
            del self._seen[key]
        kept = {word for word, _ in self._seen}
        for word in [w for w in self._words if w not in kept]:
            del self._words[word]

    def finish(self) -> None:
        """Choose the words that mean one value."""
        best: dict[str, tuple[float, str, str]] = {}
        for (word, name), seen in sorted(self._seen.items()):
            value, hits = max(seen.items(), key=lambda item: (item[1], item[0]))
            purity = hits / seen.total()
            if seen.total() < self._params.min_count or purity < self._params.synonym_purity:
                continue
            # A word of teddy bears goes with "plain" because teddy bears do; it does not mean it.
            if self._expected(word, name, value) > purity / 2:
                continue
            if word not in best or purity > best[word][0]:
                best[word] = (purity, name, value)
        self.meanings = {word: (name, value) for word, (_, name, value) in best.items()}
        self._seen.clear()
        self._words.clear()

    def _expected(self, word: str, name: str, value: str) -> float:
        """The share of listings that would state ``value`` if their types alone, not the word, mattered."""
        types = self._words[word]
        shares = (
            count * self._values[(kind, name, value)] / max(1, self._stating[(kind, name)])
            for kind, count in types.items()
        )
        return sum(shares) / max(1, types.total())
