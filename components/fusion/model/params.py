"""Parameters of fusion retrieval."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from components.encoder.model.params import Augmentation
from components.fusion.model.networks.names import known_network
from components.stage.params import Params, Precision, Share

FieldName = Literal["title", "product_type", "attributes", "description"]
SourceName = Literal["text", "image", "fused", "lexical", "type"]
NetworkName = Annotated[str, AfterValidator(known_network)]


class SignalWeights(Params):
    """How often a judged product is drawn as a query's positive: its relevance times its engagement."""

    relevance: tuple[float, float, float] = (0.0, 0.15, 1.0)  # of grades 1, 2 and 3, where nobody clicked
    click: float = 1.5  # times as often as by relevance alone
    cart: float = 2.0
    purchase: float = 3.0

    @model_validator(mode="after")
    def _stronger_signals_weigh_more(self) -> Self:
        low, middle, high = self.relevance
        if not 0 <= low <= middle <= high or not high:
            raise ValueError(
                "relevance must not fall from grade 1 to grade 3, and grade 3 must be above zero"
            )
        if not 1 <= self.click <= self.cart <= self.purchase:
            raise ValueError("weights must not fall from relevance alone (1) to click, cart and purchase")
        return self


class PairParams(Params):
    """Which product answers a query in a step, and which ones must not."""

    weights: SignalWeights = SignalWeights()
    # drawn per query and step, on average, besides the batch's others
    hard_negatives: NonNegativeFloat = 0.125
    # How much of the log-probability of being drawn is taken off a product's logit: without it (0) whatever
    # is often bought is pushed away as the negative of other queries (Yi et al. 2019); 1 corrects fully.
    popularity_correction: Share = 1.0
    # Queries of one product type that stand together in a batch, so that its other products are hard
    # negatives too (topic-aware sampling, Hofstätter et al. 2021, arXiv 2104.06967); 1 mixes freely.
    topic_size: PositiveInt = 32
    mined_per_query: PositiveInt = 32  # nearest products that hard negatives are drawn from
    mining_pool: int = Field(4096, ge=2)  # train products that are searched for them; bounds time and memory
    # A mined product that nobody judged, yet more similar than this share of the mean similarity of the
    # query's best products, is suspected to be a positive.
    suspect_ratio: PositiveFloat = 0.95
    drop_suspected: bool = False


class ProductTextParams(Params):
    """How a product's fields become one text: marker, content, marker, content ..."""

    # in this order; what is too long is cut at the end
    fields: tuple[FieldName, ...] = Field(
        ("title", "product_type", "attributes", "description"), min_length=1
    )
    # true: each field is read by itself, phrase by phrase, and a head reads all fields side by side; false:
    # the whole text at once, each field behind a marker, as a text tower that is tuned needs it
    by_field: bool = True
    hidden: int = Field(1024, ge=8)  # units of that head
    dropout: float = Field(0.2, ge=0, lt=1)  # of its inputs and hidden units, in training
    context_length: int = Field(48, ge=8, le=512)  # tokens
    # probability that a field is left out in a training step
    masking: dict[FieldName, Share] = {
        "attributes": 0.2,
        "description": 0.3,
        "product_type": 0.1,
        "title": 0.1,
    }

    @model_validator(mode="after")
    def _every_field_once(self) -> Self:
        if len(set(self.fields)) != len(self.fields):
            raise ValueError("fields must not repeat")
        if set(self.masking) != set(self.fields):
            raise ValueError("masking must give a probability for exactly the fields")
        return self


class Bm25Params(Params):
    """Lexical search (Robertson and Zaragoza 2009)."""

    k1: PositiveFloat = 1.2
    b: Share = 0.75


class FusionParams(Params):
    """Block ``fusion``: what all its stages share."""

    pairs: PairParams = PairParams()
    text: ProductTextParams = ProductTextParams()
    bm25: Bm25Params = Bm25Params()  # over the same fields, without markers


class OptimisationParams(Params):
    """One training run: AdamW with linear warm-up, then cosine to zero."""

    steps: PositiveInt = 400
    batch_size: int = Field(512, ge=2)  # queries per step
    learning_rate: PositiveFloat = 0.001
    weight_decay: NonNegativeFloat = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_share: Share = 0.1  # of all steps
    checkpoint_every_s: PositiveFloat = 30.0
    validate_every_steps: PositiveInt = 100


class EncodeParams(Params):
    """How the towers encode what is kept or measured."""

    batch_size: PositiveInt = 64
    precision: Precision = "bf16"


class AlignmentParams(Params):
    """Block ``align_text``: loss = text_weight x InfoNCE(query, product text) +
    image_weight x InfoNCE(query, product picture)."""

    seed: int = 41
    threads: PositiveInt = 1
    tune_text: bool = False  # false: the text tower stays as it is, and its head learns
    text_weight: NonNegativeFloat = 1.0
    image_weight: NonNegativeFloat = 0.0
    # false: the image tower stays as it is, its features are computed once, and its head learns
    train_images: bool = False
    minimum_temperature: PositiveFloat = 0.01
    precision: Precision = "bf16"
    augmentation: Augmentation = Augmentation()
    optimisation: OptimisationParams = OptimisationParams()
    encode: EncodeParams = EncodeParams()

    @model_validator(mode="after")
    def _something_is_learned(self) -> Self:
        if not self.text_weight + self.image_weight:
            raise ValueError("text_weight or image_weight must be above zero")
        return self


class AlignImageParams(AlignmentParams):
    """Block ``align_image``: text keeps half its weight, so that the query tower keeps its words."""

    seed: int = 43
    text_weight: NonNegativeFloat = 0.5
    image_weight: NonNegativeFloat = 1.0
    optimisation: OptimisationParams = OptimisationParams(
        steps=250, learning_rate=0.0005, validate_every_steps=125
    )


class NetworkParams(Params):
    """Sizes of the fusion networks; each uses those it has."""

    hidden: PositiveInt = 256  # of the multi-layer perceptrons
    heads: PositiveInt = 4  # of cross-attention
    bilinear_rank: PositiveInt = 256
    dropout: float = Field(0.1, ge=0, lt=1)


class ModalityDropout(Params):
    """Probability that a product loses its text, or its picture, in a training step; never both."""

    text: Share = 0.05
    image: Share = 0.05

    @model_validator(mode="after")
    def _one_modality_stays(self) -> Self:
        if self.text + self.image > 1:
            raise ValueError("text + image must not exceed one: a product keeps one of them")
        return self


class GateParams(Params):
    """The mixture of sources that ranks candidates, taught by the validation queries."""

    sources: tuple[SourceName, ...] = ("text", "image", "fused", "lexical", "type")
    depth: PositiveInt = 100  # candidates: so many of the fused vectors, and so many of BM25
    hidden: PositiveInt = 16  # units of the correction on the sources' scores
    epochs: PositiveInt = 20
    batch_size: PositiveInt = 100  # queries
    learning_rate: PositiveFloat = 0.02
    weight_decay: NonNegativeFloat = 0.01
    dropout: float = Field(0.3, ge=0, lt=1)  # of what the gate sees of a query
    folds: int = Field(5, ge=2)  # of cross-validation; with fewer than two queries a fold there is no gate

    @model_validator(mode="after")
    def _fused_is_a_source(self) -> Self:
        if "fused" not in self.sources or len(set(self.sources)) != len(self.sources):
            raise ValueError("sources must not repeat, and fused must be one: it gives the candidates")
        return self


class FuseParams(Params):
    """Block ``fuse``: the network in the item tower, on frozen towers, and the gate above it."""

    seed: int = 47
    threads: PositiveInt = 1
    temperature: PositiveFloat = 0.02  # fixed; the towers do not move
    network: NetworkParams = NetworkParams()
    pictures: bool = True  # false: the network never sees one, in training or later
    gate: GateParams | None = GateParams()  # null: products are ranked by the network's vectors alone
    modality_dropout: ModalityDropout = ModalityDropout()
    optimisation: OptimisationParams = OptimisationParams(
        steps=140, batch_size=512, learning_rate=0.003, warmup_share=0.05, validate_every_steps=70
    )
    encode: EncodeParams = EncodeParams()


class SearchParams(Params):
    """Block ``fusion_search``: ``vitrine search --system fusion``."""

    network: NetworkName = "moe_bilinear"
    threads: PositiveInt = 2
    encode: EncodeParams = EncodeParams()  # vectors that the stages made alike are in the cache
