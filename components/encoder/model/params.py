"""Parameters of the encoder's stages."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from components.stage.params import Params, Precision, Share


class Pretrained(Params):
    """Weights made elsewhere: an open_clip architecture and a tag of it, or a local safetensors file."""

    architecture: str  # open_clip's name, such as ViT-B-32
    weights: str  # open_clip's tag, or a path to a .safetensors file


class TextTower(Params):
    """The text transformer trained from scratch (open_clip's ``CLIPTextCfg``)."""

    context_length: int = Field(24, ge=4, le=256)  # tokens, start and end included
    vocabulary_size: int = Field(4000, ge=300, le=100_000)  # of the BPE learned from the training captions
    width: int = Field(128, ge=32)
    heads: PositiveInt = 2
    layers: PositiveInt = 2


class ModelParams(Params):
    """What the dual encoder is. ``pretrained`` replaces ``vision`` and ``text``."""

    pretrained: Pretrained | None = None
    embed_dim: int = Field(256, ge=8, le=4096)
    # keys of open_clip's CLIPVisionCfg; image_size comes from image_px
    vision: dict[str, Any] = {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "linear"}
    text: TextTower = TextTower()

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.text.width % self.text.heads:
            raise ValueError(f"text.width {self.text.width} is not divisible by text.heads {self.text.heads}")
        return self


class CaptionShares(Params):
    """Which text stands for a product in one step; the shares are weights and need not sum to one."""

    product_type: NonNegativeFloat = 0.2
    title: NonNegativeFloat = 0.2
    title_attributes: NonNegativeFloat = 0.1
    attributes: NonNegativeFloat = 0.5
    description: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _something_is_sampled(self) -> Self:
        if not sum(self.model_dump().values()):
            raise ValueError("at least one share must be above zero")
        return self


class Augmentation(Params):
    """Random view of a picture; the same for every machine, drawn from (seed, epoch, step)."""

    minimum_area: float = Field(0.7, gt=0, le=1)  # share of the picture that a random crop keeps at least
    aspect_jitter: Share = 0.2  # natural log of the largest change of aspect ratio
    flip: bool = True
    brightness: float = Field(0.1, ge=0, lt=1)  # largest relative change


class TrainingParams(Params):
    """Contrastive training: pooled InfoNCE + topk_weight x top-k patch-text InfoNCE."""

    epochs: PositiveInt = 20
    batch_size: int = Field(64, ge=2)
    # So many products of one type stand together in a batch, so that its negatives differ in colour and form
    # and not in type alone (topic-aware sampling, Hofstätter et al. 2021, arXiv 2104.06967); 1 mixes freely.
    topic_size: PositiveInt = 1
    # Captions with one attribute value changed are further negatives of pictures (Yuksekgonul et al. 2023,
    # arXiv 2210.01936).
    swapped_captions: bool = True
    learning_rate: PositiveFloat = 0.001
    weight_decay: NonNegativeFloat = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_share: Share = 0.08  # of all steps
    low_resolution_px: int | None = Field(None, ge=16)  # early steps run on smaller pictures; null = never
    low_resolution_share: Share = 0.6  # of all steps
    precision: Precision = "bf16"
    initial_temperature: PositiveFloat = 0.07
    minimum_temperature: PositiveFloat = 0.01
    topk_weight: NonNegativeFloat = 0.5  # lambda
    topk_patches: PositiveInt = 8
    checkpoint_every_s: PositiveFloat = 30.0  # resume state; costs nothing but the write
    validate_every_epochs: PositiveInt = 10


class EncoderParams(Params):
    """Block ``encoder``: the stage that trains the dual encoder."""

    seed: int = 17
    threads: PositiveInt = 2
    image_px: int = Field(64, ge=32, le=1024)  # pictures are stretched to a square of this side
    model: ModelParams = ModelParams()
    captions: CaptionShares = CaptionShares()
    augmentation: Augmentation = Augmentation()
    training: TrainingParams = TrainingParams()


class EmbeddingsParams(Params):
    """Block ``embeddings``: the stage that encodes every product's picture."""

    threads: PositiveInt = 2
    batch_size: PositiveInt = 64
    precision: Precision = "bf16"


class HeldOutParams(Params):
    """What every evaluation on a held-out split is asked the same way."""

    seed: int = 29
    threads: PositiveInt = 1
    batch_size: PositiveInt = 64
    precision: Precision = "bf16"
    split: Literal["validation", "test"] = "test"
    relevant_grade: int = Field(3, ge=1, le=3)  # from which relevance a hit is a hit
    bootstrap_samples: int = Field(10_000, ge=100)
    attribute_prompt: str = "{value} {product_type}"  # with {value}, {name}, {product_type}

    @model_validator(mode="after")
    def _prompt_is_usable(self) -> Self:
        if "{value}" not in self.attribute_prompt:
            raise ValueError("attribute_prompt must contain {value}")
        self.attribute_prompt.format(value="", name="", product_type="")
        return self


class EvaluationParams(HeldOutParams):
    """Block ``encoder_eval``: what is measured on the held-out split."""

    histogram_bins: int = Field(4, ge=2, le=16)  # per colour channel, of the baseline colour_histogram
