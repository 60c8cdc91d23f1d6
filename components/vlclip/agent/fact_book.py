"""The facts of every product of a catalogue, gathered from table, title, description and picture."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from components.catalog.format.attributes import each
from components.catalog.format.schema import CatalogSchema
from components.evidence.mentions import Fact, Lexicon
from components.evidence.words import stem, words
from components.vlclip.agent.evidence import Kind, TypeAttribute, ValueProbabilities, kind_of
from components.vlclip.agent.facts import FUNCTION_WORDS, FactWriter, KnownFact, ProductFacts, seller_facts
from components.vlclip.agent.params import ClarifyParams


class FactBook:
    """Facts by row of the catalogue.

    Args:
        rows: catalogue rows without pictures, as the evidence was made from.
    """

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        evidence: ValueProbabilities,
        schema: CatalogSchema,
        params: ClarifyParams,
    ) -> None:
        self._rows, self._evidence, self._schema, self._params = rows, evidence, schema, params
        self._lexicons = {
            kind: Lexicon(kind[1].strip() or kind[0], {a.name: a.values for a in attributes})
            for kind, attributes in evidence.kinds.items()
        }
        self._titles: dict[Kind, Counter[str]] = defaultdict(Counter)
        for row in rows if params.title_words else ():
            self._titles[kind_of(row)].update(set(self._corrected(row["title"])))

    def _corrected(self, text: str) -> list[str]:
        """The words of a text, misspelt ones replaced."""
        return [self._evidence.words.meant(word) or word for word in words(text)]

    @cached_property
    def _schema_words(self) -> frozenset[str]:
        found: set[str] = set()
        for category in self._schema.categories.values():
            for product_type in category.product_types:
                found.update(words(product_type))
            for name, attribute in category.attributes.items():
                found.update(words(name.replace("_", " ")))
                for value in attribute.values:
                    found.update(words(value))
        return frozenset(found)

    @cached_property
    def composer(self) -> FactWriter:
        """Writes texts from this catalogue's facts."""
        uses = Counter(name for c in self._schema.categories.values() for name in c.attributes)
        half = len(self._schema.categories) / 2
        common = frozenset(name for name, n in uses.items() if n > half)
        closed = frozenset(self._schema.closed_attributes())
        return FactWriter(common, closed, self._params.max_characters)

    def of(self, row: int) -> ProductFacts:
        """What is known of the product in a row: what is allowed to be said, and how well it is supported."""
        product = self._rows[row]
        lexicon = self._lexicons[kind_of(product)]
        title = self._corrected(product["title"])
        told = self._told(lexicon, title, self._corrected(product["description"]))
        table = seller_facts(product)
        support: dict[Fact, float] = {}
        allowed: set[Fact] = set()
        best: list[KnownFact] = []
        for attribute in self._evidence.attributes(row):
            own, said = each(table.get(attribute.name)), told.get(attribute.name, [])
            for held in self._weigh(row, attribute, own, said, support):
                allowed.add((held.name, held.value))
                if held.visible or self._params.silent_facts:
                    best.append(held)
        return ProductFacts(
            lexicon,
            self._corrected,
            support,
            frozenset(allowed),
            tuple(best),
            self._title_words(product, title),
        )

    def _weigh(
        self,
        row: int,
        attribute: TypeAttribute,
        own: Sequence[str],
        said: Sequence[str],
        support: dict[Fact, float],
    ) -> Iterator[KnownFact]:
        """The values of an attribute that are likely enough; ``support`` takes every value's probability.

        Where it holds one value that is the likeliest; of several, each that the seller states is looked at.
        """
        values, probabilities = attribute.values, self._evidence.probabilities(row, attribute, own)
        for value, p in zip(values, probabilities.tolist(), strict=True):
            support[attribute.name, value] = p
        visible, limits = self._evidence.tells(row, attribute.name), self._params.evidence
        tabled = [at for at, value in enumerate(values) if value in own]
        looked_at = tabled if attribute.multiple and tabled else [int(probabilities.argmax())]
        for at in looked_at:
            value, p = values[at], float(probabilities[at])
            stated = value in own or value in said
            if tabled and value not in own and not visible:
                continue  # a text alone does not overrule the table: anybody can write one
            may_add = visible and attribute.coverage >= limits.added_coverage and p >= limits.added_support
            if (stated and p >= limits.support) or may_add:
                yield KnownFact(attribute.name, value, p, stated, visible)

    def _told(self, lexicon: Lexicon, *texts: Sequence[str]) -> dict[str, list[str]]:
        """Values that title and description name; of a value of several attributes, the likeliest."""
        told: dict[str, list[str]] = {}
        for tokens in texts:
            for mention in lexicon.mentions(tokens):
                name, value = mention.facts[0]
                told.setdefault(name, []).append(value)
        return told

    def _title_words(self, product: Mapping[str, Any], title: Sequence[str]) -> tuple[str, ...]:
        if not self._params.title_words:
            return ()
        counts = self._titles[kind_of(product)]
        own = set(map(stem, words(product["product_type"])))
        kept = [
            w
            for w in dict.fromkeys(title)
            if counts[w] >= self._params.title_word_products
            and w not in FUNCTION_WORDS
            and w not in self._schema_words
            and stem(w) not in own
            and not w.isdigit()
            and len(w) > 1
        ]
        return tuple(kept[: self._params.title_words])
