"""What ``--where`` asks for: values (``colour=navy``) and ranges (``price<50``, ``length>=1 m``)."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple
from unicodedata import normalize

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.catalog.format.measures import in_unit, unit_of, unit_said
from components.catalog.format.prices import NoPriceError, amount_in, currency_of
from components.retrieval.errors import FilterError

FIELDS = ("category", "product_type", "split", "group_id")  # that every product has, beside its attributes
COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
EXAMPLES = 3
_CONDITION = re.compile(r"\s*([^\s<>=].*?)\s*(<=|>=|<|>|=)\s*(\S.*?)\s*", re.DOTALL)


class Condition(NamedTuple):
    """One condition; ``sign`` is ``=`` or one of ``COMPARE``."""

    name: str
    sign: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.value}"


def conditions(asked: Sequence[str]) -> tuple[Condition, ...]:
    """Read every ``--where``; a product must fulfil all of them.

    Raises:
        FilterError: one has no name, no sign or no value.
    """
    found = []
    for text in asked:
        parts = _CONDITION.fullmatch(normalize("NFC", text))
        if parts is None:
            raise FilterError(f"--where takes name=value, such as colour=red, or price<50, not '{text}'.")
        found.append(Condition(*parts.groups()))
    return tuple(found)


def fulfilling(products: pa.Table, where: Sequence[Condition]) -> NDArray[np.bool_]:
    """bool ``[N]``: products that fulfil every condition.

    Texts are equal whatever their capitals. Numbers are compared as numbers, in the unit or the currency that
    the attribute's name ends with (``capacity_ml<0.5 l``), or that both its values and the condition state.
    ``price`` finds ``price_eur`` where no attribute is called ``price``.

    Args:
        products: with the columns ``FIELDS`` and ``attributes`` of a catalogue.

    Raises:
        FilterError: no product has such an attribute or such a value, or what is compared is no number.
    """
    allowed = np.ones(products.num_rows, np.bool_)
    for condition in where:
        name, rows, values = _values(products, condition.name)
        encoded = values.dictionary_encode()
        known = [str(value) for value in encoded.dictionary.to_pylist()]
        accepted = np.array(_accepted(condition, name, known), np.bool_)
        fulfils = np.zeros(products.num_rows, np.bool_)
        fulfils[rows[accepted[encoded.indices.to_numpy()]]] = True
        allowed &= fulfils
    return allowed


def _values(products: pa.Table, asked: str) -> tuple[str, NDArray[np.int64], Any]:
    """The field or attribute that ``asked`` names, and its values with the rows they are of."""
    import pyarrow.compute as pc

    pairs = products["attributes"].combine_chunks()
    flat, parents = pairs.flatten(), pc.list_parent_indices(pairs).to_numpy()
    names = flat.field("name")
    name = _named(asked, [*FIELDS, *sorted(filter(None, pc.unique(names).to_pylist()))])
    if name in FIELDS:
        column = products[name].combine_chunks()
        given = pc.is_valid(column).to_numpy(zero_copy_only=False)
        return name, np.flatnonzero(given), column.drop_null()
    here = pc.and_(pc.equal(names, name), pc.is_valid(flat.field("value")))
    here = pc.fill_null(here, False)
    return name, parents[here.to_numpy(zero_copy_only=False)], flat.field("value").filter(here)


def _named(asked: str, names: Sequence[str]) -> str:
    """Which of ``names`` is meant: that name, else in other capitals, else without its unit or currency."""
    if asked in names:
        return asked
    for form in (_folded, _stem):
        found = [name for name in names if form(name) == _folded(asked)]
        if len(found) == 1:
            return found[0]
        if found:
            raise FilterError(f"'{asked}' may be {' or '.join(map(repr, found))}; say which.")
    raise FilterError(f"No product has a field '{asked}'{_nearest(asked, names)}")


def _folded(text: str) -> str:
    return " ".join(normalize("NFC", text).casefold().split())


def _stem(name: str) -> str:
    return _folded(name.rpartition("_")[0]) if unit_of(name) or currency_of(name) else ""


def _nearest(asked: str, known: Sequence[str]) -> str:
    """``; did you mean ...? (known: ...)``, the end of a sentence."""
    folded = {_folded(name): name for name in known}
    near = get_close_matches(_folded(asked), folded, 1)
    listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    return (f"; did you mean '{folded[near[0]]}'?" if near else "") + f" (known: {listed})."


def _accepted(condition: Condition, name: str, known: Sequence[str]) -> list[bool]:
    """Which of the values ``known`` fulfil the condition."""
    asked, numbers, why = _numbers(condition.value, name, known)
    if condition.sign == "=":
        same = [_folded(value) == _folded(condition.value) for value in known]
        equal = [asked is not None and n is not None and math.isclose(asked, n) for n in numbers]
        found = [a or b for a, b in zip(same, equal, strict=True)]
        if not any(found):
            raise FilterError(
                f"No product has {name} '{condition.value}'{_nearest(condition.value, sorted(known))}"
            )
        return found
    if asked is None:
        raise FilterError(f"--where '{condition}': '{condition.value}' {why}.")
    if all(number is None for number in numbers):
        raise FilterError(
            f"--where '{condition}': no {name} is a number of that kind; "
            f"they are such as {', '.join(map(repr, known[:EXAMPLES]))}."
        )
    compare = COMPARE[condition.sign]
    return [number is not None and compare(number, asked) for number in numbers]


def _numbers(text: str, name: str, known: Sequence[str]) -> tuple[float | None, list[float | None], str]:
    """What is asked and the values ``known`` as numbers of one unit, None for what is none; and why it is."""
    unit, currency = unit_of(name), currency_of(name)
    said = "" if unit else unit_said(text)
    asked, why = in_unit(text, unit or said), f"is no number to compare {name} with"
    if asked is None and currency:
        try:
            asked = float(amount_in(text, currency))
        except NoPriceError as error:
            why = str(error)
    stated = [value if not said or unit_said(value) else "" for value in known]
    return asked, [in_unit(value, unit or said) for value in stated], why
