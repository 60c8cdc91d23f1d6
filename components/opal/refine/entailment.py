"""Whether an answer follows from a refined record: nothing said that the record does not hold."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import NamedTuple

from components.catalog.format.attributes import Value, each
from components.catalog.format.schema import Category
from components.opal.model.listing_text import PARTS, Listing, as_text, value_text

NOT_VISIBLE = "not visible"


def _states(attributes: object, record: Mapping[str, Value], category: Category | None) -> bool:
    """Whether every pair of a JSON object is a pair of the record and of the category's schema."""
    if not isinstance(attributes, dict):
        return False
    known = category.attributes if category else {}
    return all(
        name in known and _is(record.get(name), value, known[name].multiple)
        for name, value in attributes.items()
    )


def _is(stated: Value | None, said: object, multiple: bool) -> bool:
    """Whether an answer's value, or its list of an attribute that may hold several, is the record's."""
    held = said if multiple and isinstance(said, list) else [said]
    if any(isinstance(part, dict | list | bool) for part in held) or len(held) != len(each(stated)):
        return False
    return all(any(_same(text, part) for part in held) for text in each(stated))


def _same(stated: str, said: object) -> bool:
    """Whether an answer's value is the record's."""
    if said is None:
        return False
    text = as_text(said)
    if isinstance(said, str):
        return text == stated
    try:  # a number may be written in other digits than the record's: 500 and 500.0
        return float(text) == float(stated)
    except ValueError:
        return False


class EntailedReply(NamedTuple):
    """The answer to a question of one grain; ``asked`` are the attributes that the question names.

    It is compact JSON for every grain but ``attribute``, ``title`` and ``not_visible``, which are text.
    """

    grain: str
    answer: str
    asked: Collection[str] = ()


def entailed(
    reply: EntailedReply, record: Listing, visible: Collection[str], category: Category | None
) -> bool:
    """Whether a reply follows from the refined record.

    Args:
        visible: attributes whose values a picture can tell. category: of the schema; a reply may name only
            its attributes.
    """
    grain, answer, asked = reply
    if grain == "title":
        return bool(record.title) and answer == record.title
    if grain == "attribute":
        stated = {name: record.attributes[name] for name in asked if name in record.attributes}
        return len(asked) == 1 and any(value_text(category, *fact) == answer for fact in stated.items())
    if grain == "not_visible":
        return answer == NOT_VISIBLE and not set(asked) & set(visible)
    try:
        said = json.loads(answer)
    except (ValueError, RecursionError):
        return False
    if grain == "visible":
        names = said if isinstance(said, list) else [None]
        return all(isinstance(n, str) and n in visible and n in record.attributes for n in names)
    if not isinstance(said, dict):
        return False
    if grain == "attributes":
        return set(said) == set(asked) and _states(said, record.attributes, category)
    if grain == "listing":
        whole = {"attributes", "title"} <= set(said) <= PARTS and record.title
        if not whole or said["title"] != record.title:
            return False
        told = said.get("type", record.product_type) == record.product_type
        return told and _states(said["attributes"], record.attributes, category)
    return False
