"""A row of a source file, and what holds for rows of every format."""

from __future__ import annotations

import unicodedata
from typing import Any, NamedTuple

FIELD_LIMIT = 16 * 2**20  # characters in one field of CSV or one line of JSON; a picture in base64 must fit


class SourceRow(NamedTuple):
    """One row: its number in the file from 1, its fields, and why it has none (empty when it has)."""

    number: int
    fields: dict[str, Any]
    problem: str = ""


def composed(text: str) -> str:
    """Unicode's composed form (UAX #15, NFC), in which names and texts are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def all_composed(value: Any, but: frozenset[str] = frozenset()) -> Any:
    """Every text and key in lists and mappings in composed form, but for what stands under ``but``."""
    if isinstance(value, str):
        return composed(value)
    if isinstance(value, list | tuple):
        return [all_composed(one, but) for one in value]
    if isinstance(value, dict):
        return {
            all_composed(name): one if name in but else all_composed(one, but) for name, one in value.items()
        }
    return value


def bad_byte(text: str) -> str:
    """The first byte that could not be decoded where ``surrogateescape`` kept it in ``text``; else empty."""
    if text.isascii():
        return ""
    return next((f"0x{ord(c) - 0xDC00:02x}" for c in text if "\udc80" <= c <= "\udcff"), "")


def twice(names: list[str]) -> str:
    """A name that occurs more than once; empty where none does. Columns without a name may be many."""
    seen: set[str] = set()
    for name in filter(None, names):
        if name in seen:
            return name
        seen.add(name)
    return ""
