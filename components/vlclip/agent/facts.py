"""The facts of a product, and the check of a text against them.

A fact is an attribute and a value. It is supported when seller and picture together make it likely enough
(:mod:`components.vlclip.agent.evidence`). A text may name supported facts, the product's type, words of its
title that many titles of the type use, and function words; whatever else it says is taken out and counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.catalog.format.attributes import Attributes, of_pairs
from components.encoder.model.features.captions import attribute_phrase
from components.evidence.mentions import Fact, Lexicon
from components.evidence.words import stem, words

FUNCTION_WORDS = frozenset(
    word
    for line in ("a an and at by for from in is it its", "no of on or the this to with without")
    for word in line.split()
)
LEADING = frozenset(("a", "an", "no", "the"))  # may follow a function word: "with a", "with no"
PLAIN = re.compile(r"[\w\s,.;:'()/-]*")  # beyond these, a text holds markup or shouting


@dataclass(frozen=True)
class KnownFact:
    """A supported value: its probability, whether the seller states it, and whether pictures show it."""

    name: str
    value: str
    support: float
    stated: bool
    visible: bool


@dataclass(frozen=True)
class FactCheck:
    """What a text says, held against the facts.

    Attributes:
        supported: facts it states that hold. unsupported: those that do not. strange: words with no ground.
        missing: facts that hold and it does not state. clean: the text without what has no ground.
    """

    supported: tuple[Fact, ...]
    unsupported: tuple[Fact, ...]
    strange: tuple[str, ...]
    missing: tuple[Fact, ...]
    clean: str


@dataclass(frozen=True)
class ProductFacts:
    """All that may be said of one product.

    Attributes:
        support: probability of each fact that could be asked about. allowed: the facts a text may state.
        best: the facts it should state, in the schema's order; one per attribute that is not multiple.
        title_words: words of the title that are the shop's own, in their order.
    """

    lexicon: Lexicon
    corrected: Callable[[str], list[str]]  # words of a text, misspelt ones replaced
    support: Mapping[Fact, float]
    allowed: frozenset[Fact]
    best: tuple[KnownFact, ...]
    title_words: tuple[str, ...]

    def check(self, text: str, most_characters: int) -> FactCheck:
        """Hold a text against the facts."""
        tokens = self.corrected(text)
        supported, unsupported, strange = dict[Fact, None](), dict[Fact, None](), list[str]()
        kept: list[str] = []
        at = 0
        for mention in self.lexicon.mentions(tokens):
            kept += self._grounded(tokens[at : mention.start], strange)
            at = mention.end
            held = next((f for f in mention.facts if f in self.allowed), None)
            if held is not None:
                supported[held] = None
                kept.append(held[1])
            else:
                unsupported[mention.facts[0]] = None
        kept += self._grounded(tokens[at:], strange)
        if self._names_type(tokens):
            supported |= dict.fromkeys(sorted(self.lexicon.implied & self.allowed))
        # plain: equal to its own correction, without markup, and not in capitals
        plain = PLAIN.fullmatch(text) is not None and words(text) == tokens and not text.isupper()
        clean = text if plain and not unsupported and not strange else _trim(kept)
        return FactCheck(
            tuple(supported),
            tuple(unsupported),
            tuple(dict.fromkeys(strange)),
            tuple((f.name, f.value) for f in self.best if (f.name, f.value) not in supported),
            capped(" ".join(clean.split()), most_characters),
        )

    def _names_type(self, tokens: Sequence[str]) -> bool:
        wanted = self.lexicon.type_words
        places = range(len(tokens) - len(wanted) + 1)
        return bool(wanted) and any(tuple(tokens[k : k + len(wanted)]) == wanted for k in places)

    def _grounded(self, tokens: Sequence[str], strange: list[str]) -> list[str]:
        """Tokens that need no fact behind them; the others are added to ``strange``."""
        kept = []
        for token in tokens:
            free = token in FUNCTION_WORDS or token in self.lexicon.free_words or token in self.title_words
            if free or stem(token) in self.lexicon.name_stems:
                kept.append(token)
            else:
                strange.append(token)
        return kept


def _trim(tokens: Sequence[str]) -> str:
    """Tokens as a text, without function words that have lost what they led to or stand twice."""
    kept: list[str] = []
    for token in tokens:
        joins = token in FUNCTION_WORDS and token not in LEADING
        if kept and joins and kept[-1] in FUNCTION_WORDS:
            kept[-1] = token
        elif not kept or kept[-1] != token:
            kept.append(token)
    while kept and kept[-1] in FUNCTION_WORDS:
        kept.pop()
    while kept and kept[0] in FUNCTION_WORDS:
        kept.pop(0)
    return " ".join(kept)


def capped(text: str, most_characters: int) -> str:
    """The text cut at a word's end, at most so long."""
    if len(text) <= most_characters:
        return text
    cut = text[: most_characters + 1].rpartition(" ")[0] or text[:most_characters]
    return cut.rstrip(" ,.;:")


@dataclass(frozen=True)
class FactWriter:
    """Writes a text from facts: ``red striped wool hat, cap style, accent beige``.

    Args:
        common: attributes that most categories share; their values speak for themselves and stand in front.
        closed: names of all closed attributes.
    """

    common: frozenset[str]
    closed: frozenset[str]
    most_characters: int

    def text(self, product_type: str, facts: Sequence[Fact], title_words: Sequence[str]) -> str:
        """The text; what does not fit is left out from its end."""
        own = set(map(stem, words(product_type)))
        told = [f for f in facts if not own.issuperset(map(stem, words(f[1])))]  # the type says those itself
        front = [v for n, v in told if n in self.common and "_" not in n]
        behind = [self._phrase(n, v) for n, v in told if not (n in self.common and "_" not in n)]
        behind.sort(key=lambda phrase: phrase.startswith("no "))  # what is absent comes last
        text = " ".join([*front, product_type]).strip()
        for phrase in [*behind, " ".join(title_words)]:
            if phrase and len(text) + 2 + len(phrase) <= self.most_characters:
                text += f", {phrase}"
        return capped(text, self.most_characters)

    def _phrase(self, name: str, value: str) -> str:
        if name in self.common:
            return attribute_phrase(name, value, self.closed)
        said = name.replace("_", " ")
        known = set(map(stem, words(value)))
        return value if known & set(map(stem, words(said))) else f"{value} {said}"


def seller_facts(row: Mapping[str, Any]) -> Attributes:
    """The attributes that a seller's table states, without empty ones."""
    return of_pairs(pair for pair in row["attributes"] if pair["value"])
