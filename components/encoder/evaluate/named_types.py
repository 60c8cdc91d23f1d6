"""Which product types a text names: knowledge of every candidate's type, given to some rows of the table.

A row that is told types ranks what has a type that the text names above all else. It is compared with others
that know as much: an encoder that has to see the type, or is told it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.encoder.model.features.captions import attribute_text
from components.encoder.model.features.query_types import words

Floats = npt.NDArray[np.float32]
ABOVE = 10.0  # more than any similarity


def postings(rows: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """The rows that each word of the captions stands in."""
    found: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        for word in words(f"{row['title']} {attribute_text(row['attributes'])}"):
            found.setdefault(word, []).append(i)
    return found


class NamedTypes:
    """The types of ``rows``, named by their own words or by words that go with one type alone."""

    def __init__(self, rows: Sequence[dict[str, Any]], words_at: Mapping[str, list[int]]) -> None:
        self._types = {r["product_type"]: words(r["product_type"]) for r in rows}
        # Words that go with one type nearly always ("trainers" with shoe) also name it.
        self._type_of_word = {w: _dominant(rows, at) for w, at in words_at.items()}

    def named(self, text: str) -> set[str]:
        """Product types that a text names."""
        asked = words(text)
        exact = {t for t, own in self._types.items() if own <= asked}
        return exact or {t for w in asked if (t := self._type_of_word.get(w))}

    def bonus(self, texts: Sequence[str], rows: Sequence[dict[str, Any]]) -> Floats:
        """``[texts, rows]``: ``ABOVE`` where the candidate has a type that the text names, else 0."""
        types = np.array([r["product_type"] for r in rows])
        found = [np.isin(types, sorted(self.named(text))) for text in texts]
        return np.stack(found).astype(np.float32) * np.float32(ABOVE)


def _dominant(rows: Sequence[dict[str, Any]], at: Sequence[int]) -> str | None:
    types = [rows[i]["product_type"] for i in at]
    best = max(sorted(set(types)), key=types.count)
    return best if len(at) >= 5 and types.count(best) >= 0.9 * len(at) else None
