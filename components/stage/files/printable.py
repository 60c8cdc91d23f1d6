"""Text of others on a terminal or a page: a seller's title, a name in an error, is shown and never obeyed."""

from __future__ import annotations

import unicodedata

# Controls (among them ESC, which moves the cursor and sets colours), surrogates, and line separators
OBEYED = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Marks that turn the direction of all text behind them
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
IN_ITS_PLACE = "\N{REPLACEMENT CHARACTER}"


def _obeyed(c: str, keep: str) -> bool:
    return c not in keep and (c in TURNING or unicodedata.category(c) in OBEYED)


def printable(text: str, keep: str = "") -> str:
    """The text with every character that a terminal would obey replaced; ``keep`` names some that stay."""
    return "".join(IN_ITS_PLACE if _obeyed(c, keep) else c for c in text)


def escaped(text: str, keep: str = "") -> str:
    """The text with an escape, such as ``\\u202e``, for each of these characters."""
    if text.isprintable():  # told at once, also of a picture's megabyte
        return text
    return "".join(f"\\u{ord(c):04x}" if _obeyed(c, keep) else c for c in text)
