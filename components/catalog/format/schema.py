"""The schema of a catalogue: which product types and attributes each category has, and what values they take.

Its file form is ``schema.json``; it also yields the JSON Schema that a generated listing must obey. Names and
values are data: they are only ever compared or quoted, never interpreted, so a value that reads like an
instruction or a pattern is one more string.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, PositiveInt, ValidationError, model_validator

from components.catalog.format.attributes import Value, each, shown
from components.catalog.format.errors import SchemaError
from components.catalog.format.records import Row
from components.stage.files.publish import write_text

Name = str  # a category, product type or attribute name: any non-blank text


MOST_VALUES = 100  # of one attribute of a product, where the schema says nothing else


def _unsaid(setting: object) -> bool:
    return setting is None or setting is False


class Attribute(Row):
    """One attribute of a category. ``values`` lists what an ``enum`` may hold, in display order.

    A ``number`` may have bounds, both included. One that is ``multiple`` holds a set of values, at most
    ``max_values`` of them; a number holds one.
    """

    type: Literal["enum", "string", "number"]
    values: tuple[str, ...] = ()
    required: bool = False
    minimum: float | None = Field(default=None, allow_inf_nan=False, exclude_if=_unsaid)
    maximum: float | None = Field(default=None, allow_inf_nan=False, exclude_if=_unsaid)
    multiple: bool = Field(default=False, exclude_if=_unsaid)
    max_values: PositiveInt | None = Field(default=None, exclude_if=_unsaid)

    @cached_property
    def allowed(self) -> frozenset[str]:
        """``values`` as a set: thousands of products are held against thousands of values."""
        return frozenset(self.values)

    @property
    def most(self) -> int:
        """How many values a product may have."""
        if not self.multiple:
            return 1
        most = self.max_values or MOST_VALUES
        return min(most, len(self.values)) if self.values else most

    def in_order(self, value: Value) -> list[str]:
        """Its values as listings write them: in display order, others behind."""
        place = {text: at for at, text in enumerate(self.values)}
        return sorted(each(value), key=lambda text: (place.get(text, len(place)), text))

    @model_validator(mode="after")
    def _values_fit_type(self) -> Attribute:
        low, high = self.minimum, self.maximum
        if self.type != "number" and (low is not None or high is not None):
            raise ValueError(f"an attribute of type {self.type} takes no minimum or maximum")
        if low is not None and high is not None and low > high:
            raise ValueError("minimum is above maximum")
        if self.multiple and self.type == "number":
            raise ValueError("a number takes one value; for several, make it an enum and list them")
        if self.max_values is not None and not self.multiple:
            raise ValueError("max_values is for an attribute that is multiple")
        if self.type != "enum":
            if self.values:
                raise ValueError(f"an attribute of type {self.type} takes no list of values")
            return self
        if not self.values or not all(value.strip() for value in self.values):
            raise ValueError("an enum needs at least one value, none of them blank")
        if len(set(self.values)) != len(self.values):
            raise ValueError("an enum may name each value once")
        return self


class Category(Row):
    """What a listing of this category may say."""

    product_types: tuple[str, ...] = Field(min_length=1)
    attributes: dict[Name, Attribute] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_usable(self) -> Category:
        if not all(name.strip() for name in (*self.product_types, *self.attributes)):
            raise ValueError("product types and attribute names may not be blank")
        if len(set(self.product_types)) != len(self.product_types):
            raise ValueError("a product type may be named once")
        return self


class CatalogSchema(Row):
    """Category name to category; the typed form of ``schema.json``."""

    categories: dict[Name, Category] = Field(min_length=1)

    def closed_attributes(self) -> set[str]:
        """Names of the attributes that have a closed list of values in some category."""
        every = (pair for category in self.categories.values() for pair in category.attributes.items())
        return {name for name, attribute in every if attribute.values}

    def to_json(self) -> str:
        """The text of ``schema.json``: names sorted, values in their own order."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


class Problem(NamedTuple):
    """One way to break a schema; ``field`` is ``category``, ``product_type`` or ``attributes.NAME``."""

    field: str
    reason: str


def parse_schema(text: str, where: str = "schema.json") -> CatalogSchema:
    """Read the JSON form of a schema.

    Raises:
        SchemaError: not JSON, or not the documented shape; the message names the key.
    """
    try:
        return CatalogSchema.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise SchemaError(f"{where} is not JSON (line {error.lineno}: {error.msg}).") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "(top level)"
        raise SchemaError(
            f"{where}, key {key}: {first['msg']}; docs/architecture.md gives its shape."
        ) from None


def read_schema(path: Path) -> CatalogSchema:
    """Read ``schema.json``.

    Raises:
        SchemaError: the file is missing, unreadable or of another shape.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path} cannot be read as a schema: {error}.") from None
    return parse_schema(text, str(path))


def write_schema(path: Path, schema: CatalogSchema) -> None:
    """Write ``schema.json`` whole or not at all."""
    write_text(path, schema.to_json())


def attribute_problem(attribute: Attribute, value: Value) -> str:
    """Why ``value`` does not fit ``attribute``; empty when it does."""
    held = each(value)
    if len(held) > attribute.most:
        most = "one" if attribute.most == 1 else f"at most {attribute.most}"
        return f"has {len(held)} values ({shown(held)[:80]}) and takes {most}"
    return next(filter(None, (_value_problem(attribute, text) for text in held)), "")


def _value_problem(attribute: Attribute, value: str) -> str:
    if not value.strip():
        return "is blank"
    if attribute.type == "enum" and value not in attribute.allowed:
        return f"{value[:80]!r} is not one of its {len(attribute.values)} values"
    if attribute.type == "number":
        return _number_problem(attribute, value)
    return ""


def _number_problem(attribute: Attribute, value: str) -> str:
    if not _is_number(value):
        return f"{value[:80]!r} is not a finite number"
    if attribute.minimum is not None and float(value) < attribute.minimum:
        return f"{value[:80]!r} is below its minimum, {attribute.minimum:g}"
    if attribute.maximum is not None and float(value) > attribute.maximum:
        return f"{value[:80]!r} is above its maximum, {attribute.maximum:g}"
    return ""


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def listing_problems(
    schema: CatalogSchema, category: str, product_type: str, attributes: Mapping[str, Value], *, require: bool
) -> list[Problem]:
    """Every way in which a listing breaks ``schema``; ``require`` also asks for the required attributes.

    A seller's listing may lack required attributes (completing it is the platform's job), so gates on seller
    data pass ``require=False`` and gates on generated data ``require=True``.
    """
    known = schema.categories.get(category)
    if known is None:
        return [Problem("category", f"{category[:80]!r} is not in the schema")]
    problems = []
    if product_type not in known.product_types:
        problems.append(Problem("product_type", f"{product_type[:80]!r} is not a type of {category!r}"))
    for name, value in attributes.items():
        attribute = known.attributes.get(name)
        reason = attribute_problem(attribute, value) if attribute else "is not an attribute of the category"
        if reason:
            problems.append(Problem(f"attributes.{name}", reason))
    if require:
        for name, attribute in known.attributes.items():
            if attribute.required and name not in attributes:
                problems.append(Problem(f"attributes.{name}", "is required and missing"))
    return problems


def _value_schema(attribute: Attribute) -> dict[str, Any]:
    if attribute.multiple:
        held = _one_value_schema(attribute)
        return {
            "type": "array", "items": held, "minItems": 1, "maxItems": attribute.most, "uniqueItems": True
        }  # fmt: skip
    return _one_value_schema(attribute)


def _one_value_schema(attribute: Attribute) -> dict[str, Any]:
    if attribute.type == "enum":
        return {"enum": list(attribute.values)}
    if attribute.type == "number":
        bounds = {"minimum": attribute.minimum, "maximum": attribute.maximum}
        return {"type": "number", **{name: bound for name, bound in bounds.items() if bound is not None}}
    return {"type": "string", "minLength": 1}


def listing_json_schema(schema: CatalogSchema, category: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a generated listing: an object of ``type``, ``attributes`` and ``title``.

    Properties come in the order in which a listing is written, attributes in the schema's, so that a grammar
    built from it is deterministic. The product type may be left out: not every picture tells it.

    Raises:
        SchemaError: the category is unknown.
    """
    if category not in schema.categories:
        known = ", ".join(sorted(schema.categories)[:20])
        raise SchemaError(f"category {category[:80]!r} is not in the schema (known: {known}).")
    attributes = schema.categories[category].attributes
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "type": {"enum": list(schema.categories[category].product_types)},
            "attributes": {
                "type": "object",
                "properties": {name: _value_schema(attribute) for name, attribute in attributes.items()},
                "required": [name for name, attribute in attributes.items() if attribute.required],
                "additionalProperties": False,
            },
            "title": {"type": "string", "minLength": 1},
        },
        "required": ["attributes", "title"],
        "additionalProperties": False,
    }
