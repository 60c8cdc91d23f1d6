"""The grammar of titles: which parts of a listing a category's titles name, in which order and words.

A composed title can hold no other word than those of the listing's own values, its type, and words that the
category's titles always put around them ("for", "with").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from components.catalog.format.attributes import each, shown
from components.opal.model.listing_text import Listing
from components.opal.model.titles.words import cores
from components.stage.params import Params, Share


class Slot(Params):
    """One part of a title: an attribute, or the product type."""

    attribute: str | None = None  # null: the product type
    named: Share = 1.0  # of the titles of listings that state it
    unsaid: tuple[str, ...] = ()  # values that titles do not name, such as "plain"
    before: tuple[str, ...] = ()  # words that titles put around it
    after: tuple[str, ...] = ()

    def value(self, listing: Listing) -> str:
        """What ``listing`` says of it, without what titles leave unsaid; empty if nothing."""
        if self.attribute is None:
            return listing.product_type
        stated = each(listing.attributes.get(self.attribute))
        return shown(tuple(value for value in stated if value not in self.unsaid))


class CategoryTitles(Params):
    """Titles of one category."""

    slots: tuple[Slot, ...] = (Slot(),)  # in the order of a title
    words: tuple[str, ...] = ()  # that its titles use besides; a title that is written freely may hold them


class Titles(Params):
    """How the listings of a model get their titles; part of its folder."""

    kind: Literal["composed", "written"] = "composed"
    categories: Mapping[str, CategoryTitles] = {}

    def compose(self, category: str, listing: Listing, most_chars: int) -> str:
        """The title of a listing, at most ``most_chars`` long; the category's name stands for an unsaid type.

        Where not all has room whole attributes are left out; those that titles name most come first.
        """
        named = listing if listing.product_type.strip() else replace(listing, product_type=category)
        said = list(_said(self._of(category), named))
        kept = [part for part in said if part[0].attribute is None]
        for part in sorted(said, key=lambda part: -part[0].named):
            longer = [each for each in said if each in kept or each is part]
            if len(_joined(longer)) <= most_chars:
                kept = longer
        return _joined(kept)[:most_chars].strip()

    def _of(self, category: str) -> CategoryTitles:
        return self.categories.get(category, CategoryTitles())

    def supports(self, category: str, listing: Listing) -> bool:
        """Whether every word of a title is of its category, its type, its attributes and their values, one
        that the category's titles use, or one that is printed on the product."""
        learned = self._of(category)
        allowed = {*cores(category), *cores(listing.product_type), *learned.words, *listing.printed}
        for name, value in listing.attributes.items():
            allowed.update(cores(name.replace("_", " ")), *map(cores, each(value)))
        for slot in learned.slots:
            allowed.update(slot.before, slot.after)
        return all(word in allowed for word in cores(listing.title))


def _said(learned: CategoryTitles, listing: Listing) -> Iterator[tuple[Slot, str]]:
    """The slots that a listing fills; what the type or an earlier slot says already is not said again."""
    known = set(cores(listing.product_type))
    for slot in learned.slots:
        words = set(cores(value := slot.value(listing)))
        if value.strip() and (slot.attribute is None or not words or not words <= known):
            known |= words
            yield slot, value


def _joined(said: list[tuple[Slot, str]]) -> str:
    words = [word for slot, value in said for word in (*slot.before, value, *slot.after)]
    title = " ".join(" ".join(words).split())
    return title[:1].upper() + title[1:]
