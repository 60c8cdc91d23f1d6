"""Prices as shops write them: ``$1,299.00`` and ``1.299,00 €`` are amounts in a currency.

A catalogue keeps a price as a number, in one currency, which the attribute's name ends with: ``price_eur``.
So amounts can be compared, as measures can whose name ends with a unit (``capacity_ml``).
"""

from __future__ import annotations

import re

# Signs that are no code of their own, and the currencies they stand for. A dollar may be anybody's.
SIGNS = {
    "€": "EUR", "euro": "EUR", "£": "GBP", "¥": "JPY CNY", "￥": "JPY CNY", "cn¥": "CNY", "₹": "INR",
    "rs": "INR", "rs.": "INR", "₩": "KRW", "₽": "RUB", "₺": "TRY", "tl": "TRY", "₴": "UAH", "₫": "VND",
    "฿": "THB", "₱": "PHP", "₪": "ILS", "₦": "NGN", "zł": "PLN", "kč": "CZK", "ft": "HUF", "lei": "RON",
    "kr": "SEK NOK DKK ISK", "kr.": "SEK NOK DKK ISK", "fr": "CHF", "fr.": "CHF", "us$": "USD", "r$": "BRL",
    "$": "USD CAD AUD NZD HKD SGD TWD MXN CLP COP ARS BRL", "c$": "CAD", "ca$": "CAD", "a$": "AUD",
    "au$": "AUD", "nz$": "NZD", "hk$": "HKD", "s$": "SGD", "nt$": "TWD", "mx$": "MXN",
}  # fmt: skip
_AMOUNT = re.compile(r"\d(?:[\d.,'’\s]*\d)?")
_BELOW_ONE = re.compile(r"0([.,])\d+")  # three digits behind a lone point are thousands, but not here
_NEGATIVE = re.compile(r"[-−]\s*[^\d\s]{0,3}\s*\d")
CODE = re.compile(r"[a-z]{3}")
_WORD = re.compile(r"[^\W\d_]+[$¥]?\.?|[^\w\s.,'’-]")
_CODES = frozenset(code for codes in SIGNS.values() for code in codes.split())


class NoPriceError(ValueError):
    """Why a text is no price in the currency that is asked for, as a phrase about it."""


def currency_stated(text: str) -> str:
    """The code of the currency that a price names, by its code or by a sign of this currency alone."""
    found = set()
    for word in _WORD.findall(text):
        codes = [word] if word in _CODES else SIGNS.get(word.casefold(), "").split()
        found |= set(codes) if len(codes) == 1 else set()
    return found.pop() if len(found) == 1 else ""


def currency_of(name: str) -> str:
    """The code of the currency that an attribute's name ends with (``price_eur``: EUR); empty for none."""
    stem, _, last = name.rpartition("_")
    return last.upper() if stem and CODE.fullmatch(last) else ""


def amount_in(text: str, currency: str, stated: str = "") -> str:
    """The amount that ``text`` states, as digits with a decimal point.

    Args:
        currency: the code it must be in, where the text or ``stated`` names any.
        stated: the currency as another column states it.

    Raises:
        NoPriceError: no amount, several, one below zero, or one in another currency.
    """
    from price_parser import Price

    amounts = _AMOUNT.findall(text)
    if len(amounts) != 1 or _NEGATIVE.search(text):
        raise NoPriceError("is no single price")
    small = _BELOW_ONE.fullmatch(amounts[0])
    found = Price.fromstring(text, currency_hint=stated, decimal_separator=small[1] if small else None)
    if found.amount is None:
        raise NoPriceError("is no single price")
    said = (found.currency or "").strip()
    if said and currency not in SIGNS.get(said.casefold(), said.upper()).split():
        raise NoPriceError(f"is not in {currency}")
    return format(found.amount, "f")
