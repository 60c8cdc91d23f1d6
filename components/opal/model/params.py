"""Parameters of OPAL's model stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from components.opal.model.printed.params import PrintedTextParams
from components.opal.model.titles.grammar import Titles
from components.opal.model.titles.params import TitlesParams
from components.stage.params import Params, Precision, Share


class PretrainedListingModel(Params):
    """An image-text-to-text model made elsewhere, instead of one built here."""

    model: str  # a folder, or a name on the hub such as Qwen/Qwen2.5-VL-3B-Instruct
    revision: str | None = None  # commit on the hub; null: a folder, or the newest
    dtype: Precision = "bf16"
    image_px: int = Field(336, ge=28)  # side of the square pictures that its processor is given


class LanguageModel(Params):
    """The causal language model trained from scratch (a Llama of transformers)."""

    vocabulary_size: int = Field(1000, ge=300, le=100_000)  # upper bound of the BPE learned from the answers
    context_length: int = Field(256, ge=16)  # tokens, image tokens included
    width: int = Field(128, ge=16)
    heads: PositiveInt = 4
    layers: PositiveInt = 2
    feed_forward: int = Field(384, ge=16)
    aligned_start: bool = True  # words start as the encoder's vectors of them, in one space with the picture

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} does not split into {self.heads} heads of even size")
        return self


class VisionParams(Params):
    """The image tower, which starts from models/encoder."""

    encoder_vector: bool = True  # a token of the encoder's vector; always there if nothing else is
    encoder_dropout: Share = 0.5  # of the numbers of the encoder's vectors, in training
    grid: int = Field(0, ge=0, le=32)  # patch tokens per side
    frozen: bool = True
    # read the box of what is of the category, not the whole picture; frozen towers, if a dense head finds it
    crop: bool = True
    feature_tokens: int = Field(0, ge=0, le=64)  # more tokens: a learned linear map of the tower's features
    feature_dropout: Share = 0.3  # of those features, in training
    head_tokens: int = Field(12, ge=0, le=64)  # and what fixed linear heads say of each value; frozen towers
    head_values: PositiveInt = 512  # at most so many values, the most frequent ones, have a head
    whitening_pictures: int = Field(1024, ge=2)  # of the train split, whose tokens say how to whiten


class LoraParams(Params):
    """Low-rank adapters (peft); merged into the weights before a model is published."""

    rank: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: Share = 0.05
    # names of linear layers, or a regular expression over them; null: all of the language model's
    targets: str | list[str] | None = None


class Taught(Params):
    """What a model is taught to write of a refined listing."""

    stated: Literal["visible", "refined"] = "refined"  # attributes that the picture shows, or all
    # of a category: those that most listings of the train split state; the others are not taught
    most_attributes: PositiveInt = 100
    # where too few titles show what a title names: these, if visible, and the product type
    title_attributes: tuple[str, ...] = ("colour", "pattern")
    unseen: Share = (
        0.1  # of train groups that tuning leaves to preferences: photos it has not learned by heart
    )


class Note(Params):
    """``listing.json`` of a model folder: how the model is to be asked."""

    prompt: str = Field(pattern=r"\{category\}", max_length=10_000)
    taught: Taught
    titles: Titles  # how titles are made, and what they may hold
    attributes: Mapping[str, tuple[str, ...]]  # of each category those that are written, in this order
    image_px: int = Field(ge=1, le=4096)  # side of the square that a photo becomes
    crop: bool  # of a photo the box of what is of the category becomes that square, not the whole
    base: str | None
    max_title_chars: int = Field(ge=1, le=10_000)
    max_new_tokens: int = Field(ge=1, le=100_000)
    require_attributes: bool
    precision: Precision


class CertaintyParams(Params):
    """How the end of a training learns how far its model can be trusted, from validation products."""

    seed: int = 61
    products: NonNegativeInt = 800  # at most; 0: none, then nothing can be promised
    batch_size: PositiveInt = 256
    usual_share: Share = 0.99  # of validation pictures that count as like the training pictures


class ListingParams(Params):
    """Block ``listing``: the model that writes listings, and how it is asked."""

    seed: int = 41
    pretrained: PretrainedListingModel | None = None
    vision: VisionParams = VisionParams()  # of a model built here
    language: LanguageModel = LanguageModel()  # of a model built here
    lora: LoraParams | None = None  # null: every weight is trained
    prompt: str = "List this {category} item."  # with {category}
    taught: Taught = Taught()
    titles: TitlesParams = TitlesParams()
    require_attributes: bool = False  # the grammar asks for the schema's required attributes, seen or not
    max_title_chars: PositiveInt = 80
    max_new_tokens: int = Field(160, ge=8)
    precision: Precision = "bf16"
    certainty: CertaintyParams = CertaintyParams()

    @property
    def title_kind(self) -> Literal["composed", "written"]:
        """Whether titles are composed of what the model wrote, or written by it."""
        return self.titles.kind or ("composed" if self.pretrained is None else "written")

    @model_validator(mode="after")
    def _prompt_is_usable(self) -> Self:
        if "{category}" not in self.prompt:
            raise ValueError("prompt must contain {category}")
        self.prompt.format(category="")
        return self


class OptimiserParams(Params):
    """AdamW with a warm-up and a cosine, as the two trainings share it."""

    steps: PositiveInt = 400
    batch_size: PositiveInt = 48  # rows, or pairs, per step and device
    accumulation: PositiveInt = 1  # batches per step
    learning_rate: PositiveFloat = 0.006
    warmup_share: Share = 0.05
    weight_decay: NonNegativeFloat = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    max_grad_norm: PositiveFloat = 1.0
    gradient_checkpointing: bool = False
    checkpoint_every_s: PositiveFloat = 30.0  # resume state; costs nothing but the write
    # muon: of the matrices; embeddings, norms and biases keep AdamW
    optimiser: Literal["adamw", "muon"] = "muon"


class DpoOptimiser(OptimiserParams):
    """Far gentler steps: the model can write already."""

    steps: PositiveInt = 50
    batch_size: PositiveInt = 16  # pairs per step and device
    learning_rate: PositiveFloat = 0.0001
    warmup_share: Share = 0.1
    weight_decay: NonNegativeFloat = 0.0
    optimiser: Literal["adamw", "muon"] = "adamw"


class SftParams(Params):
    """Block ``sft``: visual instruction tuning."""

    seed: int = 44
    threads: PositiveInt = 1
    instruction_share: Share = 0.05  # of a batch of the refined variant; the rest are whole listings
    epochs: PositiveFloat | None = None  # no more steps than show each listing so often: small catalogues
    rarity: Share = 0.5  # words of a value count as the share of its attribute, to the power of -rarity
    training: OptimiserParams = OptimiserParams()


class PairShares(Params):
    """Where pairs come from (weights); the first three hold the refined listing against a worse one."""

    sampled: NonNegativeFloat = 0.6  # values of the model's own samples
    seller: NonNegativeFloat = 0.15  # the seller's own listing
    swapped: NonNegativeFloat = 0.25  # values of a visually near product
    verified: NonNegativeFloat = 0.0  # of two sampled values the one that the picture supports
    views: NonNegativeFloat = 0.0  # the value that most views of a photo give
    corrected: NonNegativeFloat = 0.0  # an own answer with its wrong values replaced

    @model_validator(mode="after")
    def _something_is_tried(self) -> Self:
        if not sum(self.model_dump().values()):
            raise ValueError("at least one share must be above zero")
        return self


class PreferencesParams(Params):
    """Block ``preferences``: pairs of a refined listing and a worse one."""

    seed: int = 47
    threads: PositiveInt = 1
    pairs: PositiveInt = 1600  # at most this many
    shares: PairShares = PairShares()
    temperature: PositiveFloat = 1.0  # of sampled answers
    top_p: float = Field(0.95, gt=0, le=1)
    batch_size: PositiveInt = 256
    neighbours: PositiveInt = 8  # visually nearest products that swapped attributes come from
    max_swapped: PositiveInt = 3  # attributes of one pair
    margin: NonNegativeFloat = 1.0  # log-odds from which a picture supports a value against another one
    views: int = Field(4, ge=3)  # of one photo, the photo itself among them
    # as_written; or the chosen answer with wrong values of it: any, or only those of attributes that pictures
    # can tell, or only those that this picture speaks against
    rejected: Literal["as_written", "values", "visible_values", "verified_values"] = "values"


class DpoParams(Params):
    """Block ``dpo``: direct preference optimisation against the tuned model."""

    seed: int = 53
    threads: PositiveInt = 1
    beta: PositiveFloat = 0.1
    reference: Literal["cached", "online"] = "cached"  # its log-probabilities: once, or anew in every step
    reference_batch_size: PositiveInt = 64  # pairs, of the cached one
    # weights of the loss's terms; 0: off. sigmoid, bco and sft at 0.8, 0.2, 1 are MPO (Wang et al. 2024)
    sigmoid_weight: NonNegativeFloat = 1.0  # the chosen answer before the rejected one (DPO)
    bco_weight: NonNegativeFloat = 0.0  # each answer by itself: the chosen one gains, the rejected one loses
    sft_weight: NonNegativeFloat = 1.0  # of the chosen answers' own likelihood (RPO)
    image_weight: NonNegativeFloat = 0.25  # the chosen answer under its picture before another one (mDPO)
    image_kept: float = Field(0.0, ge=0, lt=1)  # share of its picture left in the other one, which is damaged
    anchor_weight: NonNegativeFloat = 0.0  # the chosen answer must gain (mDPO)
    anchor_delta: NonNegativeFloat = 0.0  # so much reward at least
    training: DpoOptimiser = DpoOptimiser()

    @model_validator(mode="after")
    def _terms_fit(self) -> Self:
        if not self.sigmoid_weight + self.bco_weight + self.sft_weight:
            raise ValueError("one of sigmoid_weight, bco_weight and sft_weight must be above zero")
        if self.reference == "online" and self.image_weight + self.anchor_weight:
            raise ValueError("image_weight and anchor_weight need reference: cached")
        return self


class GrpoOptimiser(DpoOptimiser):
    """As gentle as preference optimisation; a step's batch are photos."""

    steps: PositiveInt = 40


class GrpoParams(Params):
    """Block ``grpo``, of the studies: group relative policy optimisation."""

    seed: int = 67
    threads: PositiveInt = 1
    answers: int = Field(8, ge=2)  # sampled about each photo
    temperature: PositiveFloat = 1.0
    penalty: NonNegativeFloat = 1.0  # of a wrong value; a right one earns 1
    training: GrpoOptimiser = GrpoOptimiser()


class ListingEvalParams(Params):
    """Block ``listing_eval``: what is measured on the held-out split."""

    seed: int = 59
    threads: PositiveInt = 1
    split: Literal["validation", "test"] = "test"
    products: PositiveInt | None = None  # the first so many of a seeded order; null: all
    batch_size: PositiveInt = 256
    neighbours: PositiveInt = 5  # of the voting row
    picture_batch_size: PositiveInt = 64  # of the features that a linear probe reads; kept by this size
    bootstrap_samples: int = Field(4000, ge=100)


class DescribeParams(Params):
    """Block ``describe``: listings of photos from anywhere."""

    threads: PositiveInt = 2
    model: str = "models/listing/dpo"  # folder
    batch_size: PositiveInt = 64
    max_bytes: PositiveInt = 67_108_864
    max_pixels: PositiveInt = 200_000_000
    min_side_px: PositiveInt = 16
    low_confidence: Share = 0.4  # marked in the gallery below it
    precision: Share | None = 0.8  # share of stated values that is promised to be right; null: no promise
    completion: Share | None = None  # or the share of fields to fill
    printed_text: PrintedTextParams | None = None  # its words may stand in a title; null: not read

    @model_validator(mode="after")
    def _one_point(self) -> Self:
        if self.precision is not None and self.completion is not None:
            raise ValueError("give precision or completion, and null for the other")
        return self
