"""Parameters of the seller noise."""

from __future__ import annotations

from components.stage.params import Params, Share


class NoiseParams(Params):
    """How carelessly sellers write: the probability of each act, per product or per attribute."""

    attribute_dropped: Share = 0.12  # per attribute: left out of the table
    attribute_wrong: Share = 0.05  # per attribute with a closed list: another value of that list
    attribute_free_form: Share = 0.06  # per attribute: told in the seller's own words instead of the table's
    title_value_missing: Share = 0.0  # per attribute: the title's words for its value are left out
    synonym: Share = 0.2  # per product: title words replaced by words of like meaning
    misspelling: Share = 0.2  # per product: one or two words of the title or description
    shouting: Share = 0.06  # per product: part of the title in capitals
    boilerplate: Share = 0.25  # per product: shop phrases that say nothing of the product
    keyword_stuffing: Share = 0.1  # per product: words of other products in the title
    title_missing: Share = 0.02  # per product, only where a description remains
    description_missing: Share = 0.1  # per product, only where a title remains
    # Kinds of act (as in the truth's noise column) that only products of the test split may show.
    test_only: tuple[str, ...] = (
        "misspelling.neighbour_key",
        "boilerplate.disclaimer",
        "keyword_stuffing.hype",
    )
