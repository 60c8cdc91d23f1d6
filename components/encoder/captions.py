"""Which text stands for a product: the caption of a training step, a pure function of (seed, epoch, step)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.encoder.params import CaptionShares
from components.encoder.tokenizer import AnyTokenizer, Tokens

KINDS = ("product_type", "title", "title_attributes", "attributes", "description")


def attribute_text(attributes: Sequence[dict[str, str]]) -> str:
    """Attribute values in one line: ``"red, striped, cotton"``."""
    return ", ".join(a["value"] for a in attributes if a["value"])


def caption(row: dict[str, Any], kind: str) -> str:
    """The caption of one kind; an empty one falls back to the title, then to the product type."""
    title, values = row["title"].strip(), attribute_text(row["attributes"])
    texts = {
        "product_type": row["product_type"],
        "title": title,
        "title_attributes": ". ".join(t for t in (title, values) if t),
        "attributes": f"{values} {row['product_type']}".strip(),
        "description": row["description"].strip(),
    }
    return texts[kind] or title or str(row["product_type"])


class Captions:
    """Tokenised captions of every kind, and the draw of one per product and step."""

    def __init__(
        self, rows: Sequence[dict[str, Any]], shares: CaptionShares, tokenizer: AnyTokenizer
    ) -> None:
        weights = shares.model_dump()
        self._kinds = [k for k in KINDS if weights[k] > 0]
        p = np.array([weights[k] for k in self._kinds], dtype=float)
        self._edges = np.cumsum(p / p.sum())
        # [kinds, products, context]; int32 halves what a big catalogue keeps in memory
        self._tokens = np.stack([tokenizer([caption(r, k) for r in rows]) for k in self._kinds]).astype(
            np.int32
        )

    def draw(self, rows: npt.NDArray[np.int64], rng: np.random.Generator) -> Tokens:
        """Tokens ``[len(rows), context]``."""
        kind = np.searchsorted(self._edges, rng.random(len(rows)), side="right").clip(
            max=len(self._kinds) - 1
        )
        tokens: Tokens = self._tokens[kind, rows].astype(np.int64)
        return tokens
