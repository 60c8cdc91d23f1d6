"""Which values a listing's own text names."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache

from components.catalog.format.schema import CatalogSchema
from components.evidence.listing import SellerListing
from components.evidence.synonyms import Synonyms
from components.evidence.words import Words, cores, phrases

NEAR = 2  # words between a value and the name of its attribute that still belong together


class Mentions:
    """Finds the values of a category's closed attributes in title and description."""

    def __init__(self, schema: CatalogSchema, words: Words, synonyms: Synonyms) -> None:
        self._words, self._synonyms = words, synonyms
        self._values: dict[str, dict[tuple[str, ...], list[tuple[str, str]]]] = {}
        self._longest = 1
        for name, category in schema.categories.items():
            found: defaultdict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
            for attribute, described in category.attributes.items():
                for value in described.values:
                    found[tuple(cores(value.replace("-", " ")))].append((attribute, value))
            self._values[name] = dict(found)
            self._longest = max([self._longest, *(min(len(p), 6) for p in found)])
        self._learned: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for word, meaning in synonyms.meanings.items():
            self._learned[word].append(meaning)

    @lru_cache(maxsize=65_536)  # noqa: B019 - lives as long as the one stage that uses it
    def _mended(self, word: str) -> str:
        return self._words.meant(word) or word

    def of(self, listing: SellerListing) -> dict[tuple[str, str], bool]:
        """(attribute, value) to whether the attribute's name stands beside it ("long sleeves").

        A value that the listing states for another attribute is named for that one, and left out here.
        """
        tokens = [
            self._mended(word)
            for text in (listing.title, listing.description)
            for word in cores(text.replace("-", " "))
        ]
        known = self._values.get(listing.category, {})
        found: dict[tuple[str, str], bool] = {}
        # longest phrase that covers a word: "two pockets" is no mention of "pockets"
        taken = [0] * len(tokens)
        hits = [
            (start, run, pair) for start, run in phrases(tokens, self._longest) for pair in known.get(run, ())
        ]
        for start, run, _ in hits:
            for at in range(start, start + len(run)):
                taken[at] = max(taken[at], len(run))
        hits += [
            (at, (word,), pair) for at, word in enumerate(tokens) for pair in self._learned.get(word, ())
        ]
        stated = listing.attributes
        for start, run, (name, value) in hits:
            if len(run) < taken[start] or (
                stated.get(name) != value and any(v == value for n, v in stated.items() if n != name)
            ):
                continue
            beside = tokens[max(0, start - NEAR) : start + len(run) + NEAR]
            qualified = any(word in beside for word in cores(name.replace("_", " ")))
            found[(name, value)] = found.get((name, value), False) or qualified
        return found
