"""Parameters of evidence: how words are counted, and how a value is weighed against its alternatives."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from components.stage.params import Params

Share = Annotated[float, Field(ge=0, le=1)]
# What can speak for or against a value (components/evidence/features.py says how).
Source = Literal["prompt", "examples", "type", "mention", "named_mention", "siblings"]


class WordParams(Params):
    """How the catalogue's own words are counted (train split) and words of a listing held against them."""

    most_words: int = Field(ge=100)  # the vocabulary kept; rarer words beyond it are forgotten
    min_count: int = Field(ge=1)  # a word seen this often is a word, and can be what a misspelling meant
    typo_ratio: float = Field(ge=1)  # a typo's intended word is at least so many times as frequent
    min_chars: int = Field(ge=2)  # shorter words are never taken for misspelt
    synonym_purity: Share  # a word stands for a value when this share of its titles state the value
    synonym_ratio: float = Field(ge=0)  # and is replaced when so much rarer than the value's own word


class SupportParams(Params):
    """How well a value is supported against its alternatives, and from where on it is dropped."""

    batch_size: int = Field(ge=1)
    precision: Literal["bf16", "fp32"]
    evidence: tuple[Source, ...] = Field(min_length=1)  # what is asked; fewer sources are an ablation
    prompt: str  # with {value}, {name}, {product_type}
    max_values: int = Field(ge=2)  # an attribute with more allowed values is not judged
    shrinkage: float = Field(gt=0, le=1)  # of the covariance of picture vectors, towards a sphere
    folds: int = Field(ge=2)  # a train product is judged by examples of the other folds
    calibration_products: int = Field(ge=1)  # of the validation split; bounds memory
    penalty: float = Field(gt=0)  # holds an attribute's weights to those of all attributes
    keep_above: Share  # probability of being right from which a value is kept
    visible_above: Share  # how often a picture must prefer the stated value to another one of its type
