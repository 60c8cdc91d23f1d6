"""A product as one text: every field behind its own marker token, with random masking of fields.

Markers and masking after the sister paper of Beyond Text (arXiv 2609.31498).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.encoder.model.features.captions import attribute_phrase
from components.encoder.model.towers.tokenizer import AnyTokenizer, ClipTokenizer, Tokens
from components.fusion.model.params import ProductTextParams

# Tokens of their own where the vocabulary is ours; plain words for CLIP's, whose end token must stay the
# highest id.
MARKER_TOKENS = {
    "title": "<title>",
    "product_type": "<type>",
    "attributes": "<attributes>",
    "description": "<description>",
}
MARKER_WORDS = {
    "title": "title:",
    "product_type": "type:",
    "attributes": "attributes:",
    "description": "description:",
}
TOKENISED_AT_ONCE = 4096


def markers_of(tokenizer: AnyTokenizer) -> Mapping[str, str]:
    """The marker of each field, for a tokenizer."""
    return MARKER_WORDS if isinstance(tokenizer, ClipTokenizer) else MARKER_TOKENS


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


def product_text(row: Mapping[str, Any], fields: Sequence[str], markers: Mapping[str, str]) -> str:
    """The whole text of a product; empty if no field says anything."""
    said = ((field, field_text(row, field)) for field in fields)
    return " ".join(f"{markers[field]} {text}" for field, text in said if text)


class ProductTokens:
    """The fields of many products as tokens, put together for a training step without tokenising again.

    ``draw`` without masking equals ``tokenizer(product_text(row))``: no token spans two fields.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], params: ProductTextParams, tokenizer: AnyTokenizer
    ) -> None:
        self._params, self._context = params, tokenizer.context_length
        self._flat: list[npt.NDArray[np.int32]] = []  # per field: all products' tokens, one after another
        self._starts: list[npt.NDArray[np.int64]] = []
        self._first, self._last = 0, tokenizer.vocabulary_size - 1
        for field in params.fields:
            marker = markers_of(tokenizer)[field]
            pieces, counts = [np.zeros(0, np.int32)], [0]
            for start in range(0, len(rows), TOKENISED_AT_ONCE):
                texts = [field_text(row, field) for row in rows[start : start + TOKENISED_AT_ONCE]]
                tokens = tokenizer([f"{marker} {text}" if text else "" for text in texts])
                self._first = int(tokens[0, 0])
                for ids in tokens:
                    content = ids[1 : int(ids.argmax())]
                    pieces.append(content.astype(np.int32))
                    counts.append(len(content))
            self._flat.append(np.concatenate(pieces))
            self._starts.append(np.cumsum(counts))

    def _content(self, field: int, row: int) -> npt.NDArray[np.int32]:
        start, end = self._starts[field][row : row + 2]
        return self._flat[field][start:end]

    def draw(self, rows: npt.NDArray[np.int64], rng: np.random.Generator | None) -> Tokens:
        """Tokens ``[len(rows), context]``; ``rng`` decides which fields are masked, None masks nothing.

        A product all of whose fields would be masked keeps them all.
        """
        hidden = np.zeros((len(rows), len(self._flat)), dtype=bool)
        if rng is not None:
            shares = np.array([self._params.masking[field] for field in self._params.fields])
            hidden = rng.random(hidden.shape) < shares
        out = np.zeros((len(rows), self._context), dtype=np.int64)
        for at, row in enumerate(rows):
            parts = [self._content(f, row) for f in range(len(self._flat))]
            kept = [part for part, masked in zip(parts, hidden[at], strict=True) if not masked]
            if not sum(map(len, kept)):
                kept = parts
            content = np.concatenate(kept)[: self._context - 2]
            out[at, 0] = self._first
            out[at, 1 : 1 + len(content)] = content
            out[at, 1 + len(content)] = self._last
        return out
