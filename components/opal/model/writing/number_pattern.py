"""Decimal numbers within bounds as a regular expression, each written in one way.

llguidance's own pattern of bounds and steps divides floats, and so loses 0.001 as a multiple of 0.000001.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple


def number_pattern(low: Decimal, high: Decimal, decimals: int) -> str | None:
    """Numbers from ``low`` to ``high``, at most ``decimals`` behind the point; None if there is none.

    No exponent, no leading zero, no zero at the end of a fraction, and no minus before 0.
    """
    unit = Decimal(1).scaleb(-decimals)
    first = int(low.quantize(unit, ROUND_CEILING).scaleb(decimals))
    last = int(high.quantize(unit, ROUND_FLOOR).scaleb(decimals))
    parts = []
    if first <= min(last, -1):
        parts += [f"-{part}" for part in _positive(max(1, -last), -first, decimals)]
    if max(first, 0) <= last:
        parts += _positive(max(first, 0), last, decimals)
    return "|".join(parts) or None


def _positive(first: int, last: int, decimals: int) -> list[str]:
    """Patterns of the numbers from ``first`` to ``last``, both counted in units of the last decimal."""
    size = 10**decimals
    (low, start), (high, end) = divmod(first, size), divmod(last, size)
    if low == high:
        return _with_fraction(str(low), start, end, decimals)
    parts = _with_fraction(str(low), start, size - 1, decimals)
    parts += _with_fraction(str(high), 0, end, decimals)
    if high - low > 1:
        parts += _with_fraction(f"({_integers(low + 1, high - 1)})", 0, size - 1, decimals)
    return parts


class _Fractions(NamedTuple):
    """Digits behind a point without zeros at their end: those that are not 0, and whether 0 is one."""

    pattern: str | None
    zero: bool


def _with_fraction(whole: str, first: int, last: int, decimals: int) -> list[str]:
    found = _fractions(first, last, decimals)
    parts = [whole] if found.zero else []
    return parts + ([rf"{whole}\.({found.pattern})"] if found.pattern else [])


def _fractions(first: int, last: int, digits: int) -> _Fractions:
    """Fractions from ``first`` to ``last``, counted in units of the last of ``digits``."""
    if digits == 0:
        return _Fractions(None, True)
    if first == 0 and last == 10**digits - 1:
        return _Fractions(f"[0-9]{{0,{digits - 1}}}[1-9]", True)
    size, parts, zero = 10 ** (digits - 1), [], False
    for digit in range(first // size, last // size + 1):
        low, high = max(first - digit * size, 0), min(last - digit * size, size - 1)
        rest = _fractions(low, high, digits - 1)
        if digit == 0:
            zero = rest.zero
        elif rest.zero:
            parts.append(str(digit))
        if rest.pattern:
            parts.append(f"{digit}({rest.pattern})")
    return _Fractions("|".join(parts) or None, zero)


def _integers(first: int, last: int) -> str:
    """Integers from ``first`` to ``last``, by how many digits they have."""
    parts = []
    for digits in range(len(str(first)), len(str(last)) + 1):
        low, high = max(first, 10 ** (digits - 1) if digits > 1 else 0), min(last, 10**digits - 1)
        parts.append(_digits(low, high, digits))
    return "|".join(parts)


def _digits(first: int, last: int, digits: int) -> str:
    """Runs of exactly ``digits`` from ``first`` to ``last``."""
    if digits == 0:
        return ""
    if first == 0 and last == 10**digits - 1:
        return f"[0-9]{{{digits}}}"
    size, parts = 10 ** (digits - 1), []
    digit, end = first // size, last // size
    while digit <= end:
        low, high = max(first - digit * size, 0), min(last - digit * size, size - 1)
        until = digit
        if low == 0 and high == size - 1:  # whole blocks of numbers that start with these digits
            until = end if last - end * size == size - 1 else max(digit, end - 1)
        sign = str(digit) if until == digit else f"[{digit}-{until}]"
        rest = _digits(low, high, digits - 1)
        parts.append(f"{sign}({rest})" if "|" in rest else sign + rest)
        digit = until + 1
    return "|".join(parts)
