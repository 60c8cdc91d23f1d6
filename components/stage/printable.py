"""Text of others on a terminal: a seller's title, or a name in an error, is shown and never obeyed."""

from __future__ import annotations

import unicodedata

# Controls (among them ESC, which moves the cursor and sets colours), surrogates, and line separators
OBEYED = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Marks that turn the direction of all text behind them
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
IN_ITS_PLACE = "\N{REPLACEMENT CHARACTER}"


def printable(text: str, keep: str = "") -> str:
    """The text with every character that a terminal would obey replaced; ``keep`` names some that stay."""
    return "".join(
        IN_ITS_PLACE if c not in keep and (c in TURNING or unicodedata.category(c) in OBEYED) else c
        for c in text
    )
