"""Parameters of the encoder's stages. Nothing has a default here that params.yaml does not show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from components.stage.params import Params

Share = Annotated[float, Field(ge=0, le=1)]


class Pretrained(Params):
    """Weights made elsewhere: an open_clip architecture and a tag of it, or a local safetensors file."""

    architecture: str  # open_clip's name, such as ViT-B-32
    weights: str  # open_clip's tag, or a path to a .safetensors file


class TextTower(Params):
    """The text transformer trained from scratch (open_clip's ``CLIPTextCfg``)."""

    context_length: int = Field(ge=4, le=256)  # tokens, start and end included
    vocabulary_size: int = Field(ge=300, le=100_000)  # of the BPE learned from the training captions
    width: int = Field(ge=32)
    heads: int = Field(ge=1)
    layers: int = Field(ge=1)


class ModelParams(Params):
    """What the dual encoder is. ``pretrained`` replaces ``vision`` and ``text``."""

    pretrained: Pretrained | None
    embed_dim: int = Field(ge=8, le=4096)
    vision: dict[str, Any]  # keys of open_clip's CLIPVisionCfg; image_size comes from image_px
    text: TextTower

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.text.width % self.text.heads:
            raise ValueError(f"text.width {self.text.width} is not divisible by text.heads {self.text.heads}")
        return self


class CaptionShares(Params):
    """Which text stands for a product in one step; the shares are weights and need not sum to one."""

    product_type: float = Field(ge=0)
    title: float = Field(ge=0)
    title_attributes: float = Field(ge=0)
    attributes: float = Field(ge=0)
    description: float = Field(ge=0)

    @model_validator(mode="after")
    def _something_is_sampled(self) -> Self:
        if not sum(self.model_dump().values()):
            raise ValueError("at least one share must be above zero")
        return self


class Augmentation(Params):
    """Random view of a picture; the same for every machine, drawn from (seed, epoch, step)."""

    minimum_area: float = Field(gt=0, le=1)  # share of the picture that a random crop keeps at least
    aspect_jitter: float = Field(ge=0, le=1)  # natural log of the largest change of aspect ratio
    flip: bool
    brightness: float = Field(ge=0, lt=1)  # largest relative change


class TrainingParams(Params):
    """Contrastive training: pooled InfoNCE + topk_weight x top-k patch-text InfoNCE."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    # So many products of one type stand together in a batch, so that its negatives differ in colour and form
    # and not in type alone (topic-aware sampling, Hofstätter et al. 2021, arXiv 2104.06967); 1 mixes freely.
    topic_size: int = Field(ge=1)
    # Captions with one attribute value changed are further negatives of pictures (Yuksekgonul et al. 2023,
    # arXiv 2210.01936).
    swapped_captions: bool
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    betas: tuple[float, float]
    warmup_share: Share  # of all steps
    low_resolution_px: int | None = Field(ge=16)  # early steps run on smaller pictures; null = never
    low_resolution_share: Share  # of all steps
    precision: Literal["bf16", "fp32"]
    initial_temperature: float = Field(gt=0)
    minimum_temperature: float = Field(gt=0)
    topk_weight: float = Field(ge=0)  # lambda
    topk_patches: int = Field(ge=1)
    checkpoint_every_s: float = Field(gt=0)  # resume state; costs nothing but the write
    validate_every_epochs: int = Field(ge=1)


class EncoderParams(Params):
    """Block ``encoder``: the stage that trains the dual encoder."""

    seed: int
    threads: int = Field(ge=1)
    image_px: int = Field(ge=32, le=1024)  # pictures are stretched to a square of this side
    model: ModelParams
    captions: CaptionShares
    augmentation: Augmentation
    training: TrainingParams


class EmbeddingsParams(Params):
    """Block ``embeddings``: the stage that encodes every product's picture."""

    threads: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    precision: Literal["bf16", "fp32"]


class HeldOutParams(Params):
    """What every evaluation on a held-out split is asked the same way."""

    seed: int
    threads: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    precision: Literal["bf16", "fp32"]
    split: Literal["validation", "test"]
    relevant_grade: int = Field(ge=1, le=3)  # from which relevance a hit is a hit
    bootstrap_samples: int = Field(ge=100)
    attribute_prompt: str  # with {value}, {name}, {product_type}

    @model_validator(mode="after")
    def _prompt_is_usable(self) -> Self:
        if "{value}" not in self.attribute_prompt:
            raise ValueError("attribute_prompt must contain {value}")
        self.attribute_prompt.format(value="", name="", product_type="")
        return self


class EvaluationParams(HeldOutParams):
    """Block ``encoder_eval``: what is measured on the held-out split."""

    histogram_bins: int = Field(ge=2, le=16)  # per colour channel, of the baseline colour_histogram


CACHE = Path(".vitrine/cache")
