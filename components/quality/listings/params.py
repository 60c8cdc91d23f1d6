"""Parameters of the gates of refined listings and of preference pairs."""

from __future__ import annotations

from pydantic import Field

from components.stage.params import Params


class ListingQualityParams(Params):
    """Block ``listing_quality``: both gates. Refined listings and pairs are remade, never quarantined."""

    max_title_chars: int = Field(ge=1)
    max_answer_chars: int = Field(ge=1)  # of an instruction's answer, and of either side of a pair
    min_kept_values: float = Field(ge=0, le=1)  # share of sellers' values that refinement leaves, in any form
    min_kept_words: float = Field(ge=0, le=1)  # share of the words of sellers' titles that it leaves
    min_instructions: int = Field(ge=0)  # for products of the train split
    min_pairs: int = Field(ge=1)
    max_kind_share: float = Field(gt=0, le=1)  # of the pairs, of one kind of rejected answer
    page_examples: int = Field(ge=1)  # rows shown per reason on the validation page
