"""Listings as text: the prompt, the answer a model is taught, and what can be read back from its answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from components.catalog.format.attributes import Attributes, Value, as_value, each
from components.catalog.format.schema import CatalogSchema, Category, listing_problems


@dataclass(frozen=True)
class Listing:
    """A title and attributes, as text; numbers are written the way the catalogue writes them."""

    title: str
    attributes: Attributes = field(default_factory=dict)


def _json_value(category: Category | None, name: str, value: Value) -> str | int | float | list[str]:
    """A number where the schema says so and the text is one, a list where it is multiple, else the text."""
    attribute = category.attributes.get(name) if category else None
    if attribute is not None and attribute.multiple:
        return attribute.in_order(value)
    if not isinstance(value, str):  # of a seller: the schema takes one
        return list(value)
    if attribute is None or attribute.type != "number":
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() else number


def value_text(category: Category | None, name: str, value: Value) -> str:
    """A value in one line; several in the schema's order."""
    attribute = category.attributes.get(name) if category else None
    return ", ".join(attribute.in_order(value) if attribute else each(value))


def answer_text(listing: Listing, category: Category | None) -> str:
    """A listing as compact JSON: title first, attributes and their values in the schema's order, numbers as
    numbers, and a list where an attribute may hold several values.

    Grammar and training targets must agree to the byte, separators and order included: a model taught
    anything else is pushed off its path by every constrained token.
    """
    known = list(category.attributes) if category else []
    names = [n for n in known if n in listing.attributes]
    names += sorted(set(listing.attributes) - set(names))
    attributes = {name: _json_value(category, name, listing.attributes[name]) for name in names}
    return compact_json({"title": listing.title, "attributes": attributes})


def compact_json(value: object) -> str:
    """JSON without spaces, letters as they are; but DEL is escaped, for the grammar takes no bare one."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("\x7f", "\\u007f")


def as_text(value: Any) -> str:
    """A JSON value as the catalogue writes it: ``500`` and ``500.0`` are one number."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else compact_json(value)


def parse_answer(text: str, category: Category | None = None) -> Listing | None:
    """A listing from a model's answer, or None when it is not the JSON object that was asked for.

    A value said twice counts once. Only an attribute that may hold several values takes a list.
    """
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(loaded, dict) or set(loaded) != {"title", "attributes"}:
        return None
    title, attributes = loaded["title"], loaded["attributes"]
    if not isinstance(title, str) or not isinstance(attributes, dict):
        return None
    known = category.attributes if category else {}
    found: Attributes = {}
    for name, value in attributes.items():
        listed = isinstance(value, list) and name in known and known[name].multiple
        held = value if listed else [value]
        if not held or any(isinstance(part, dict | list | bool) or part is None for part in held):
            return None
        found[name] = as_value(map(as_text, held))
    return Listing(title, found)


def schema_problems(schema: CatalogSchema, category: str, listing: Listing, *, require: bool) -> list[str]:
    """Why a listing breaks its category's schema, as sentences; the product type is not part of a listing."""
    any_type = schema.categories[category].product_types[0]
    found = listing_problems(schema, category, any_type, listing.attributes, require=require)
    blank = [] if listing.title.strip() else ["title is blank"]
    return blank + [f"{problem.field} {problem.reason}" for problem in found]
