"""Measures with units, by Pint: ``"0.5 l"`` for an attribute in millilitres is 500.

Pint knows every unit of physics, and prefixes that no shop means: to it ``ML`` is a megalitre. Which words
are units here is therefore a list of those that shops sell in; anything else is refused.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import cache
from typing import Any

# As sellers write them, in small letters, to Pint's names. One entry a unit; plurals are found by their s.
SHOP_UNITS = {
    "mm": "millimetre", "cm": "centimetre", "dm": "decimetre", "m": "metre", "km": "kilometre",
    "in": "inch", "inch": "inch", "inche": "inch", '"': "inch", "″": "inch", "”": "inch", "''": "inch",
    "ft": "foot", "foot": "foot", "feet": "foot", "'": "foot", "′": "foot", "’": "foot", "yd": "yard",
    "ml": "millilitre", "cl": "centilitre", "dl": "decilitre", "l": "litre", "ltr": "litre",
    "cc": "millilitre",
    "fl oz": "fluid_ounce", "floz": "fluid_ounce", "gal": "gallon", "pt": "pint", "qt": "quart",
    "mg": "milligram", "g": "gram", "gr": "gram", "gm": "gram", "kg": "kilogram", "kilo": "kilogram",
    "oz": "ounce", "lb": "pound", "sqm": "metre ** 2", "m²": "metre ** 2", "m2": "metre ** 2",
    "cm²": "centimetre ** 2", "cm2": "centimetre ** 2", "cm³": "centimetre ** 3", "cm3": "centimetre ** 3",
    "mah": "milliampere * hour", "wh": "watt * hour", "kwh": "kilowatt * hour", "w": "watt", "kw": "kilowatt",
    "v": "volt", "a": "ampere", "hz": "hertz", "khz": "kilohertz", "mhz": "megahertz", "ghz": "gigahertz",
    "kb": "kilobyte", "mb": "megabyte", "gb": "gigabyte", "tb": "terabyte", "s": "second", "sec": "second",
    "min": "minute", "h": "hour", "hr": "hour", "hour": "hour", "day": "day", "month": "month",
    "year": "year", "lm": "lumen", "°": "degree", "deg": "degree",
    **{name: name for name in (
        "millimetre", "centimetre", "metre", "kilometre", "millimeter", "centimeter", "meter", "kilometer",
        "yard", "millilitre", "centilitre", "litre", "milliliter", "centiliter", "liter", "gallon", "pint",
        "quart", "milligram", "gram", "kilogram", "ounce", "pound", "watt", "kilowatt", "volt", "ampere",
        "hertz", "second", "minute", "lumen",
    )},
}  # fmt: skip
_NUMBER = r"([+-]?)(\d+(?:[.,]\d+)*)?\s*(?:(?<!\d)(\d+)\s*[/⁄]\s*(\d+))?"
_MEASURE = re.compile(rf"\s*{_NUMBER}\s*([^\d\s/⁄][^\d]{{0,15}}[²³23]?)?\s*")
_HALVES = {"¼": " 1/4", "½": " 1/2", "¾": " 3/4"}
_FEET = re.compile(
    r"""\s*(\d+)\s*(?:'|′|’|ft\.?|feet|foot)\s*(\d+(?:\.\d+)?)\s*(?:"|″|”|''|in\.?|inches)?\s*"""
)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|[1-9]\d{0,2}(?:\.\d{3})+,\d+")
INCHES_PER_FOOT = 12
LONGEST_SHORT = 2  # letters of a short form that takes no plural
FINEST = 64  # the smallest part of a unit that people write as a fraction


@cache
def _registry() -> Any:
    """Pint's units; building them takes a quarter of a second, so only when a value has one."""
    import pint

    return pint.UnitRegistry(cache_folder=None)


@cache
def _shop_unit(said: str) -> str:
    """Pint's name of a unit as a seller writes it; empty for one that no shop sells in."""
    word = " ".join(said.casefold().replace(".", " ").split())
    plural = word.removesuffix("s") if len(word) > LONGEST_SHORT else word  # "ms" is no plural of metres
    return SHOP_UNITS.get(word) or SHOP_UNITS.get(plural, "")


@cache
def unit_of(name: str) -> str:
    """The unit that an attribute's name ends with (``capacity_ml``); empty when it names none."""
    stem, sign, last = name.rpartition("_")
    return last if sign and stem and last.isalpha() and _shop_unit(last) else ""


def _number(digits: str) -> float | None:
    """A number as people write it: ``1,500`` and ``1.500,5`` have thousands, ``0,750`` a decimal comma."""
    if _THOUSANDS.fullmatch(digits):
        thousands = "." if "," in digits and digits.rfind(",") > digits.rfind(".") > -1 else ","
        digits = digits.replace(thousands, "")
    try:
        number = float(digits.replace(",", "."))
    except ValueError:  # 1,5,3
        return None
    return number if math.isfinite(number) else None


def in_unit(text: str, unit: str) -> float | None:
    """The number that ``text`` states, converted to ``unit``; None when it is no single measure of that kind.

    ``3 1/2 in`` and ``5'11"`` are one measure each. A comma is a decimal point unless groups of three digits
    follow it and no nought stands alone before it. Without a unit in the text the number stands as it is; a
    unit in the text needs one to convert to.
    """
    for sign, written in _HALVES.items():
        text = text.replace(sign, written)
    if (feet := _FEET.fullmatch(text)) and unit:
        return _converted(int(feet.group(1)) * INCHES_PER_FOOT + float(feet.group(2)), "inch", unit)
    found = _MEASURE.fullmatch(text)
    if found is None:
        return None
    sign, digits, above, below, said = found.groups()
    number = _whole(digits, above, below)
    if number is None:
        return None
    number = -number if sign == "-" else number
    if said is None or not said.strip(" ."):
        return number
    known = _shop_unit(said.strip())
    return _converted(number, known, unit) if known and unit else None


def _whole(digits: str | None, above: str | None, below: str | None) -> float | None:
    """Digits and a fraction together: ``3 1/2``; one of them must be there."""
    if above is None and digits is None:
        return None
    if above is not None and not int(above) < int(below or 0) <= FINEST:  # 16/9 and 100/240 are two numbers
        return None
    number = _number(digits) if digits else 0.0
    fraction = Fraction(int(above), int(below or 1)) if above is not None else 0
    return None if number is None else number + float(fraction)


def _converted(number: float, said: str, unit: str) -> float | None:
    """A quantity in ``unit``; None where it has another dimension."""
    import pint

    registry = _registry()
    try:
        return float(registry.Quantity(number, said).to(_shop_unit(unit)).magnitude)
    except (pint.PintError, OverflowError):
        return None


def unit_said(text: str) -> str:
    """The unit that a measure states, as it is written; empty where it states none that shops sell in."""
    if _FEET.fullmatch(text):
        return "ft"
    found = _MEASURE.fullmatch(text)
    said = (found.group(5) or "").strip(" .") if found else ""
    return said if _shop_unit(said) else ""
