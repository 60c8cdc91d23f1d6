"""Words of sellers' texts: normal form, slips of the pen, and which values of the schema they name."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from components.vlclip.agent.params import SpellingParams

Fact = tuple[str, str]  # attribute, value
WORD = re.compile(r"[^\W_]+")
# How much a word of an attribute's name says, by its distance from the value (negative: before it).
NEARNESS = {1: 3, -1: 2, 2: 1, -2: 1}
ADJACENT = 2


def words(text: str) -> list[str]:
    """Letters and digits in lower case, after compatibility normalisation (NFKC)."""
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def stem(word: str) -> str:
    """A word without its plural s: attribute names are singular or plural as they come."""
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


class Spelling:
    """Maps slips to the schema's words.

    Args:
        vocabulary: words of the schema. frequency: in how many products each word occurs. A word that is
            about as common as its neighbour in the schema is a word of its own ("back" is no slip of
            "black").
    """

    def __init__(
        self, vocabulary: Collection[str], frequency: Mapping[str, int], params: SpellingParams
    ) -> None:
        known = sorted(vocabulary)
        strange = [
            w
            for w in sorted(frequency)
            if w.isalpha() and len(w) >= params.minimum_letters and w not in vocabulary
        ]
        self._right = _nearest(strange, known, frequency, params) if strange and known else {}

    def __len__(self) -> int:
        return len(self._right)

    def correct(self, tokens: Iterable[str]) -> list[str]:
        """The tokens, slips replaced."""
        return [self._right.get(t, t) for t in tokens]


def _nearest(
    strange: Sequence[str], known: Sequence[str], frequency: Mapping[str, int], params: SpellingParams
) -> dict[str, str]:
    from rapidfuzz.distance import OSA
    from rapidfuzz.process import cdist

    scores = cdist(strange, known, scorer=OSA.normalized_similarity, score_cutoff=params.minimum_similarity)
    found = {}
    for word, row in zip(strange, scores, strict=True):
        best = int(row.argmax())
        target = known[best]
        common = frequency.get(target, 0) >= params.rarer * frequency[word]
        # slips spare the first letter, other words do not: "rocks" is no slip of "socks" (Yannakoudakis and
        # Fawthrop 1983 find 1.4% of errors there)
        if row[best] and len(target) >= params.minimum_letters and common and word[0] == target[0]:
            found[word] = target
    return found


def document_frequency(texts: Iterable[str]) -> Counter[str]:
    """In how many texts each word occurs."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(words(text)))
    return counts


@dataclass(frozen=True)
class Mention:
    """A value that a text names: tokens ``start..end``, and the facts it may state, likeliest first."""

    start: int
    end: int
    facts: tuple[Fact, ...]


@dataclass
class Lexicon:
    """The values that one product type can take, ready to be found in texts.

    Args:
        values: attribute to its values. product_type: its name.
    """

    product_type: str
    values: Mapping[str, Sequence[str]]
    type_words: tuple[str, ...] = field(init=False)
    free_words: frozenset[str] = field(init=False)
    implied: frozenset[Fact] = field(init=False)  # facts that the type itself says: casual, of casual shoes
    name_stems: frozenset[str] = field(init=False)
    _phrases: dict[str, list[tuple[tuple[str, ...], list[Fact]]]] = field(init=False)
    _names: dict[str, frozenset[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.type_words = tuple(words(self.product_type))
        self.free_words = frozenset(self.type_words)
        self._names = {name: frozenset(map(stem, words(name.replace("_", " ")))) for name in self.values}
        self.name_stems = frozenset().union(*self._names.values())
        facts: dict[tuple[str, ...], list[Fact]] = {}
        for name, values in self.values.items():
            for value in values:
                if phrase := tuple(words(value)):
                    facts.setdefault(phrase, []).append((name, value))
        own = set(map(stem, self.type_words))
        self.implied = frozenset(
            f for p, named in facts.items() if own.issuperset(map(stem, p)) for f in named
        )
        self._phrases = {}
        for phrase in sorted(facts, key=lambda p: (-len(p), p)):
            self._phrases.setdefault(phrase[0], []).append((phrase, facts[phrase]))

    def mentions(self, tokens: Sequence[str]) -> list[Mention]:
        """Values named in ``tokens``, longest phrase first at each place, none overlapping."""
        found, at, size = [], 0, len(self.type_words)
        while at < len(tokens):
            if size and tuple(tokens[at : at + size]) == self.type_words:
                at += size  # "table lamp" names no table
                continue
            for phrase, facts in self._phrases.get(tokens[at], ()):
                if tuple(tokens[at : at + len(phrase)]) == phrase:
                    end = at + len(phrase)
                    found.append(Mention(at, end, self._likeliest(tokens, at, end, facts)))
                    at = end
                    break
            else:
                at += 1
        return found

    def _likeliest(
        self, tokens: Sequence[str], start: int, end: int, facts: Sequence[Fact]
    ) -> tuple[Fact, ...]:
        """The facts a value may state: attributes whose name stands nearest; plain names before others."""
        if len(facts) == 1:
            return tuple(facts)
        scores = {fact: self._nearness(tokens, start, end, fact[0]) for fact in facts}
        best = max(scores.values())
        # a name right beside the value leaves no doubt; one a word further may belong to the next phrase
        left = [f for f in facts if scores[f] == best] if best >= ADJACENT else facts
        return tuple(sorted(left, key=lambda fact: (len(self._names[fact[0]]), -scores[fact])))

    def _nearness(self, tokens: Sequence[str], start: int, end: int, name: str) -> int:
        score = 0
        for distance, weight in NEARNESS.items():
            at = end - 1 + distance if distance > 0 else start + distance
            if 0 <= at < len(tokens) and stem(tokens[at]) in self._names[name]:
                score += weight
        return score
