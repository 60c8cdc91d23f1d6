"""What a listing states: attributes by name, each with one value or with several.

In files, attributes are a cell of ``PAIRS`` with one pair per value: an attribute of two values stands
there twice. In memory one value is its text, and several are a tuple in the order of their texts, each once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Value = str | tuple[str, ...]
Attributes = dict[str, Value]


def each(value: Value | None) -> tuple[str, ...]:
    """The values that ``value`` is made of; none of None."""
    return (value,) if isinstance(value, str) else value or ()


def as_value(values: Iterable[str]) -> Value:
    """Some texts as one value: duplicates folded, and in order.

    Raises:
        ValueError: there is none.
    """
    found = sorted(set(values))
    if not found:
        raise ValueError("an attribute without a value is not stated")
    return found[0] if len(found) == 1 else tuple(found)


def facts(attributes: Mapping[str, Value]) -> list[tuple[str, str]]:
    """Name and value of everything that is stated, an entry per value."""
    return [(name, text) for name, value in attributes.items() for text in each(value)]


def pairs(attributes: Mapping[str, Value]) -> list[dict[str, str]]:
    """Attributes as a ``PAIRS`` cell, sorted by name and value."""
    return [{"name": n, "value": v} for n, v in facts({n: attributes[n] for n in sorted(attributes)})]


def of_facts(stated: Iterable[tuple[str, str]]) -> Attributes:
    """Attributes from names and values, in the order of their first appearance."""
    found: Attributes = {}
    for name, text in stated:
        found[name] = as_value((*each(found[name]), text or "")) if name in found else text
    return found


def of_pairs(cell: Iterable[Mapping[str, Any]] | None) -> Attributes:
    """Attributes from a ``PAIRS`` cell."""
    return of_facts((pair["name"], pair["value"]) for pair in cell or ())


def shown(value: Value) -> str:
    """A value in one line for people."""
    return ", ".join(each(value))
