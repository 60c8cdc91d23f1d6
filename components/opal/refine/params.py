"""Parameters of the refinement and of its evaluation. Nothing has a default that is not in params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from components.catalog.format.params import ReencodeParams
from components.evidence.params import SupportParams, WordParams
from components.stage.params import Params

Share = Annotated[float, Field(ge=0, le=1)]
Grain = Literal["listing", "attribute", "attributes", "title", "visible", "not_visible"]


class TitleParams(Params):
    """Which words of a title go."""

    own_share: Share  # a word in this share of a product type's titles belongs there
    stuffing_run: int = Field(ge=1)  # so many words at the end that do not belong are keyword stuffing


class MllmParams(Params):
    """The judge that asks the chat model of block ``llm``, shown the picture."""

    # Asked about values of lower support only, and about those that no judge measured; 1 = about all.
    doubt_below: Share
    picture: ReencodeParams  # as it is shown
    most_characters: int = Field(ge=1)  # of a name or value that is shown


class InstructionParams(Params):
    """Instruction samples of each refined record."""

    grains: tuple[Grain, ...] = Field(min_length=1)
    most_attributes: int = Field(ge=2)  # named in one question for several attributes


class RefineParams(Params):
    """Block ``refine``: conformity enhancement (MACE) and contextual understanding (LACU)."""

    seed: int
    threads: int = Field(ge=1)
    batch_products: int = Field(ge=1)  # listings in memory at once
    words: WordParams
    title: TitleParams
    support: SupportParams | None  # null: pictures and other listings are not asked
    mllm: MllmParams | None  # null: no chat model is asked
    instructions: InstructionParams


class RefineEvalParams(Params):
    """Block ``refine_eval``: sellers' and refined listings against the truth."""

    seed: int
    split: Literal["validation", "test"]
    bootstrap_samples: int = Field(ge=100)
