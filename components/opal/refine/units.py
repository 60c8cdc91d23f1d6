"""Measures with units, by Pint: ``"0.5 l"`` for an attribute in millilitres is 500."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

_MEASURE = re.compile(r"^\s*([+-]?\d+(?:[.,]\d+)?)\s*([^\d\s].{0,15})?\s*$")


@cache
def _registry() -> Any:
    """Pint's units; building them takes a quarter of a second, so only when a value has one."""
    import pint

    return pint.UnitRegistry(cache_folder=None)


@cache
def unit_of(name: str) -> str:
    """The unit that an attribute's name ends with (``capacity_ml``); empty when it names none."""
    stem, sign, last = name.rpartition("_")
    if not sign or not stem or not last.isalpha():
        return ""
    return last if last in _registry() else ""


def in_unit(text: str, unit: str) -> float | None:
    """The number that ``text`` states, converted to ``unit``; None when it is no single measure of that kind.

    A comma is a decimal point unless three digits follow it. Without a unit in the text the number stands as
    it is; a unit in the text needs one to convert to.
    """
    found = _MEASURE.match(text)
    if found is None:
        return None
    digits, said = found.group(1), (found.group(2) or "").strip().rstrip(".")
    number = float(re.sub(r",(?=\d{3}$)", "", digits).replace(",", "."))
    if not said:
        return number
    if not unit or not re.fullmatch(r"[A-Za-z°µ²³]+", said):
        return None
    return _converted(number, said, unit)


def _converted(number: float, said: str, unit: str) -> float | None:
    """A quantity in ``unit``; None where it has another dimension or is none."""
    registry = _registry()
    for name in (said, said.casefold()):
        try:
            return float(registry.Quantity(number, name).to(unit).magnitude)
        except (
            Exception
        ):  # Pint has no common base of its errors, and a parser's surprises must not stop a run
            continue
    return None
