"""What takes back or weakens a value beside which it stands: "not waterproof", "faux leather", "lead-free".

Whoever finds a value in a text reads these words first: a denied value is no fact, nor is one that a thing
only looks like. The words are English; in another language none stands beside a value, and nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence

_NEGATIONS = ("no", "not", "non", "never", "without", "nor", "neither", "cannot", "lacks", "lacking", "minus")
_CONTRACTED = ("is", "are", "was", "does", "do", "has", "can", "wo")
# Contractions as they stand in a text, without their apostrophe, and cut at it.
_ENDS = ("t", "'t", "’t", "")
NEGATIONS = frozenset((*_NEGATIONS, *(f"{verb}n{end}" for verb in _CONTRACTED for end in _ENDS)))
IMITATIONS = frozenset(
    word
    for line in (
        "faux fake imitation artificial mock pseudo simulated synthetic vegan",
        "resembles resembling",
    )
    for word in line.split()
)
# What two words say before a value, and what may follow "free" and "like" where they say nothing of it.
LIKENESSES = frozenset((("free", "of"), ("free", "from"), ("looks", "like"), ("look", "like")))
AFTER = frozenset(("free", "less", "look", "looking", "like", "effect", "substitute", "alternative"))
NOT_AFTER = frozenset(("of", "from", "size", "shipping", "delivery", "returns", "return", "gift", "new"))
# May stand between a denial and what is denied: "not fully waterproof", "without the lid", "isn't".
BETWEEN = frozenset(
    ("a", "an", "the", "any", "of", "made", "fully", "entirely", "completely", "really", "very", "real", "t")
)


def denied(words: Sequence[str], start: int, end: int) -> bool:
    """Whether the words ``start..end`` of a text, in small letters, are denied or only resembled."""
    at = start - 1
    while at >= 0 and words[at] in BETWEEN and tuple(words[at - 1 : at + 1]) not in LIKENESSES:
        at -= 1
    if at >= 0 and (words[at] in NEGATIONS or words[at] in IMITATIONS):
        return True
    if at >= 1 and (tuple(words[at - 1 : at + 1]) in LIKENESSES or words[at - 1] in IMITATIONS):
        return True  # an imitation may have one word of its own: "faux italian leather"
    return end < len(words) and words[end] in AFTER and not NOT_AFTER.intersection(words[end + 1 : end + 2])
