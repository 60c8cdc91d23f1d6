"""Names of attributes in parameters that no product has."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

LISTS = "_attributes"  # title_attributes, similar_attributes: lists of names end like this
COLUMN = "attributes."  # attributes.colour, as expectations name a column


def unknown_attributes(parameters: Mapping[str, Any], known: Collection[str]) -> Iterator[str]:
    """A sentence for each name of an attribute in ``parameters`` that is not ``known``, with the nearest."""
    for place, name in _named(parameters, ""):
        if name not in known:
            near = difflib.get_close_matches(name.casefold(), {n.casefold(): n for n in known}, n=1)
            spelled = next((n for n in sorted(known) if near and n.casefold() == near[0]), "")
            hint = f"did you mean {spelled!r}?" if spelled else f"it has {_some(known)}."
            yield f"{place} names the attribute {name!r}, which the catalogue has not; {hint}"


def _named(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """(place, name) of every attribute that is named."""
    if isinstance(value, Mapping):
        for key, inside in value.items():
            here = f"{place}.{key}".lstrip(".")
            if isinstance(inside, list) and str(key).endswith(LISTS):
                yield from ((here, name) for name in inside if isinstance(name, str))
            elif key == "column" and isinstance(inside, str) and inside.startswith(COLUMN):
                yield here, inside.removeprefix(COLUMN)
            else:
                yield from _named(inside, here)
    elif isinstance(value, list | tuple):
        for at, inside in enumerate(value):
            yield from _named(inside, f"{place}.{at}")


def _some(names: Collection[str], most: int = 12) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return (", ".join(sorted(names)[:most]) or "none") + more
