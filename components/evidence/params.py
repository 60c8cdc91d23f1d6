"""Parameters of evidence: how words are counted, and how a value is weighed against its alternatives."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from components.stage.params import Params, Share

# What can speak for or against a value (components/evidence/features.py says how).
Source = Literal["prompt", "examples", "type", "mention", "named_mention", "siblings"]


class WordParams(Params):
    """How the catalogue's own words are counted (train split) and words of a listing held against them."""

    most_words: int = Field(50_000, ge=100)  # the vocabulary kept; rarer words beyond it are forgotten
    min_count: PositiveInt = 5  # a word seen this often is a word, and can be what a misspelling meant
    typo_ratio: float = Field(25.0, ge=1)  # a typo's intended word is at least so many times as frequent
    min_chars: int = Field(4, ge=2)  # shorter words are never taken for misspelt
    # Of the titles, as wordfreq names it (en, de, fr, ...). A word that people use there is no misspelling of
    # another one, however rare it is here: "dual" of "dial", "Woman" of "Women". null: nothing is known of
    # words outside the catalogue, and only the listing's own record can say what a word meant.
    language: str | None = Field("en", pattern="^[a-z]{2,3}$")
    used_above: NonNegativeFloat = (
        1.5  # Zipf frequency (log10 per billion words) from which people use a word
    )
    synonym_purity: Share = 0.8  # a word stands for a value when this share of its titles state the value


class EvidenceParams(Params):
    """What is asked about a value, and how the answers are weighed."""

    # what is asked; fewer sources are an ablation
    evidence: tuple[Source, ...] = Field(
        ("prompt", "examples", "type", "mention", "named_mention", "siblings"), min_length=1
    )
    prompt: str = "{value} {product_type}"  # with {value}, {name}, {product_type}
    max_values: int = Field(64, ge=2)  # an attribute with more allowed values is not judged
    shrinkage: float = Field(0.2, gt=0, le=1)  # of the covariance of picture vectors, towards a sphere
    folds: int = Field(2, ge=2)  # a train product is judged by examples of the other folds
    calibration_products: PositiveInt = 2000  # of the validation split; bounds memory
    penalty: PositiveFloat = 3.0  # holds an attribute's weights to those of all attributes
    visible_above: Share = 0.6  # how often a picture must prefer the stated value to another one of its type
