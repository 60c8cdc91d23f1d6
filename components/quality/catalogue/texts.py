"""Texts that no listing holds: over-long ones and control characters, in products and in their schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from components.catalog.format.schema import Attribute, CatalogSchema, Category
from components.quality.errors import GateError
from components.quality.expectations import shortened
from components.quality.params import QualityParams

# What Unicode calls Cc, but for tab and line ends: no font shows them, and terminals obey some.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
TEXTS = ("product_id", "group_id", "title", "description", "category", "product_type")


def text_columns(row: dict[str, Any], params: QualityParams) -> dict[str, Any]:
    """How many attributes of a row are over-long and how many texts hold control characters, and which."""
    pairs = [(pair["name"] or "", pair["value"] or "") for pair in row["attributes"] or []]
    long = list(_over_long(pairs, params))
    texts = [(name, row[name] or "") for name in TEXTS]
    texts += [(f"attributes.{shortened(name)}", f"{name}{value}") for name, value in pairs]
    odd = [f"{name} holds U+{ord(found.group()):04X}" for name, t in texts if (found := CONTROL.search(t))]
    return {
        "long_attributes": len(long),
        "long_problem": "; ".join(long),
        "control_characters": len(odd),
        "control_problem": "; ".join(odd),
    }


def _over_long(pairs: list[tuple[str, str]], params: QualityParams) -> Iterator[str]:
    for name, value in pairs:
        place = f"attributes.{shortened(name)}"
        for what, text, most in (
            (f"the name of {place}", name, params.max_attribute_name_chars),
            (place, value, params.max_attribute_value_chars),
        ):
            if len(text) > most:
                yield f"{what} has {len(text):,} characters, more than {most:,}"


def schema_within(schema: CatalogSchema, params: QualityParams) -> tuple[CatalogSchema, dict[str, int]]:
    """The schema without names and values that no product may hold, and how many of each are left out.

    Raises:
        GateError: nothing is left.
    """
    left: dict[str, int] = {"categories": 0, "product types": 0, "attributes": 0, "values": 0}
    kept = {}
    for name, category in schema.categories.items():
        inside = _category_within(category, params, left) if _fits(name, params.max_category_chars) else None
        if inside is None:
            left["categories"] += 1
        else:
            kept[name] = inside
    if not any(left.values()):
        return schema, {}
    if not kept:
        raise GateError("schema.json names no category within quality.max_category_chars")
    return CatalogSchema(categories=kept), {what: number for what, number in left.items() if number}


def _fits(text: str, most: int) -> bool:
    return len(text) <= most and not CONTROL.search(text)


def _category_within(category: Category, params: QualityParams, left: dict[str, int]) -> Category | None:
    """A category without what does not fit; None where no product type is left of it."""
    types = tuple(t for t in category.product_types if _fits(t, params.max_product_type_chars))
    left["product types"] += len(category.product_types) - len(types)
    named = {n: a for n, a in category.attributes.items() if _fits(n, params.max_attribute_name_chars)}
    attributes = {name: _attribute_within(attribute, params, left) for name, attribute in named.items()}
    found = {name: attribute for name, attribute in attributes.items() if attribute is not None}
    left["attributes"] += len(category.attributes) - len(found)
    return category.model_copy(update={"product_types": types, "attributes": found}) if types else None


def _attribute_within(attribute: Attribute, params: QualityParams, left: dict[str, int]) -> Attribute | None:
    """An attribute without the values that do not fit; None where none of an enum's is left."""
    values = tuple(v for v in attribute.values if _fits(v, params.max_attribute_value_chars))
    if len(values) == len(attribute.values):
        return attribute
    left["values"] += len(attribute.values) - len(values)
    return attribute.model_copy(update={"values": values}) if values else None
