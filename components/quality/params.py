"""Parameters of the quality gates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from components.catalog.format.params import ImageLimits
from components.quality.suite import Expectation
from components.stage.params import Params, Share


class QualityParams(Params):
    """Block ``quality`` of params.yaml: both gates."""

    # Share of the rows of a kind (products, queries, qrels) that may go to quarantine before the gate fails.
    max_bad_fraction: Share = 0.02
    min_products: PositiveInt = 100  # left after quarantine
    min_products_per_split: PositiveInt = 10  # left after quarantine, in each of train, validation and test
    min_test_queries: NonNegativeInt = 1  # left after quarantine
    max_title_chars: PositiveInt = 500
    max_description_chars: PositiveInt = 10_000
    max_query_chars: PositiveInt = 500
    max_id_chars: PositiveInt = 200  # of products, groups and queries
    max_category_chars: PositiveInt = 200
    max_product_type_chars: PositiveInt = 200
    max_attribute_name_chars: PositiveInt = 100
    max_attribute_value_chars: PositiveInt = 1_000
    # What happens to a product with an attribute value outside its category's schema, or without a required
    # one: report leaves it in and counts it (sellers write free-form values), quarantine takes it out.
    attribute_values: Literal["report", "quarantine"] = "report"
    required_attributes: Literal["report", "quarantine"] = "report"
    images: ImageLimits = ImageLimits()
    # Share of the products whose picture also occurs in another split: a copy, perhaps smaller or saved anew.
    max_cross_split_pictures: Share = 0.01
    min_relevance: int = Field(2, ge=1, le=3)  # the grade that makes a product an answer to a test query
    workers: PositiveInt = 1  # processes that look at pictures; 1 = the stage's own
    # How far from 1 the length of an embedding may be.
    unit_norm_tolerance: float = Field(0.001, gt=0, lt=1)
    # share of the embeddings that may equal each other
    max_identical_vectors: float = Field(0.667, gt=0, le=1)
    # mean cosine of all pairs; near 1 the model tells nothing apart
    max_mean_cosine: float = Field(0.99, gt=0, le=1)
    page_examples: PositiveInt = 10  # quarantined rows shown per reason on the validation page
    # What else must hold, by table of the suites: {products: [{type: ..., kwargs: {...}, severity: warning}]}
    expectations: dict[str, tuple[Expectation, ...]] = Field(default_factory=dict)


class ListingQualityParams(Params):
    """Block ``listing_quality``: both gates. Refined listings and pairs are remade, never quarantined."""

    max_title_chars: PositiveInt = 500
    max_answer_chars: PositiveInt = 8000  # of an instruction's answer, and of either side of a pair
    min_kept_values: Share = 0.7  # share of sellers' values that refinement leaves, in any form
    min_kept_words: Share = 0.7  # share of the words of sellers' titles that it leaves
    max_changed_values: Share = 0.25  # share of the values left that it writes in another form
    max_changed_titles: Share = 0.5  # share of titles in which it changes or drops a word
    min_instructions: NonNegativeInt = 100  # for products of the train split
    min_pairs: PositiveInt = 50
    max_kind_share: float = Field(1.0, gt=0, le=1)  # of the pairs, of one kind of rejected answer
    page_examples: PositiveInt = 10  # rows shown per reason on the validation page
    # What else must hold, by table of the suites
    expectations: dict[str, tuple[Expectation, ...]] = Field(default_factory=dict)


class QualityBlock(Params):
    """The parameters of the gates of catalogue and embeddings."""

    quality: QualityParams = QualityParams()


class ListingQualityBlock(Params):
    """The parameters of the gates of refined listings and preference pairs."""

    listing_quality: ListingQualityParams = ListingQualityParams()
