"""Which value a seller's wording says: other capitals, a longer wording, a slip of spelling, an abbreviation.

A value with digits is a measure, a size or a model: it is never taken for a slip or an abbreviation of
another one, for "185 cm" is no misspelt "15 cm".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from rapidfuzz.distance import OSA

from components.evidence.denial import denied
from components.evidence.words import core, cores, phrases

LONGEST_PHRASE = 4  # words of a value that is looked for in a longer text
CLAUSE_END = re.compile(r"[.,;:!?]+(?:\s+|$)|[()\n]")
SHORTEST_SLIP = 4  # characters of a value that may be misspelt


def word_run(text: str) -> tuple[str, ...]:
    """The words of a value, for comparing; hyphens and underscores separate words."""
    return tuple(cores(text.replace("-", " ").replace("_", " ")))


def has_digit(text: str) -> bool:
    """Whether a text holds a digit."""
    return any(sign.isdigit() for sign in text)


def contained(text: str, values: Iterable[str]) -> list[str]:
    """The values whose words stand in ``text`` in a row, the longest ones only; not those that it denies."""
    said, taken_back = set[tuple[str, ...]](), set[str]()
    for clause in CLAUSE_END.split(text):
        words = word_run(clause)
        for at, run in phrases(words, LONGEST_PHRASE):
            if denied(words, at, at + len(run)):
                taken_back.update(run)
            else:
                said.add(run)
    found = [v for v in values if word_run(v) in said and not taken_back.issuperset(word_run(v))]
    return [v for v in found if not any(v != w and set(word_run(v)) < set(word_run(w)) for w in found)]


def abbreviates(short: str, value: str) -> bool:
    """Whether each word of ``short`` is made of letters of that word of ``value``, the first one first."""
    words, whole = word_run(short), word_run(value)
    if len(words) != len(whole) or short.casefold() == value.casefold() or has_digit(short):
        return False
    for a, b in zip(words, whole, strict=True):
        letters = iter(b)
        if a[0] != b[0] or len(a) > len(b) or not all(letter in letters for letter in a):
            return False
    return True


def abbreviated(short: str, values: Iterable[str], text: str) -> str:
    """The one of ``values`` that ``short`` abbreviates; of several the one that ``text`` says, or empty."""
    found = [v for v in values if abbreviates(short, v)]
    found = contained(text, found) if len(found) > 1 else found
    return found[0] if len(found) == 1 else ""


def same_words(value: str, values: Sequence[str]) -> str:
    """The one of ``values`` that ``value`` says in other capitals or separators; empty if none."""
    folded = {word_run(v): v for v in reversed(values)}
    return folded.get(word_run(value), "")


def recognised(
    value: str, values: Sequence[str], text: str, used: Callable[[str], bool] = lambda _: False
) -> tuple[str, str]:
    """The one of ``values`` that ``value`` says in another form, and in which; empty when none or several.

    In this order: other capitals or separators; a value inside a longer wording; one slip of spelling; an
    abbreviation, told apart by the listing's ``text`` when several values fit.

    Args:
        used: whether people use a word; one that they use is no slip of another.
    """
    if same := same_words(value, values):
        return same, "other capitals or separators"
    inside = contained(value, values)
    if len(inside) == 1:
        besides = Counter(word_run(value)) - Counter(word_run(inside[0]))
        if not any(map(has_digit, besides)):
            return inside[0], "the value inside a longer wording"
    if inside or has_digit(value):
        return "", ""
    said = word_run(value)
    if not all(map(used, said)) and len(near := [v for v in values if edits(said, word_run(v)) < 2]) == 1:
        return near[0], "misspelling"
    meant = abbreviated(value, values, text) if core(value) else ""
    return (meant, "abbreviation") if meant else ("", "")


def edits(said: Sequence[str], meant: Sequence[str]) -> int:
    """Edit distance of two runs of words; 2 for more, and where ``said`` is too short to be misspelt."""
    text = " ".join(said)
    return 2 if len(text) < SHORTEST_SLIP else OSA.distance(text, " ".join(meant), score_cutoff=1)
