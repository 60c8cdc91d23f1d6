"""The judge of form: names, types, units and spelling of values against the category's schema.

Its knowledge is the schema, the values of the train split, RapidFuzz for spelling and Pint for units. It
keeps no list of the ways in which sellers go wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from components.catalog.format.attributes import facts
from components.catalog.format.measures import in_unit, unit_of
from components.catalog.format.schema import Attribute, CatalogSchema, attribute_problem
from components.evidence.listing import SellerListing
from components.opal.refine.decisions import Decision, kept
from components.opal.refine.judge import JudgeInputs, OpenedJudge
from components.opal.refine.observed import KnownValues
from components.opal.refine.wording import abbreviated, abbreviates, recognised, same_words

NAME = "schema"


class SchemaJudge:
    """Brings values into the form that the schema asks for; what cannot be brought there is dropped."""

    def __init__(
        self, schema: CatalogSchema, known: KnownValues, used: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._schema, self._known, self._used = schema, known, used

    def judge(self, listings: Sequence[SellerListing]) -> list[list[Decision]]:
        """One decision per value of each listing."""
        return [
            [self._attribute(listing, name, value) for name, value in sorted(facts(listing.attributes))]
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
            return kept(name, value, NAME, "fits the schema")
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
        text = f"{listing.title} {listing.description}"
        new, reason = recognised(value, attribute.values, text, self._used)
        if new:
            return self._normalise(name, value, new, reason)
        return self._drop(name, value, f"is not one of the {len(attribute.values)} allowed values")

    def _free_text(self, listing: SellerListing, name: str, value: str) -> Decision:
        """A value the schema leaves open: a name or a text, changed only where its own wording says so.

        That another listing states a similar value, or a part of it, is no evidence against it: most such
        values are names, and "organic cotton" says more than "cotton".
        """
        usual = self._known.usual(listing.category, name)
        if value in usual:
            return kept(name, value, NAME, "a value that other listings state")
        if not value.strip():
            return self._drop(name, value, "is blank")
        if same := same_words(value, usual):
            return self._normalise(name, value, same, "other capitals or separators")
        if value.endswith("."):
            if meant := abbreviated(value, usual, f"{listing.title} {listing.description}"):
                return self._normalise(name, value, meant, "abbreviation")
            if any(abbreviates(value, known) for known in usual):
                return self._drop(name, value, "an abbreviation of several values")
        return kept(name, value, NAME, "free text that nothing speaks against")


def open_judge(inputs: JudgeInputs) -> OpenedJudge:
    """The judge of form, with the values of the train split."""
    return OpenedJudge(SchemaJudge(inputs.schema, inputs.observed.values, inputs.observed.words.used))
