"""Where in a row a value lies: the paths that a mapping names fields by.

``title`` is a field; ``category_path.2`` and ``category_path.-1`` are the third and the last of a list;
``specs.colour`` lies inside an object; ``names.[language=en_*].value`` takes the values of those objects of a
list whose ``language`` fits; ``photos.file`` takes ``file`` of every object of a list. A field whose own name
holds dots is found under its own name first, and JSON inside a cell of CSV is looked into like an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from components.catalog.source.reading.json_objects import read_json

EVERY = ".*"
LISTED = 8  # elements of a list that ``field_names`` lists
Fields = dict[str, Any]
_PLACE = re.compile(r"-?\d+")
_CHOICE = re.compile(r"\[([^=\]]+)=([^\]]*)\]")
_NOT_FOUND = (False, None)


def look_up(row: Fields, path: str) -> tuple[bool, Any]:
    """Whether ``row`` has the field ``path``, and what it holds there (None where it has not)."""
    if path in row:
        return True, row[path]
    return _inside(row, path.removesuffix(EVERY).split("."))


def _inside(here: Any, parts: list[str]) -> tuple[bool, Any]:
    if not parts:
        return True, here
    here = opened(here)
    if isinstance(here, dict):
        for length in range(1, len(parts) + 1):  # names may hold dots themselves
            if (name := ".".join(parts[:length])) in here:
                found = _inside(here[name], parts[length:])
                if found[0]:
                    return found
    elif isinstance(here, list):
        return _of_list(here, parts)
    return _NOT_FOUND


def _of_list(here: list[Any], parts: list[str]) -> tuple[bool, Any]:
    first, rest = parts[0], parts[1:]
    if _PLACE.fullmatch(first):
        return _inside(here[int(first)], rest) if -len(here) <= int(first) < len(here) else _NOT_FOUND
    members = [member for member in here if isinstance(member, dict)]
    if choice := _CHOICE.fullmatch(first):
        name, wanted = choice.groups()
        fitting = [member for member in members if fnmatchcase(str(member.get(name)), wanted)]
        return _inside(fitting, rest) if fitting else _NOT_FOUND
    values = [value for found, value in (_inside(member, parts) for member in members) if found]
    return (True, values) if values else _NOT_FOUND


def opened(cell: Any) -> Any:
    """An object or a list that a cell holds as JSON; anything else as it is."""
    if isinstance(cell, str) and cell.lstrip()[:1] in ("{", "["):
        try:
            return read_json(cell)
        except ValueError:
            return cell
    return cell


def field_names(row: Fields, prefix: str = "") -> Iterator[str]:
    """Every path that ``look_up`` would find a text under, depth first."""
    for name, value in row.items():
        if isinstance(value, dict) and value:
            yield from field_names(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and not isinstance(value[0], dict):
            yield from (f"{prefix}{name}.{index}" for index in range(min(len(value), LISTED)))
        else:
            yield f"{prefix}{name}"


def own_name(path: str) -> str:
    """What a field is called where nobody said: the last part of its path; a header ``Size (U.S.)`` whole."""
    parts = path.removesuffix(EVERY).split(".")
    plain = all(part and part == part.strip() and re.search(r"\w", part) for part in parts)
    words = [part for part in parts if not _PLACE.fullmatch(part) and not _CHOICE.fullmatch(part)]
    return words[-1] if plain and words and _balanced(words[-1]) else path


def _balanced(text: str) -> bool:
    return all(text.count(a) == text.count(b) for a, b in ("()", "[]", "{}"))
