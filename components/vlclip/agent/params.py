"""Parameters of the text agent (VL-CLIP, step 2). None has a default that params.yaml does not show."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.catalog.format.params import ReencodeParams
from components.stage.params import Params


class EvidenceParams(Params):
    """When a fact counts as true: seller's word and picture, weighed against the attribute's other values."""

    # How a picture's vector is asked for a value: by a linear probe on the values that sellers of the train
    # split state, or by the encoder's similarity to a text per value.
    judge: Literal["probe", "prompts"]
    ridge: float = Field(gt=0)  # of the probe: penalty on its squared weights
    prompt: str  # of the prompts, with {value} and {product_type}
    minimum_coverage: float = Field(ge=0, le=1)  # share of a type's products that name an attribute it has
    minimum_share: float = Field(ge=0, le=1)  # share of those that name a value it can take
    calibration_split: Literal["train", "validation"]  # whose stated values scale the picture's probabilities
    calibration_products: int = Field(ge=1)  # fewer than this: the picture has no say on the attribute
    minimum_gain: float = Field(ge=0, le=1)  # so much better than the commonest value, else likewise
    scales: tuple[float, ...] = Field(min_length=1)  # tried on the encoder's similarities; likeliest one wins
    table_odds: float = Field(gt=0)  # right to wrong, of a value in the seller's table
    text_odds: float = Field(gt=0)  # likewise, of a value in the seller's title or description
    support: float = Field(gt=0, lt=1)  # probability from which a fact is supported
    added_support: float = Field(gt=0, le=1)  # likewise, of a fact that the seller does not state; 1 = never
    added_coverage: float = Field(ge=0, le=1)  # only attributes that this share of a type's products name


class SpellingParams(Params):
    """Which words are slips of the schema's words."""

    minimum_letters: int = Field(ge=1)  # shorter words turn into other words
    minimum_similarity: float = Field(gt=0, le=1)  # 1 - edits / length (optimal string alignment)
    rarer: float = Field(ge=1)  # a slip is so many times rarer in the catalogue than the word


class ClarifyParams(Params):
    """Block ``clarify``: the stage that writes one clean text per product."""

    threads: int = Field(ge=1)
    batch_size: int = Field(ge=1)  # texts per pass of the encoder
    precision: Literal["bf16", "fp32"]
    max_rounds: int = Field(ge=1, le=20)  # of Evaluator and Refiner
    max_characters: int = Field(ge=20, le=2000)  # of a text
    picture: ReencodeParams  # how a chat model is shown it
    record_characters: int = Field(ge=50)  # of a seller's title, and of a description, that a model is shown
    silent_facts: bool  # whether to tell what no picture shows (by the calibration)
    title_words: int = Field(ge=0)  # at most so many other words of the title ...
    title_word_products: int = Field(ge=1)  # ... which so many titles of the type use
    evidence: EvidenceParams
    spelling: SpellingParams
