"""Parameters of the text agent (VL-CLIP, step 2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from components.catalog.format.params import ReencodeParams
from components.stage.params import Params, Precision, Share


class EvidenceParams(Params):
    """When a fact counts as true: seller's word and picture, weighed against the attribute's other values."""

    # How a picture's vector is asked for a value: by a linear probe on the values that sellers of the train
    # split state, or by the encoder's similarity to a text per value.
    judge: Literal["probe", "prompts"] = "probe"
    ridge: PositiveFloat = 30.0  # of the probe: penalty on its squared weights
    prompt: str = "{value} {product_type}"  # of the prompts, with {value} and {product_type}
    minimum_coverage: Share = 0.05  # share of a type's products that name an attribute it has
    minimum_share: Share = 0.02  # share of those that name a value it can take
    # whose stated values scale the picture's probabilities
    calibration_split: Literal["train", "validation"] = "validation"
    calibration_products: PositiveInt = 20  # fewer than this: the picture has no say on the attribute
    minimum_gain: Share = 0.0  # so much better than the commonest value, else likewise
    # tried on the encoder's similarities; likeliest one wins
    scales: tuple[float, ...] = Field(
        (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 13.0, 20.0, 30.0, 45.0), min_length=1
    )
    table_odds: PositiveFloat = 19.0  # right to wrong, of a value in the seller's table
    text_odds: PositiveFloat = 19.0  # likewise, of a value in the seller's title or description
    support: float = Field(0.7, gt=0, lt=1)  # probability from which a fact is supported
    # likewise, of a fact that the seller does not state; 1 = never
    added_support: float = Field(0.9, gt=0, le=1)
    added_coverage: Share = 0.7  # only attributes that this share of a type's products name


class SpellingParams(Params):
    """Which words are slips of the schema's words."""

    minimum_letters: PositiveInt = 4  # shorter words turn into other words
    minimum_similarity: float = Field(0.75, gt=0, le=1)  # 1 - edits / length (optimal string alignment)
    rarer: float = Field(10.0, ge=1)  # a slip is so many times rarer in the catalogue than the word


class ClarifyParams(Params):
    """Block ``clarify``: the stage that writes one clean text per product."""

    threads: PositiveInt = 1
    batch_size: PositiveInt = 64  # texts per pass of the encoder
    precision: Precision = "bf16"
    max_rounds: int = Field(5, ge=1, le=20)  # of Evaluator and Refiner
    max_characters: int = Field(160, ge=20, le=2000)  # of a text
    picture: ReencodeParams = ReencodeParams()  # how a chat model is shown it
    # of a seller's title, and of a description, that a model is shown
    record_characters: int = Field(1000, ge=50)
    silent_facts: bool = True  # whether to tell what no picture shows (by the calibration)
    title_words: NonNegativeInt = 0  # at most so many other words of the title ...
    title_word_products: PositiveInt = 20  # ... which so many titles of the type use
    evidence: EvidenceParams = EvidenceParams()
    spelling: SpellingParams = SpellingParams()
