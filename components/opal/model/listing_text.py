"""Listings as text: the prompt, the answer a model is taught, and what can be read back from its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from components.catalog.format.schema import CatalogSchema, Category, listing_problems


@dataclass(frozen=True)
class Listing:
    """A title and attributes, as text; numbers are written the way the catalogue writes them."""

    title: str
    attributes: dict[str, str] = field(default_factory=dict)


def _json_value(category: Category | None, name: str, value: str) -> str | int | float:
    """A number where the schema says so and the text is one; else the text."""
    attribute = category.attributes.get(name) if category else None
    if attribute is None or attribute.type != "number":
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() else number


def answer_text(listing: Listing, category: Category | None) -> str:
    """A listing as compact JSON: title first, attributes in the schema's order, numbers as numbers.

    Grammar and training targets must agree to the byte, separators and order included: a model taught
    anything else is pushed off its path by every constrained token.
    """
    known = list(category.attributes) if category else []
    names = [n for n in known if n in listing.attributes]
    names += sorted(set(listing.attributes) - set(names))
    attributes = {name: _json_value(category, name, listing.attributes[name]) for name in names}
    return compact_json({"title": listing.title, "attributes": attributes})


def compact_json(value: object) -> str:
    """JSON without spaces, letters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def as_text(value: Any) -> str:
    """A JSON value as the catalogue writes it: ``500`` and ``500.0`` are one number."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else compact_json(value)


def parse_answer(text: str) -> Listing | None:
    """A listing from a model's answer, or None when it is not the JSON object that was asked for."""
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(loaded, dict) or set(loaded) != {"title", "attributes"}:
        return None
    title, attributes = loaded["title"], loaded["attributes"]
    if not isinstance(title, str) or not isinstance(attributes, dict):
        return None
    if any(isinstance(value, dict | list | bool) or value is None for value in attributes.values()):
        return None
    return Listing(title, {name: as_text(value) for name, value in attributes.items()})


def schema_problems(schema: CatalogSchema, category: str, listing: Listing, *, require: bool) -> list[str]:
    """Why a listing breaks its category's schema, as sentences; the product type is not part of a listing."""
    any_type = schema.categories[category].product_types[0]
    found = listing_problems(schema, category, any_type, listing.attributes, require=require)
    blank = [] if listing.title.strip() else ["title is blank"]
    return blank + [f"{problem.field} {problem.reason}" for problem in found]


def pairs_of(attributes: Mapping[str, str]) -> list[dict[str, str]]:
    """Attributes as a ``PAIRS`` cell, sorted by name."""
    return [{"name": name, "value": attributes[name]} for name in sorted(attributes)]


def attributes_of(cell: list[dict[str, str]] | None) -> dict[str, str]:
    """Attributes from a ``PAIRS`` cell."""
    return {pair["name"]: pair["value"] for pair in cell or ()}
