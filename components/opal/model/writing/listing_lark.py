"""The grammar of listings, in llguidance's dialect of Lark.

A listing has one way of being written, the one that a model is taught (``answer_text``). A JSON Schema allows
more: numbers in many forms, and the items of an array in any order. Here every rule of an array knows from
which value on, and how many, may follow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from components.opal.model.listing_text import DECIMALS, compact_json
from components.opal.model.writing.number_pattern import number_pattern

MOST_RULES = 2000  # of one array; a chain of several thousand would overflow llguidance's stack
GUIDANCE = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}


def listing_lark(wanted: dict[str, Any]) -> str:
    """The grammar of a ``generation_schema``, whose arrays of enums come in the schema's order."""
    parts = wanted["properties"]
    attributes, title = parts["attributes"], parts.get("title")
    required = set(attributes["required"])
    lines = [
        r'start: "{" ("\"type\":" type ",")? "\"attributes\":{" first_0 "}"'
        + (r' ",\"title\":" title' if title else "")
        + ' "}"',
        f"type: {_closed(parts['type']['enum'])}",
        *([f"title: {_json(title)}"] if title else []),
    ]
    for at, (name, held) in enumerate(attributes["properties"].items()):
        skip = name not in required
        lines.append(f"item_{at}: {_text(compact_json(name) + ':')} value_{at}")
        # first: nothing is written yet; more: a comma stands before what follows
        lines.append(f"first_{at}: item_{at} more_{at + 1}" + (f" | first_{at + 1}" if skip else ""))
        lines.append(f'more_{at}: "," item_{at} more_{at + 1}' + (f" | more_{at + 1}" if skip else ""))
        lines += _value(f"value_{at}", held)
    count = len(attributes["properties"])
    return "\n".join([*lines, f'first_{count}: ""', f'more_{count}: ""']) + "\n"


def _value(rule: str, held: dict[str, Any]) -> Iterator[str]:
    if "enum" in held:
        yield f"{rule}: {_closed(held['enum'])}"
    elif held["type"] == "number":
        low, high = (Decimal(repr(held[bound])) for bound in ("minimum", "maximum"))
        yield f"{rule}: /{number_pattern(low, high, DECIMALS)}/"
    elif held["type"] != "array":
        yield f"{rule}: {_json(held)}"
    elif "enum" in held["items"] and len(held["items"]["enum"]) * held["maxItems"] <= MOST_RULES:
        yield from _subset(rule, held["items"]["enum"], held["maxItems"])
    else:  # of free texts nothing is known but how many there are; of too many values no order is kept
        yield f"{rule}: {_json({key: value for key, value in held.items() if key != 'uniqueItems'})}"


def _subset(rule: str, values: Sequence[str], most: int) -> Iterator[str]:
    """Rules of at least one and at most ``most`` of the values, in their order."""
    yield f'{rule}: "[" {rule}_0_{most} "]"'
    last = len(values) - 1
    for at, value in enumerate(values):
        for left in range(max(1, most - at), most + 1):
            more = at < last and left > 1
            chosen = _text(compact_json(value)) + (f' ("," {rule}_{at + 1}_{left - 1})?' if more else "")
            yield f"{rule}_{at}_{left}: {chosen}" + (f" | {rule}_{at + 1}_{left}" if at < last else "")


def _closed(values: Sequence[str]) -> str:
    """One of some texts, as answers write them."""
    if any("\x7f" in value for value in values):
        return " | ".join(_text(compact_json(value)) for value in values)
    return _json({"enum": list(values)})


def _text(literal: str) -> str:
    return json.dumps(literal, ensure_ascii=False)


def _json(schema: dict[str, Any]) -> str:
    return f"%json {json.dumps({**schema, 'x-guidance': GUIDANCE}, ensure_ascii=False)}"
