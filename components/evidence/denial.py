"""What takes back or weakens a value beside which it stands: "not waterproof", "faux leather", "lead-free".

Whoever finds a value in a text reads these words first: a denied value is no fact, nor is one that a thing
only looks like. The words are English; in another language none stands beside a value, and nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence

BEFORE = frozenset(
    word
    for line in (
        "no not non never without nor neither isnt arent cannot lacks lacking minus zero",
        "faux fake imitation artificial mock pseudo simulated synthetic vegan resembles resembling",
    )
    for word in line.split()
)
AFTER = frozenset(
    ("free", "less", "look", "looking", "like", "effect", "imitation", "substitute", "alternative")
)
# May stand between a denial and what is denied: "not fully waterproof", "without the lid".
BETWEEN = frozenset(
    ("a", "an", "the", "any", "of", "made", "fully", "entirely", "completely", "really", "very", "real")
)


def denied(words: Sequence[str], start: int, end: int) -> bool:
    """Whether the words ``start..end`` of a text, in small letters, are denied or only resembled."""
    at = start - 1
    while at >= 0 and words[at] in BETWEEN:
        at -= 1
    if at >= 0 and words[at] in BEFORE:
        return True
    return end < len(words) and words[end] in AFTER
