"""What an answer earns: a reward for each right value, a penalty for each wrong one."""

from __future__ import annotations

from components.catalog.format.attributes import facts
from components.catalog.format.schema import Category
from components.opal.model.listing_text import Listing, parse_answer

TYPE = ""  # stands for a product type's name among attributes


def reward(text: str, known: Listing, category: Category, penalty: float) -> float:
    """Right values minus ``penalty`` for each wrong one; in no listing every known value counts as wrong.

    A value is right if the listing ``known`` states it too; its product type is one of its values.
    """
    wanted = _values(known)
    said = parse_answer(text, category)
    if said is None:
        return -penalty * max(1, len(wanted))
    stated = _values(said)
    right = len(stated & wanted)
    return right - penalty * (len(stated) - right)


def _values(listing: Listing) -> set[tuple[str, str]]:
    typed = [(TYPE, listing.product_type)] if listing.product_type else []
    return {*facts(listing.attributes), *typed}
