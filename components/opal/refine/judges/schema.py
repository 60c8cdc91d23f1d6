"""The judge of form: names, types, units and spelling of values against the category's schema.

Its knowledge is the schema, the values of the train split, RapidFuzz for spelling and Pint for units. It
keeps no list of the ways in which sellers go wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rapidfuzz.distance import OSA

from components.catalog.format.schema import Attribute, CatalogSchema, attribute_problem
from components.evidence.listing import SellerListing
from components.evidence.words import core, cores, phrases
from components.opal.refine.decisions import Decision, kept
from components.opal.refine.judge import Inputs, Opened
from components.opal.refine.known_values import KnownValues
from components.opal.refine.units import in_unit, unit_of

NAME = "schema"
LONGEST_PHRASE = 4  # words of a value that is looked for in a longer text


def _words(text: str) -> tuple[str, ...]:
    return tuple(cores(text.replace("-", " ").replace("_", " ")))


def contained(text: str, values: Iterable[str]) -> list[str]:
    """The values whose words stand in ``text`` in a row, the longest ones only."""
    runs = {run for _, run in phrases(_words(text), LONGEST_PHRASE)}
    found = [value for value in values if _words(value) in runs]
    return [v for v in found if not any(v != w and set(_words(v)) < set(_words(w)) for w in found)]


def _abbreviates(short: str, value: str) -> bool:
    """Whether each word of ``short`` is made of letters of that word of ``value``, the first one first."""
    words, whole = _words(short), _words(value)
    if len(words) != len(whole) or short.casefold() == value.casefold():
        return False
    for a, b in zip(words, whole, strict=True):
        letters = iter(b)
        if a[0] != b[0] or len(a) > len(b) or not all(letter in letters for letter in a):
            return False
    return True


class SchemaJudge:
    """Brings values into the form that the schema asks for; what cannot be brought there is dropped."""

    def __init__(self, schema: CatalogSchema, known: KnownValues) -> None:
        self._schema, self._known = schema, known

    def judge(self, listings: Sequence[SellerListing]) -> list[list[Decision]]:
        """One decision per attribute of each listing."""
        return [
            [self._attribute(listing, name, value) for name, value in sorted(listing.attributes.items())]
            for listing in listings
        ]

    def _attribute(self, listing: SellerListing, name: str, value: str) -> Decision:
        """The decision about one value, by the kind of attribute that the schema says it is."""
        category = self._schema.categories.get(listing.category)
        attribute = category.attributes.get(name) if category else None
        if attribute is None:
            return self._drop(name, value, "the category has no such attribute")
        if attribute.type == "string":
            return self._free_text(listing, name, value)
        if not attribute_problem(attribute, value):
            return kept("attributes", name, value, NAME, "fits the schema")
        if attribute.type == "number":
            return self._number(name, value)
        return self._closed(listing, name, value, attribute)

    def _drop(self, name: str, value: str, reason: str) -> Decision:
        return Decision("attributes", name, value, "drop", "", NAME, reason)

    def _normalise(self, name: str, value: str, new: str, reason: str) -> Decision:
        return Decision("attributes", name, value, "normalise", new, NAME, reason)

    def _number(self, name: str, value: str) -> Decision:
        number = in_unit(value, unit_of(name))
        if number is None or not math.isfinite(number):
            return self._drop(name, value, f"is no number{f' of {unit_of(name)}' if unit_of(name) else ''}")
        return self._normalise(name, value, f"{number:.10g}", "unit written out or converted")

    def _closed(self, listing: SellerListing, name: str, value: str, attribute: Attribute) -> Decision:
        new, reason = recognised(value, attribute.values, f"{listing.title} {listing.description}")
        if new:
            return self._normalise(name, value, new, reason)
        return self._drop(name, value, f"is not one of the {len(attribute.values)} allowed values")

    def _free_text(self, listing: SellerListing, name: str, value: str) -> Decision:
        """A value the schema leaves open: held against what other listings state."""
        usual = self._known.usual(listing.category, name)
        if value in usual:
            return kept("attributes", name, value, NAME, "a value that other listings state")
        new, reason = recognised(value, usual, f"{listing.title} {listing.description}")
        if new:
            return self._normalise(name, value, new, reason)
        if not value.strip():
            return self._drop(name, value, "is blank")
        if value.endswith(".") and any(_abbreviates(value, known) for known in usual):
            return self._drop(name, value, "an abbreviation of several values")
        return kept("attributes", name, value, NAME, "free text that nothing speaks against")


def open_judge(inputs: Inputs) -> Opened:
    """The judge of form, with the values of the train split."""
    return Opened(SchemaJudge(inputs.schema, inputs.observed.values))


def recognised(value: str, values: Sequence[str], text: str) -> tuple[str, str]:
    """The one of ``values`` that ``value`` says in another form, and in which; empty when none or several.

    In this order: other capitals or separators; a value inside a longer wording; one slip of spelling; an
    abbreviation, told apart by the listing's ``text`` when several values fit.
    """
    folded = {" ".join(_words(v)): v for v in reversed(values)}
    said = " ".join(_words(value))
    if said in folded:
        return folded[said], "other capitals or separators"
    inside = contained(value, values)
    if len(inside) == 1:
        return inside[0], "the value inside a longer wording"
    if inside:
        return "", ""
    near = [
        v for v in values if len(said) > 3 and OSA.distance(said, " ".join(_words(v)), score_cutoff=1) < 2
    ]
    if len(near) == 1:
        return near[0], "misspelling"
    short = [v for v in values if _abbreviates(value, v)]
    if len(short) > 1:
        short = contained(text, short)
    return (short[0], "abbreviation") if len(short) == 1 and core(value) else ("", "")
