"""Parameters of OPAL's model stages. Nothing has a default here that params.yaml does not show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.stage.params import Params

Share = Annotated[float, Field(ge=0, le=1)]
CACHE = Path(".vitrine/cache")


class Pretrained(Params):
    """An image-text-to-text model made elsewhere, instead of one built here."""

    model: str  # a folder, or a name on the hub such as Qwen/Qwen2.5-VL-3B-Instruct
    revision: str | None  # commit on the hub; null: a folder, or the newest
    dtype: Literal["bf16", "fp32"]
    image_px: int = Field(ge=28)  # side of the square pictures that its processor is given


class LanguageModel(Params):
    """The causal language model trained from scratch (a Llama of transformers)."""

    vocabulary_size: int = Field(ge=300, le=100_000)  # upper bound of the BPE learned from the answers
    context_length: int = Field(ge=16)  # tokens, image tokens included
    width: int = Field(ge=16)
    heads: int = Field(ge=1)
    layers: int = Field(ge=1)
    feed_forward: int = Field(ge=16)
    aligned_start: bool  # words start as the encoder's vectors of them, in one space with the picture

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} does not split into {self.heads} heads of even size")
        return self


class VisionParams(Params):
    """The image tower, which starts from models/encoder."""

    grid: int = Field(ge=1, le=32)  # patch tokens per side; one more token stands for the whole picture
    frozen: bool
    whitening_pictures: int = Field(ge=2)  # of the train split, whose tokens say how to whiten


class LoraParams(Params):
    """Low-rank adapters (peft); merged into the weights before a model is published."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: Share
    targets: str | list[str]  # names of linear layers, or a regular expression over them


class Taught(Params):
    """What a model is taught to write of a refined listing."""

    stated: Literal["visible", "refined"]  # attributes that the picture shows, or all
    title_attributes: list[
        str
    ]  # a title is these, if visible, and the product type; empty: the refined title


class ListingParams(Params):
    """Block ``listing``: the model that writes listings, and how it is asked."""

    seed: int
    pretrained: Pretrained | None
    vision: VisionParams  # of a model built here
    language: LanguageModel  # of a model built here
    lora: LoraParams | None  # null: every weight is trained
    prompt: str  # with {category}
    taught: Taught
    require_attributes: bool  # the grammar asks for the schema's required attributes, seen or not
    max_title_chars: int = Field(ge=1)
    max_new_tokens: int = Field(ge=8)
    precision: Literal["bf16", "fp32"]

    @model_validator(mode="after")
    def _prompt_is_usable(self) -> Self:
        if "{category}" not in self.prompt:
            raise ValueError("prompt must contain {category}")
        self.prompt.format(category="")
        return self


class OptimiserParams(Params):
    """AdamW with a warm-up and a cosine, as the two trainings share it."""

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)  # rows, or pairs, per step and device
    accumulation: int = Field(ge=1)  # batches per step
    learning_rate: float = Field(gt=0)
    warmup_share: Share
    weight_decay: float = Field(ge=0)
    betas: tuple[float, float]
    max_grad_norm: float = Field(gt=0)
    gradient_checkpointing: bool
    checkpoint_every_s: float = Field(gt=0)  # resume state; costs nothing but the write
    optimiser: Literal["adamw", "muon"]  # muon: of the matrices; embeddings, norms and biases keep AdamW


class SftParams(Params):
    """Block ``sft``: visual instruction tuning."""

    seed: int
    threads: int = Field(ge=1)
    instruction_share: Share  # of a batch of the refined variant; the rest are whole listings
    training: OptimiserParams


class PairShares(Params):
    """Which rejected answers are tried (weights): sampled from the model, the seller's own, swapped."""

    sampled: float = Field(ge=0)
    seller: float = Field(ge=0)
    swapped: float = Field(ge=0)

    @model_validator(mode="after")
    def _something_is_tried(self) -> Self:
        if not sum(self.model_dump().values()):
            raise ValueError("at least one share must be above zero")
        return self


class PreferencesParams(Params):
    """Block ``preferences``: pairs of a refined listing and a worse one."""

    seed: int
    threads: int = Field(ge=1)
    pairs: int = Field(ge=1)  # at most this many
    shares: PairShares
    temperature: float = Field(gt=0)  # of sampled answers
    top_p: float = Field(gt=0, le=1)
    batch_size: int = Field(ge=1)
    neighbours: int = Field(ge=1)  # visually nearest products that swapped attributes come from
    max_swapped: int = Field(ge=1)  # attributes of one pair
    # as_written; or the chosen answer with the wrong values of it: any, or only of what pictures can tell
    rejected: Literal["as_written", "values", "visible_values"]


class DpoParams(Params):
    """Block ``dpo``: direct preference optimisation against the tuned model."""

    seed: int
    threads: int = Field(ge=1)
    beta: float = Field(gt=0)
    sft_weight: float = Field(ge=0)  # of the chosen answers' own likelihood, added to the loss (RPO)
    training: OptimiserParams


class ListingEvalParams(Params):
    """Block ``listing_eval``: what is measured on the held-out split."""

    seed: int
    threads: int = Field(ge=1)
    split: Literal["validation", "test"]
    products: int | None = Field(ge=1)  # the first so many of a seeded order; null: all
    untrained_products: int = Field(ge=1)  # of them in the row of a model that nothing has taught to end
    batch_size: int = Field(ge=1)
    neighbours: int = Field(ge=1)  # of the voting row
    bootstrap_samples: int = Field(ge=100)


class DescribeParams(Params):
    """Block ``describe``: listings of photos from anywhere."""

    threads: int = Field(ge=1)
    model: str  # folder
    batch_size: int = Field(ge=1)
    max_bytes: int = Field(ge=1)
    max_pixels: int = Field(ge=1)
    min_side_px: int = Field(ge=1)
    low_confidence: Share  # marked in the gallery below it
