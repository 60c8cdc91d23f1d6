"""Parameters of the seller noise."""

from __future__ import annotations

from pydantic import Field

from components.stage.params import Params

Share = Field(ge=0, le=1)


class NoiseParams(Params):
    """How carelessly sellers write: the probability of each act, per product or per attribute."""

    attribute_dropped: float = Share  # per attribute: left out of the table
    attribute_wrong: float = Share  # per attribute with a closed list: another value of that list
    attribute_free_form: float = Share  # per attribute: told in the seller's own words instead of the table's
    title_value_missing: float = Share  # per attribute: the title's words for its value are left out
    synonym: float = Share  # per product: title words replaced by words of like meaning
    misspelling: float = Share  # per product: one or two words of the title or description
    shouting: float = Share  # per product: part of the title in capitals
    boilerplate: float = Share  # per product: shop phrases that say nothing of the product
    keyword_stuffing: float = Share  # per product: words of other products in the title
    title_missing: float = Share  # per product, only where a description remains
    description_missing: float = Share  # per product, only where a title remains
    # Kinds of act (as in the truth's noise column) that only products of the test split may show.
    test_only: tuple[str, ...]
