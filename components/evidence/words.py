"""Words of a title or description: how they are taken apart, and what the catalogue knows about them."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from rapidfuzz import process
from rapidfuzz.distance import OSA

from components.catalog.format.schema import CatalogSchema
from components.evidence.params import WordParams

WORD = re.compile(r"[^\W_]+")
_CORE = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)


@lru_cache(maxsize=65_536)
def affixes(token: str) -> tuple[str, str, str]:
    """What stands before, in, and after the word of a token: ``"(Red,"`` is ``("(", "Red", ",")``."""
    ((before, word, after),) = _CORE.findall(token)  # the pattern matches every text
    return before, word, after


@lru_cache(maxsize=65_536)
def core(token: str) -> str:
    """The word of a token, for comparing: without punctuation, in small letters."""
    return affixes(token)[1].casefold()


def cores(text: str) -> list[str]:
    """The words of a text, for comparing; tokens without a letter or digit are left out."""
    return [word for word in map(core, text.split()) if word]


def words(text: str) -> list[str]:
    """Letters and digits in lower case, after compatibility normalisation (NFKC), for finding values."""
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def stem(word: str) -> str:
    """A word without its plural s: attribute names are singular or plural as they come."""
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def most_common(counts: Counter[str], most: int | None = None) -> Counter[str]:
    """The most frequent ones in this order, equally frequent ones by their letters."""
    return Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]))


def _slip(word: str, meant: str) -> bool:
    """Whether ``word`` can be a slip of ``meant``: slips spare the first letter, other words do not.

    "rocks" is no slip of "socks" (Yannakoudakis and Fawthrop 1983 find 1.4% of errors there). Nor is a
    plural, however a catalogue names its types.
    """
    short, long = sorted((word, meant), key=len)
    plural = short + "s" == long and not short.endswith("s")  # "glasss" is no plural
    return word[0] == meant[0] and word != meant and not plural


def cased_like(word: str, model: str) -> str:
    """``word`` with the first letter, or all letters, as large as in ``model``."""
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word


class Words:
    """Word counts of the train split's texts; memory is bounded by ``most_words``.

    A word that the schema uses is a word, however rare.
    """

    def __init__(self, params: WordParams, schema: CatalogSchema) -> None:
        self._params = params
        self.counts: Counter[str] = Counter()
        self._cases: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._in_titles: defaultdict[str, Counter[str]] = defaultdict(Counter)  # type -> word -> titles
        self._titles: Counter[str] = Counter()
        self.of_schema = frozenset(schema_words(schema))
        self._known: list[str] = []  # what a misspelling can mean, the commonest first

    def add(self, title: str, description: str, product_type: str) -> None:
        """Count the words of one listing."""
        tokens = title.split()
        words = [core(token) for token in tokens]
        self.counts.update(word for word in words if word)
        self.counts.update(cores(description))
        if words:
            self._titles[product_type] += 1
            self._in_titles[product_type].update(set(words))
        for token, word in list(zip(tokens, words, strict=True))[1:]:  # the first word is always capitalised
            self._cases[word][affixes(token)[1]] += 1
        if len(self.counts) > 4 * self._params.most_words:
            self._forget()

    def _forget(self) -> None:
        """Drop all but the most frequent words, so that memory has a bound."""
        self.counts = most_common(self.counts, self._params.most_words)
        for rare in [w for w in self._cases if w not in self.counts]:
            del self._cases[rare]
        for words in self._in_titles.values():
            for rare in [w for w in words if w not in self.counts]:
                del words[rare]

    def finish(self) -> None:
        """Counting is over: choose the words that can be what a misspelling meant."""
        self._forget()
        known = {w for w, n in self.counts.items() if n >= self._params.min_count} | self.of_schema
        long = (w for w in known if len(w) >= self._params.min_chars)
        self._known = sorted(long, key=lambda w: (-self.counts[w], w))

    def common(self, word: str) -> bool:
        """Whether several listings use a word, or the schema does."""
        return word in self.of_schema or self.counts[word] >= self._params.min_count

    def share(self, word: str, product_type: str) -> float:
        """In which share of a product type's titles a word stands; 1 for a type nobody has seen."""
        titles = self._titles[product_type]
        return self._in_titles[product_type][word] / titles if titles else 1.0

    def usual_case(self, word: str) -> str:
        """How a word is mostly written within a title, capitals-only aside where another way exists."""
        seen = self._cases.get(word, Counter())
        ways = list(most_common(seen))
        shouted = [w for w in ways if len(w) > 1 and w.isupper()]
        calm = [w for w in ways if w not in shouted]
        if calm and (not shouted or seen[calm[0]] * 2 >= seen[shouted[0]]):
            return calm[0]
        return shouted[0] if shouted else ""

    @lru_cache(maxsize=65_536)  # noqa: B019 - lives as long as the one stage that uses it
    def used(self, word: str) -> bool:
        """Whether people use a word, as large collections of texts show (Speer 2022, wordfreq)."""
        if self._params.language is None:
            return False
        from wordfreq import zipf_frequency

        return bool(zipf_frequency(word, self._params.language) >= self._params.used_above)

    def meant(self, word: str, record: Iterable[str] = ()) -> str:
        """The word that ``word`` misspells by one slip (a letter too many, missing, wrong, or two swapped).

        A text alone is no evidence against itself: a word that people use is what it says, and what another
        one meant is said by the listing's own record, or by the language: then it is a word that people use
        and so much more frequent here that the slip explains the rare one, and no other word may explain it
        about as well. So a name that nobody uses is never turned into another name. Empty when none.

        Args:
            word: in small letters. record: words of the listing's attribute values and type.
        """
        if len(word) + 1 < self._params.min_chars or not word.isalpha() or word in self.of_schema:
            return ""
        if self.used(word):
            return ""
        own = [r for r in sorted(set(record)) if len(r) >= self._params.min_chars]
        if word in own:
            return ""
        count = max(1, self.counts[word])
        near = [r for r in own if OSA.distance(word, r, score_cutoff=1) == 1 and _slip(word, r)]
        if near and count < self._params.min_count * self._params.typo_ratio:
            return near[0]
        return self._frequent_neighbour(word, count)

    @lru_cache(maxsize=65_536)  # noqa: B019 - lives as long as the one stage that uses it
    def _frequent_neighbour(self, word: str, count: int) -> str:
        """A word one slip away that is so much more frequent that it was meant; empty if none or unclear."""
        least = self._params.typo_ratio * count
        frequent = bisect_right(self._known, -least, key=lambda w: -self.counts[w])
        meant = self._one_slip_away(word, self._known[:frequent])
        if not meant or not (self.used(meant[0]) or meant[0] in self.of_schema):
            return ""
        others = self._one_slip_away(word, self._known)
        next_best = max((self.counts[w] for w in others if w != meant[0]), default=0)
        return meant[0] if self.counts[meant[0]] >= self._params.typo_ratio / 4 * next_best else ""

    @staticmethod
    def _one_slip_away(word: str, known: Sequence[str]) -> list[str]:
        """The words at an edit distance of one, in the order of ``known``; a plural is no slip."""
        found = process.extract(word, known, scorer=OSA.distance, score_cutoff=1, limit=None)
        places = sorted(at for other, edits, at in found if edits == 1 and _slip(word, other))
        return [known[at] for at in places]


def schema_words(schema: CatalogSchema) -> Iterable[str]:
    """Every word that the schema itself uses, for comparing."""
    for category in schema.categories.values():
        names = (name.replace("_", " ") for name in category.attributes)
        values = (value for attribute in category.attributes.values() for value in attribute.values)
        for text in (*category.product_types, *names, *values):
            yield from cores(text)


def phrases(tokens: Sequence[str], longest: int) -> Iterable[tuple[int, tuple[str, ...]]]:
    """Every run of up to ``longest`` words with the place where it starts."""
    for start in range(len(tokens)):
        for size in range(1, min(longest, len(tokens) - start) + 1):
            yield start, tuple(tokens[start : start + size])
