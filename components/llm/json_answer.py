"""From an answer's text to the JSON object it must be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

# Models put JSON into a Markdown fence even when they are asked not to.
FENCE = re.compile(r"^\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


class SchemaCheck:
    """Checks answers against one JSON Schema (2020-12)."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        from jsonschema import Draft202012Validator

        self._validator = Draft202012Validator(dict(schema))

    def problem(self, value: object) -> str:
        """What breaks the schema first; empty when nothing does. Never quotes the answer at length."""
        error = next(iter(self._validator.iter_errors(value)), None)
        if error is None:
            return ""
        where = ".".join(map(str, error.absolute_path)) or "the answer"
        return f"{where}: {' '.join(error.message.split())[-120:]}"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is named twice")
    return found


def parse_answer(text: str, check: SchemaCheck) -> tuple[dict[str, Any] | None, str]:
    """The object that ``text`` holds, and why there is none.

    One Markdown fence around the whole is taken off. Nothing is repaired beyond that: a repaired
    answer is one that the model did not give.
    """
    fenced = FENCE.match(text)
    try:
        value = json.loads(fenced.group(1) if fenced else text, object_pairs_hook=_without_repeats)
        # halves of characters and numbers without end can be written as JSON, and stored nowhere
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        if not isinstance(value, dict):
            return None, "not a JSON object"
        problem = check.problem(value)
    except (ValueError, RecursionError) as error:
        return None, f"not JSON ({str(error)[:80]})"
    return (None, problem) if problem else (value, "")
