"""Parameters of the gates of refined listings and of preference pairs."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveInt

from components.stage.params import Params, Share


class ListingQualityParams(Params):
    """Block ``listing_quality``: both gates. Refined listings and pairs are remade, never quarantined."""

    max_title_chars: PositiveInt = 500
    max_answer_chars: PositiveInt = 8000  # of an instruction's answer, and of either side of a pair
    min_kept_values: Share = 0.7  # share of sellers' values that refinement leaves, in any form
    min_kept_words: Share = 0.7  # share of the words of sellers' titles that it leaves
    min_instructions: NonNegativeInt = 100  # for products of the train split
    min_pairs: PositiveInt = 50
    max_kind_share: float = Field(1.0, gt=0, le=1)  # of the pairs, of one kind of rejected answer
    page_examples: PositiveInt = 10  # rows shown per reason on the validation page
