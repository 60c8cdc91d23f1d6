"""Parameters of the synthetic shop (block ``shop`` of params.yaml)."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from components.stage.params import Params, Share


class QueryCounts(Params):
    """How many distinct queries each split gets."""

    train: NonNegativeInt = 3000
    validation: NonNegativeInt = 600
    test: PositiveInt = 2000


class QueryParams(Params):
    """What shoppers ask."""

    count: QueryCounts = QueryCounts()
    visual_share: Share = 0.5  # the rest is textual
    held_out_share: Share = 0.5  # of the visual test queries, worded as no other split is
    max_exact: PositiveInt = 15  # a query is made narrower until at most this many products answer it


class EngagementParams(Params):
    """The shopper who looks at a result: each step of seen, click, cart, purchase is a logistic choice."""

    relevance_weight: NonNegativeFloat = 1.0  # per grade above 2
    appeal_weight: NonNegativeFloat = 0.8  # per standard deviation of a product's visible appeal
    noise: NonNegativeFloat = 0.7  # standard deviation of one shopper's taste, in logits
    step_logit: float = 1.2  # how willing a shopper is, by default, to look at a product of relevance 2
    step_cost: NonNegativeFloat = 0.6  # how much harder each further step is, in logits


class ShopParams(Params):
    """A shop that renders its own products."""

    seed: NonNegativeInt = 7
    products: int = Field(10_000, ge=48, le=1_000_000)
    variant_share: float = Field(0.35, ge=0, lt=0.8)  # products that are a variant of another one
    recolour_share: Share = 0.7  # of the variants: other colours; the rest is a second photo
    test_fraction: float = Field(0.16, gt=0, lt=1)  # of the groups
    validation_fraction: float = Field(0.08, gt=0, lt=1)
    image_px: int = Field(128, ge=32, le=512)  # pictures are square
    supersampling: int = Field(2, ge=1, le=4)  # products are drawn this much larger, then reduced
    jpeg_quality: int = Field(90, ge=30, le=98)
    cluttered_share: Share = 0.3  # pictures among other products; the rest is on plain ground
    neighbours_min: int = Field(2, ge=1, le=8)  # other products in a cluttered picture
    neighbours_max: int = Field(3, ge=1, le=8)
    # different ones per split and light; each process paints them once
    neighbours_painted: int = Field(60, ge=24)
    max_hidden: float = Field(0.15, ge=0, le=0.5)  # largest part of a product that a neighbour may cover
    workers: int = Field(2, ge=1, le=256)  # processes that draw; the bytes are the same for any number
    queries: QueryParams = QueryParams()
    engagement: EngagementParams = EngagementParams()

    @model_validator(mode="after")
    def _consistent(self) -> ShopParams:
        if self.test_fraction + self.validation_fraction >= 0.9:
            raise ValueError("test_fraction + validation_fraction must leave at least a tenth for training")
        if self.neighbours_min > self.neighbours_max:
            raise ValueError("neighbours_min is larger than neighbours_max")
        return self
