"""Parameters of fusion retrieval. Nothing has a default here that params.yaml does not show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.catalog.noise.params import NoiseParams
from components.encoder.model.params import Augmentation
from components.fusion.model.errors import FusionConfigurationError
from components.stage.params import Params

Share = Annotated[float, Field(ge=0, le=1)]
FieldName = Literal["title", "product_type", "attributes", "description"]
NetworkName = Literal["concat_mlp", "gated_sum", "cross_attention", "moe", "bilinear", "moe_bilinear"]
Ablation = Literal["no_domain", "no_query_text", "no_query_image"]
CACHE = Path(".vitrine/cache")


class SignalWeights(Params):
    """How often a judged product is drawn as a query's positive: its relevance times its engagement."""

    relevance: tuple[float, float, float]  # of grades 1, 2 and 3, where nobody clicked
    click: float  # times as often as by relevance alone
    cart: float
    purchase: float

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

    weights: SignalWeights
    hard_negatives: float = Field(ge=0)  # drawn per query and step, on average, besides the batch's others
    # How much of the log-probability of being drawn is taken off a product's logit: without it (0) whatever
    # is often bought is pushed away as the negative of other queries (Yi et al. 2019); 1 corrects fully.
    popularity_correction: Share
    # Queries of one product type that stand together in a batch, so that its other products are hard
    # negatives too (topic-aware sampling, Hofstätter et al. 2021, arXiv 2104.06967); 1 mixes freely.
    topic_size: int = Field(ge=1)
    mined_per_query: int = Field(ge=1)  # nearest products that hard negatives are drawn from
    mining_pool: int = Field(ge=2)  # train products that are searched for them; bounds time and memory
    # A mined product that nobody judged, yet more similar than this share of the mean similarity of the
    # query's best products, is suspected to be a positive.
    suspect_ratio: float = Field(gt=0)
    drop_suspected: bool


class ProductTextParams(Params):
    """How a product's fields become one text: marker, content, marker, content ..."""

    fields: tuple[FieldName, ...] = Field(min_length=1)  # in this order; what is too long is cut at the end
    context_length: int = Field(ge=8, le=512)  # tokens; the text tower's positions are extended to it
    masking: dict[FieldName, Share]  # probability that a field is left out in a training step

    @model_validator(mode="after")
    def _every_field_once(self) -> Self:
        if len(set(self.fields)) != len(self.fields):
            raise ValueError("fields must not repeat")
        if set(self.masking) != set(self.fields):
            raise ValueError("masking must give a probability for exactly the fields")
        return self


class WordPathParams(Params):
    """The sum of word vectors beside the text transformer, of the query tower and of product texts."""

    weight: float = Field(gt=0)  # against the transformer's vector, at the start; learned from there


class FusionParams(Params):
    """Block ``fusion``: what all its stages share."""

    pairs: PairParams
    text: ProductTextParams
    word_path: WordPathParams | None  # null: the transformer alone


class OptimisationParams(Params):
    """One training run: AdamW with linear warm-up, then cosine to zero."""

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=2)  # queries per step
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    betas: tuple[float, float]
    warmup_share: Share  # of all steps
    checkpoint_every_s: float = Field(gt=0)
    validate_every_steps: int = Field(ge=1)


class EncodeParams(Params):
    """How the towers encode what is kept or measured."""

    batch_size: int = Field(ge=1)
    precision: Literal["bf16", "fp32"]


class AlignmentParams(Params):
    """Blocks ``align_text`` and ``align_image``: loss = text_weight x InfoNCE(query, product text) +
    image_weight x InfoNCE(query, product picture)."""

    seed: int
    threads: int = Field(ge=1)
    # Weight of the starting text tower against a newly drawn one ("shrink and perturb", Ash and Adams 2020,
    # arXiv 1910.08475): a tower that learned to name what pictures show is slow to learn other words.
    keep_text_tower: Share
    text_weight: float = Field(ge=0)
    image_weight: float = Field(ge=0)
    # false: the image tower stays as it is and its vectors are computed once; only the query tower moves
    train_images: bool
    minimum_temperature: float = Field(gt=0)
    precision: Literal["bf16", "fp32"]
    augmentation: Augmentation
    optimisation: OptimisationParams
    encode: EncodeParams

    @model_validator(mode="after")
    def _something_is_learned(self) -> Self:
        if not self.text_weight + self.image_weight:
            raise ValueError("text_weight or image_weight must be above zero")
        return self


class NetworkParams(Params):
    """Sizes of the fusion networks; each uses those it has."""

    hidden: int = Field(ge=1)  # of the multi-layer perceptrons
    heads: int = Field(ge=1)  # of cross-attention
    bilinear_rank: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)


class ModalityDropout(Params):
    """Probability that a product loses its text, or its picture, in a training step; never both."""

    text: Share
    image: Share

    @model_validator(mode="after")
    def _one_modality_stays(self) -> Self:
        if self.text + self.image > 1:
            raise ValueError("text + image must not exceed one: a product keeps one of them")
        return self


class FuseParams(Params):
    """Block ``fuse``: the network in the item tower, on frozen towers."""

    seed: int
    threads: int = Field(ge=1)
    temperature: float = Field(gt=0)  # fixed; the towers do not move
    network: NetworkParams
    modality_dropout: ModalityDropout
    optimisation: OptimisationParams
    encode: EncodeParams


class Bm25Params(Params):
    """The lexical rival (Robertson and Zaragoza 2009)."""

    k1: float = Field(gt=0)
    b: Share


class FusionEvaluationParams(Params):
    """Block ``fusion_eval``: what is measured on the held-out split."""

    seed: int
    threads: int = Field(ge=1)
    split: Literal["validation", "test"]
    relevant_grade: int = Field(ge=1, le=3)  # from which relevance a product counts for recall and MRR
    bootstrap_samples: int = Field(ge=100)
    networks: tuple[NetworkName, ...]
    bm25: Bm25Params
    text_shares: tuple[Share, ...] = Field(min_length=1)  # tried for fixed_weights, on validation
    sparse_share: float = Field(gt=0, lt=1)  # products with the fewest words, as a share of the split
    missing_share: float = Field(gt=0, le=1)  # products that lose their picture, or their text
    noise: NoiseParams  # what the degraded text suffers on top of what the catalogue has
    gate_top: int = Field(ge=1)  # ranked products per query whose gates are kept
    encode: EncodeParams


class SearchParams(Params):
    """Block ``fusion_search``: ``vitrine search --system fusion``."""

    network: NetworkName
    threads: int = Field(ge=1)
    encode: EncodeParams  # vectors that the stages made alike are in the memo


def one_of(word: str, known: Sequence[str]) -> str:
    """``word`` if it is one of ``known``.

    Raises:
        FusionConfigurationError: it is not.
    """
    if word not in known:
        raise FusionConfigurationError(f"'{word}' is none of {', '.join(known)}.")
    return word
