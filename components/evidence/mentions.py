"""Which values of the schema a text names, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from components.catalog.format.attributes import each
from components.catalog.format.schema import CatalogSchema
from components.evidence.denial import denied
from components.evidence.listing import SellerListing
from components.evidence.synonyms import Synonyms
from components.evidence.words import Words, stem, words

Fact = tuple[str, str]  # attribute, value
NEAR = 2  # words between a value and the name of its attribute that still belong together
# How much a word of an attribute's name says, by its distance from the value (negative: before it).
NEARNESS = {1: 3, -1: 2, 2: 1, -2: 1}
ADJACENT = 2


@dataclass(frozen=True)
class Mention:
    """A value that a text names: tokens ``start..end``, and the facts it may state, likeliest first."""

    start: int
    end: int
    facts: tuple[Fact, ...]


class Lexicon:
    """The values that one product type can take, ready to be found in texts.

    Args:
        product_type: its name. values: attribute to its values.
    """

    def __init__(self, product_type: str, values: Mapping[str, Sequence[str]]) -> None:
        self.product_type, self.values = product_type, values
        self.type_words = tuple(words(product_type))
        self.free_words = frozenset(self.type_words)
        self._names = {name: frozenset(map(stem, words(name.replace("_", " ")))) for name in values}
        self.name_stems = frozenset().union(*self._names.values())
        facts: dict[tuple[str, ...], list[Fact]] = {}
        for name, several in values.items():
            for value in several:
                if phrase := tuple(words(value)):
                    facts.setdefault(phrase, []).append((name, value))
        own = set(map(stem, self.type_words))
        # facts that the type itself says: casual, of casual shoes
        self.implied = frozenset(
            f for p, named in facts.items() if own.issuperset(map(stem, p)) for f in named
        )
        self._phrases: dict[str, list[tuple[tuple[str, ...], list[Fact]]]] = {}
        for phrase in sorted(facts, key=lambda p: (-len(p), p)):
            self._phrases.setdefault(phrase[0], []).append((phrase, facts[phrase]))

    def mentions(self, tokens: Sequence[str]) -> list[Mention]:
        """As :meth:`find`, with the facts that a value of several attributes most likely states."""
        found = self.find(tokens, self.type_words)
        return [replace(m, facts=self._likeliest(tokens, m)) for m in found]

    def find(self, tokens: Sequence[str], type_words: tuple[str, ...]) -> list[Mention]:
        """Values named in ``tokens`` and not denied, longest phrase first at each place, none overlapping.

        Args:
            type_words: of the product's type, which name no value: "table lamp" names no table.
        """
        found, at, size = [], 0, len(type_words)
        while at < len(tokens):
            if size and tuple(tokens[at : at + size]) == type_words:
                at += size
                continue
            for phrase, facts in self._phrases.get(tokens[at], ()):
                end = at + len(phrase)
                if tuple(tokens[at:end]) == phrase:
                    # nor is a part of a denied one said: "faux patent leather" is no leather
                    if not denied(tokens, at, end):
                        found.append(Mention(at, end, tuple(facts)))
                    at = end
                    break
            else:
                at += 1
        return found

    def _likeliest(self, tokens: Sequence[str], found: Mention) -> tuple[Fact, ...]:
        """The facts a value may state: attributes whose name stands nearest; plain names before others."""
        if len(found.facts) == 1:
            return found.facts
        scores = {fact: self._nearness(tokens, found, fact[0]) for fact in found.facts}
        best = max(scores.values())
        # a name right beside the value leaves no doubt; one a word further may belong to the next phrase
        left = [f for f in found.facts if scores[f] == best] if best >= ADJACENT else found.facts
        return tuple(sorted(left, key=lambda fact: (len(self._names[fact[0]]), -scores[fact])))

    def named(self, tokens: Sequence[str], mention: Mention, name: str) -> bool:
        """Whether the attribute's name stands beside a value ("long sleeves")."""
        beside = tokens[max(0, mention.start - NEAR) : mention.end + NEAR]
        return any(stem(token) in self._names[name] for token in beside)

    def _nearness(self, tokens: Sequence[str], found: Mention, name: str) -> int:
        score = 0
        for distance, weight in NEARNESS.items():
            at = found.end - 1 + distance if distance > 0 else found.start + distance
            if 0 <= at < len(tokens) and stem(tokens[at]) in self._names[name]:
                score += weight
        return score


class Mentions:
    """Finds the values of a category's closed attributes in a listing's title and description."""

    def __init__(self, schema: CatalogSchema, known: Words, synonyms: Synonyms) -> None:
        self._known, self._synonyms = known, synonyms
        self._lexicons = {
            name: Lexicon("", {n: a.values for n, a in category.attributes.items() if a.values})
            for name, category in schema.categories.items()
        }

    @lru_cache(maxsize=65_536)  # noqa: B019 - lives as long as the one stage that uses it
    def corrected(self, word: str) -> str:
        """A word as it should be written."""
        return self._known.meant(word) or word

    def of(self, listing: SellerListing) -> dict[Fact, bool]:
        """(attribute, value) to whether the attribute's name stands beside it ("long sleeves").

        A value that the listing states for another attribute is named for that one, and left out here.
        """
        found: dict[Fact, bool] = {}
        lexicon, stated = self._lexicons.get(listing.category), listing.attributes
        if lexicon is None:
            return found
        for text in (listing.title, listing.description):
            tokens = [self.corrected(word) for word in words(text)]
            for mention in self._mentions(lexicon, tokens, listing.product_type):
                for name, value in mention.facts:
                    elsewhere = any(value in each(v) for n, v in stated.items() if n != name)
                    if value in each(stated.get(name)) or not elsewhere:
                        named = lexicon.named(tokens, mention, name)
                        found[name, value] = found.get((name, value), False) or named
        return found

    def _mentions(self, lexicon: Lexicon, tokens: Sequence[str], product_type: str) -> list[Mention]:
        """Values in the schema's words, and in words that the train split uses for one of them."""
        learned = (
            Mention(at, at + 1, (self._synonyms.meanings[word],))
            for at, word in enumerate(tokens)
            if word in self._synonyms.meanings and not denied(tokens, at, at + 1)
        )
        known = [m for m in learned if m.facts[0][0] in lexicon.values]
        return [*lexicon.find(tokens, tuple(words(product_type))), *known]
