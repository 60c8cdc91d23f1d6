"""A product as one text: every field behind its own marker token, with random masking of fields.

Markers and masking after the sister paper of Beyond Text (arXiv 2609.31498).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.encoder.model.features.captions import attribute_phrase
from components.encoder.model.towers.tokenizer import TextTokenizer, Tokens
from components.fusion.model.params import ProductTextParams

MARKERS = {
    "title": "title:",
    "product_type": "type:",
    "attributes": "attributes:",
    "description": "description:",
}


def plain(text: str) -> str:
    """Text that cannot spell a marker or another special token, on one line."""
    return " ".join(text.replace("<", " ").replace(">", " ").split())


def field_text(row: Mapping[str, Any], field: str) -> str:
    """The content of one field; empty where the seller left it out."""
    if field != "attributes":
        return plain(row[field] or "")
    pairs = row["attributes"] or ()
    names = {pair["name"] for pair in pairs}
    return plain(", ".join(attribute_phrase(p["name"], p["value"], names) for p in pairs if p["value"]))


def product_text(row: Mapping[str, Any], fields: Sequence[str]) -> str:
    """The whole text of a product; empty if no field says anything."""
    said = ((field, field_text(row, field)) for field in fields)
    return " ".join(f"{MARKERS[field]} {text}" for field, text in said if text)


class ProductTokens:
    """The texts of many products as tokens, with fields masked anew in each training step.

    Args:
        rows: products. params: fields and how often each is masked. tokenizer: of the text tower.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], params: ProductTextParams, tokenizer: TextTokenizer
    ) -> None:
        self._params, self._tokenizer = params, tokenizer
        self._fields = [[field_text(row, field) for field in params.fields] for row in rows]

    def draw(self, rows: npt.NDArray[np.int64], rng: np.random.Generator | None) -> Tokens:
        """Tokens ``[len(rows), context]``; ``rng`` decides which fields are masked, None masks nothing.

        A product all of whose fields would be masked keeps them all.
        """
        hidden = np.zeros((len(rows), len(self._params.fields)), dtype=bool)
        if rng is not None:
            shares = np.array([self._params.masking[field] for field in self._params.fields])
            hidden = rng.random(hidden.shape) < shares
        return self._tokenizer([self._text(row, mask) for row, mask in zip(rows, hidden, strict=True)])

    def _text(self, row: int, hidden: npt.NDArray[np.bool_]) -> str:
        own = list(zip(self._params.fields, self._fields[row], hidden, strict=True))
        kept = [(field, text) for field, text, masked in own if text and not masked]
        return " ".join(f"{MARKERS[f]} {t}" for f, t in kept or [(f, t) for f, t, _ in own if t])
