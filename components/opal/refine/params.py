"""Parameters of the refinement and of its evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from components.catalog.format.params import ReencodeParams
from components.stage.params import Params, Precision, Share

# What can speak for or against a value (components/opal/refine/support/evidence.py says how).
Source = Literal["prompt", "examples", "type", "mention", "named_mention", "siblings"]
Grain = Literal["listing", "attribute", "attributes", "title", "visible", "not_visible"]


class WordParams(Params):
    """How the catalogue's own words are counted (train split) and words of a listing held against them."""

    most_words: int = Field(50_000, ge=100)  # the vocabulary kept; rarer words beyond it are forgotten
    min_count: PositiveInt = 5  # a word seen this often is a word, and can be what a misspelling meant
    typo_ratio: float = Field(25.0, ge=1)  # a typo's intended word is at least so many times as frequent
    min_chars: int = Field(4, ge=2)  # shorter words are never taken for misspelt
    synonym_purity: Share = 0.8  # a word stands for a value when this share of its titles state the value
    synonym_ratio: NonNegativeFloat = 0.4  # and is replaced when so much rarer than the value's own word


class TitleParams(Params):
    """Which words of a title go."""

    own_share: Share = 0.04  # a word in this share of a product type's titles belongs there
    stuffing_run: PositiveInt = 3  # so many words at the end that do not belong are keyword stuffing


class SupportParams(Params):
    """How well a value is supported against its alternatives, and from where on it is dropped."""

    batch_size: PositiveInt = 64
    precision: Precision = "bf16"
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
    keep_above: Share = 0.45  # probability of being right from which a value is kept
    visible_above: Share = 0.6  # how often a picture must prefer the stated value to another one of its type


class MllmParams(Params):
    """The judge that asks the chat model of block ``llm``, shown the picture."""

    # Asked about values of lower support only, and about those that no judge measured; 1 = about all.
    doubt_below: Share = 0.9
    picture: ReencodeParams = ReencodeParams()  # as it is shown
    most_characters: PositiveInt = 200  # of a name or value that is shown


class InstructionParams(Params):
    """Instruction samples of each refined record."""

    grains: tuple[Grain, ...] = Field(
        ("listing", "attribute", "attributes", "title", "visible", "not_visible"), min_length=1
    )
    most_attributes: int = Field(4, ge=2)  # named in one question for several attributes


class RefineParams(Params):
    """Block ``refine``: conformity enhancement (MACE) and contextual understanding (LACU)."""

    seed: int = 42
    threads: PositiveInt = 1
    batch_products: PositiveInt = 1024  # listings in memory at once
    words: WordParams = WordParams()
    title: TitleParams = TitleParams()
    support: SupportParams | None = SupportParams()  # null: pictures and other listings are not asked
    mllm: MllmParams | None = None  # null: no chat model is asked
    instructions: InstructionParams = InstructionParams()


class RefineEvalParams(Params):
    """Block ``refine_eval``: sellers' and refined listings against the truth."""

    seed: int = 47
    split: Literal["validation", "test"] = "test"
    bootstrap_samples: int = Field(10_000, ge=100)
