"""Parameters of the text agent (VL-CLIP, step 2)."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveInt

from components.catalog.format.params import ReencodeParams
from components.evidence.params import EvidenceParams, WordParams
from components.stage.params import Params, Precision, Share


class FactParams(Params):
    """When a fact counts as true: its probability by the shared evidence."""

    words: WordParams = WordParams()  # the catalogue's own words and their misspellings
    model: EvidenceParams = EvidenceParams()
    minimum_coverage: Share = 0.05  # share of a type's products that name an attribute it has
    minimum_share: Share = 0.02  # share of those that name a value it can take
    support: float = Field(0.7, gt=0, lt=1)  # probability from which a fact is supported
    # likewise, of a fact that the seller does not state; 1 = never
    added_support: float = Field(0.9, gt=0, le=1)
    added_coverage: Share = 0.7  # only attributes that this share of a type's products name


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
    evidence: FactParams = FactParams()
