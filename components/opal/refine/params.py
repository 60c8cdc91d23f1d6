"""Parameters of the refinement and of its evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from components.catalog.format.params import ReencodeParams
from components.evidence.params import EvidenceParams, WordParams
from components.opal.model.printed.params import PrintedTextParams
from components.stage.params import Params, Precision, Share

Grain = Literal["listing", "attribute", "attributes", "title", "visible", "not_visible"]


class TitleParams(Params):
    """Which words of a title go."""

    own_share: Share = 0.04  # a word in this share of a product type's titles belongs there
    stuffing_run: PositiveInt = 3  # so many words at the end that do not belong are keyword stuffing


class SupportParams(EvidenceParams):
    """How well a value is supported against its alternatives, and from where on it is dropped."""

    batch_size: PositiveInt = 64  # texts per pass of the encoder
    precision: Precision = "bf16"
    keep_above: Share = 0.45  # probability of being right from which a value is kept


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
    printed_text: PrintedTextParams | None = None  # null: pictures are not read
    support: SupportParams | None = SupportParams()  # null: pictures and other listings are not asked
    mllm: MllmParams | None = None  # null: no chat model is asked
    instructions: InstructionParams = InstructionParams()


class RefineEvalParams(Params):
    """Block ``refine_eval``: sellers' and refined listings against the truth."""

    seed: int = 47
    split: Literal["validation", "test"] = "test"
    bootstrap_samples: int = Field(10_000, ge=100)
