"""The judge that holds values against the words printed on the product.

Brands, sizes and models are often printed there. A printed value is supported; a name one edit away from a
printed one that the catalogue knows is mended to that spelling. Readers misread letters, too, so a printed
word that no other listing states changes nothing, and nothing is ever added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.catalog.format.attributes import facts
from components.catalog.format.schema import CatalogSchema
from components.evidence.listing import SellerListing
from components.opal.model.printed.reader import spelled
from components.opal.refine.decisions import Decision, kept
from components.opal.refine.judge import JudgeInputs, OpenedJudge
from components.opal.refine.observed import KnownValues
from components.opal.refine.wording import edits, has_digit, word_run

NAME = "printed_text"


class PrintedTextJudge:
    """Speaks of values that the picture's own text spells, with the reader's confidence as support."""

    def __init__(self, schema: CatalogSchema, known: KnownValues) -> None:
        self._schema, self._known = schema, known

    def judge(self, listings: Sequence[SellerListing]) -> list[list[Decision]]:
        """One decision per value that is printed, or that misspells what is printed."""
        return [self._listing(listing) if listing.printed else [] for listing in listings]

    def _listing(self, listing: SellerListing) -> list[Decision]:
        # a hyphen separates words here as it does in values
        printed = {part: sure for word, sure in listing.printed.items() for part in word_run(word)}
        found = (self._value(listing, name, value, printed) for name, value in facts(listing.attributes))
        return [decision for decision in found if decision is not None]

    def _value(
        self, listing: SellerListing, name: str, value: str, printed: Mapping[str, float]
    ) -> Decision | None:
        category = self._schema.categories.get(listing.category)
        attribute = category.attributes.get(name) if category else None
        if attribute is None or attribute.type == "number":  # a printed number may count anything
            return None
        words = word_run(value)
        if sure := spelled(words, printed):
            others = (word_run(v) for v in attribute.values)
            if any(spelled(other, printed) and not set(other) <= set(words) for other in others):
                return None  # several values are printed
            return kept(name, value, NAME, "printed on the product", sure)
        usual = self._known.usual(listing.category, name) if attribute.type == "string" else ()
        near = [] if value in usual else [v for v in usual if _misspells(words, word_run(v), printed)]
        if len(near) != 1:
            return None
        reason, sure = "misspelling of what is printed", spelled(word_run(near[0]), printed)
        return Decision("attributes", name, value, "normalise", near[0], NAME, reason, sure)


def _misspells(words: Sequence[str], meant: Sequence[str], printed: Mapping[str, float]) -> bool:
    """Whether ``words`` are one edit away from ``meant``, which is printed."""
    if any(map(has_digit, (*words, *meant))) or not spelled(meant, printed):
        return False
    return edits(words, meant) == 1


def open_judge(inputs: JudgeInputs) -> OpenedJudge | None:
    """The judge of printed words; None where pictures are not read."""
    if inputs.params.printed_text is None:
        return None
    return OpenedJudge(PrintedTextJudge(inputs.schema, inputs.observed.values))
