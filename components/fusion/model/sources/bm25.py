"""BM25 over products (Robertson and Zaragoza 2009), by the library bm25s, with our own words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from components.fusion.model.params import Bm25Params

Scores = npt.NDArray[np.float32]
NO_WORD = "\0"  # holds the place of a text without words: no query has it
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


class Bm25:
    """An index of texts.

    Args:
        texts: one per product; an empty one scores 0 for every query.
    """

    def __init__(self, texts: Sequence[str], params: Bm25Params) -> None:
        import bm25s

        self.products = len(texts)
        self._index = bm25s.BM25(k1=params.k1, b=params.b)
        self._index.index([words(text) or [NO_WORD] for text in texts], show_progress=False)

    def _known(self, query: str) -> list[str]:
        return [word for word in words(query) if word in self._index.vocab_dict]

    def scores(self, queries: Sequence[str]) -> Scores:
        """``[Q, N]``: 0 where no word of the query stands."""
        out = np.zeros((len(queries), self.products), dtype=np.float32)
        for row, query in zip(out, queries, strict=True):
            if known := self._known(query):
                row[:] = self._index.get_scores(known)
        return out

    def known_share(self, queries: Sequence[str]) -> Scores:
        """``[Q]``: the share of a query's words that some product's text has; 0 without any word."""
        shares = [len(self._known(query)) / max(1, len(words(query))) for query in queries]
        return np.array(shares, dtype=np.float32)
