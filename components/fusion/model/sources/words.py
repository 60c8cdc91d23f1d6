"""Words as lexical search compares them: every letter and digit counts, however it is written."""

from __future__ import annotations

import unicodedata
from functools import cache

WORD = "LMN"  # letters, the marks on them, and numbers: first letters of Unicode's general categories


@cache
def _of_word(character: str) -> bool:
    return unicodedata.category(character)[0] in WORD


def words(text: str) -> list[str]:
    """The words of a text, in order: runs of letters, marks and numbers, in one spelling.

    Compatible forms are one (Unicode's NFKC: full-width and superscript digits, ligatures) and so are upper
    and lower case (``casefold``). A word of one character is a word: it is all that tells size S from M and
    USB-C from USB-A.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(c if _of_word(c) else " " for c in plain).split()
