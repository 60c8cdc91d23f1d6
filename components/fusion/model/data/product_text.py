"""A product's fields as text: whole, every field behind its own marker, or in phrases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from components.encoder.model.features.captions import attribute_phrase

MARKERS = {
    "title": "title:",
    "product_type": "type:",
    "attributes": "attributes:",
    "description": "description:",
}
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def plain(text: str) -> str:
    """Text that cannot spell a marker or another special token, on one line."""
    return " ".join(text.replace("<", " ").replace(">", " ").split())


def field_text(row: Mapping[str, Any], field: str) -> str:
    """The content of one field; empty where the seller left it out."""
    if field != "attributes":
        return plain(row[field] or "")
    return ", ".join(phrases(row, field))


def product_text(row: Mapping[str, Any], fields: Sequence[str]) -> str:
    """The whole text of a product; empty if no field says anything."""
    said = ((field, field_text(row, field)) for field in fields)
    return " ".join(f"{MARKERS[field]} {text}" for field, text in said if text)


def phrases(row: Mapping[str, Any], field: str) -> list[str]:
    """A field in the pieces that repeat from product to product: each attribute, each sentence."""
    if field == "attributes":
        pairs = row["attributes"] or ()
        names = {pair["name"] for pair in pairs}
        said = [attribute_phrase(p["name"], p["value"], names) for p in pairs if p["value"]]
    else:
        said = SENTENCE_END.split(row[field] or "") if field == "description" else [row[field] or ""]
    return [text for text in map(plain, said) if text]
