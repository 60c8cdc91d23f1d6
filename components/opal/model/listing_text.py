"""Listings as text: the prompt, the answer a model is taught, and what can be read back from its answer."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from components.catalog.format.attributes import Attributes, Value, as_value, each
from components.catalog.format.schema import Attribute, CatalogSchema, Category, listing_problems

CATEGORY_CHARS = 80  # of a category's name that a question holds
ATTRIBUTES = '"attributes":{'
PARTS = {"type", "attributes", "title"}  # of an answer
DECIMALS = (
    6  # of a number that is written, as of one that makes an attribute numeric when a schema is observed
)
LARGEST = 999_999_999_999_999  # number, either side of zero: integers up to here are exact as floats


@dataclass(frozen=True)
class Listing:
    """A title, attributes and a product type, as text; numbers are written the way the catalogue writes them.

    A title or a type that is empty is not said. ``printed`` are words that its picture spells: a title that
    is written freely may hold them, and no answer says them.
    """

    title: str
    attributes: Attributes = field(default_factory=dict)
    product_type: str = ""
    printed: frozenset[str] = field(default=frozenset(), compare=False, repr=False)


def question(prompt: str, category: str) -> str:
    """The question of a category; a name that is longer than ``CATEGORY_CHARS`` is cut."""
    return prompt.format(category=category[:CATEGORY_CHARS])


def writable(attribute: Attribute, value: Value, most_chars: int) -> bool:
    """Whether a value that the schema allows can also be written under the grammar.

    Texts have at most ``most_chars`` characters, numbers ``DECIMALS`` decimals and no more than ``LARGEST``.
    """
    if attribute.type == "number" and isinstance(value, str):
        number = float(value)
        return abs(number) <= LARGEST and round(number, DECIMALS) == number
    return attribute.type != "string" or all(len(text) <= most_chars for text in each(value))


def _plain(number: float) -> str:
    """A finite number in digits, never with an exponent."""
    return str(int(number)) if number.is_integer() else format(Decimal(repr(number)), "f")


def _json_value(category: Category | None, name: str, value: Value) -> str:
    """A number where the schema says so and the text is one, a list where it is multiple, else the text."""
    attribute = category.attributes.get(name) if category else None
    if attribute is not None and attribute.multiple:
        return compact_json(attribute.in_order(value))
    if isinstance(value, str) and attribute is not None and attribute.type == "number":
        try:
            number = float(value)
        except ValueError:
            return compact_json(value)
        return _plain(number) if math.isfinite(number) else compact_json(value)
    return compact_json(value if isinstance(value, str) else list(value))  # several, of a seller


def value_text(category: Category | None, name: str, value: Value) -> str:
    """A value in one line; several in the schema's order."""
    attribute = category.attributes.get(name) if category else None
    return ", ".join(attribute.in_order(value) if attribute else each(value))


def answer_text(listing: Listing, category: Category | None) -> str:
    """A listing as compact JSON: its type, its attributes, then a title that can rest on them.

    Attributes and their values come in the schema's order, numbers as numbers, and a list where an attribute
    may hold several values. A type that the category does not know, and an empty title, are left out.

    Grammar and training targets must agree to the byte, separators and order included: a model taught
    anything else is pushed off its path by every constrained token.
    """
    known = list(category.attributes) if category else []
    names = [n for n in known if n in listing.attributes]
    names += sorted(set(listing.attributes) - set(names))
    parts = []
    if listing.product_type and (category is None or listing.product_type in category.product_types):
        parts.append(f'"type":{compact_json(listing.product_type)}')
    held = (f"{compact_json(n)}:{_json_value(category, n, listing.attributes[n])}" for n in names)
    parts.append(f'"attributes":{{{",".join(held)}}}')
    if listing.title:
        parts.append(f'"title":{compact_json(listing.title)}')
    return "{" + ",".join(parts) + "}"


def compact_json(value: object) -> str:
    """JSON without spaces, letters as they are; but DEL is escaped, for the grammar takes no bare one."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("\x7f", "\\u007f")


def as_text(value: Any) -> str:
    """A JSON value as the catalogue writes it: ``500`` and ``500.0`` are one number."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float) and math.isfinite(value):
        return _plain(value)
    return value if isinstance(value, str) else compact_json(value)


def parse_answer(text: str, category: Category | None = None) -> Listing | None:
    """A listing from a model's answer, or None when it is not the JSON object that was asked for.

    The type and the title may be missing. A value said twice counts once. Only an attribute that may hold
    several values takes a list.
    """
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(loaded, dict) or not {"attributes"} <= set(loaded) <= PARTS:
        return None
    product_type, attributes, title = loaded.get("type", ""), loaded["attributes"], loaded.get("title", "")
    if not isinstance(title, str) or not isinstance(product_type, str) or not isinstance(attributes, dict):
        return None
    known = category.attributes if category else {}
    found: Attributes = {}
    for name, value in attributes.items():
        listed = isinstance(value, list) and name in known and known[name].multiple
        held = value if listed else [value]
        if not held or any(isinstance(part, dict | list | bool) or part is None for part in held):
            return None
        found[name] = as_value(map(as_text, held))
    return Listing(title, found, product_type)


def closed(text: str, category: Category | None) -> str:
    """An answer that was cut, up to its last whole attribute and closed; as it is where nothing is whole."""
    ends = [at for at, sign in enumerate(text) if sign == ","]
    opened = text.find(ATTRIBUTES) + len(ATTRIBUTES)
    for at in reversed([opened, *(end for end in ends if end > opened)] if opened >= len(ATTRIBUTES) else []):
        for ending in ("}", "}}"):
            if parse_answer(text[:at] + ending, category) is not None:
                return text[:at] + ending
    return text


def schema_problems(
    schema: CatalogSchema, category: str, listing: Listing, *, require: bool, titled: bool = True
) -> list[str]:
    """Why a listing breaks its category's schema, as sentences; ``titled``: it must have a title."""
    product_type = listing.product_type or schema.categories[category].product_types[0]
    found = listing_problems(schema, category, product_type, listing.attributes, require=require)
    blank = ["title is blank"] if titled and not listing.title.strip() else []
    return blank + [f"{problem.field} {problem.reason}" for problem in found]
