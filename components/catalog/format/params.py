"""Parameters of the catalogue stage (block ``catalog`` of params.yaml)."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from components.shop.params import ShopParams
from components.stage.params import Params, Share


class ImageLimits(Params):
    """What an encoded picture may cost before it is decoded; read from its header."""

    max_bytes: PositiveInt = 20_000_000
    max_pixels: PositiveInt = 50_000_000  # width times height
    min_side_px: PositiveInt = 16  # smaller pictures show nothing (tracking pixels, placeholders)


class ReencodeParams(Params):
    """How imported pictures are made smaller. A picture within the size is kept byte for byte."""

    longest_side_px: int = Field(512, ge=16)
    jpeg_quality: int = Field(90, ge=30, le=98)


class SplitFractions(Params):
    """Expected share of the groups in each split, where the source names none."""

    train: float = Field(0.8, gt=0, lt=1)
    validation: float = Field(0.1, gt=0, lt=1)
    test: float = Field(0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitFractions:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError("train, validation and test must sum to 1")
        return self


class NoiseParams(Params):
    """How carelessly sellers write: the probability of each act, per product or per attribute."""

    attribute_dropped: Share = 0.12  # per attribute: left out of the table
    attribute_wrong: Share = 0.05  # per attribute with a closed list: another value of that list
    attribute_free_form: Share = 0.06  # per attribute: told in the seller's own words instead of the table's
    title_value_missing: Share = 0.0  # per attribute: the title's words for its value are left out
    synonym: Share = 0.2  # per product: title words replaced by words of like meaning
    misspelling: Share = 0.2  # per product: one or two words of the title or description
    shouting: Share = 0.06  # per product: part of the title in capitals
    boilerplate: Share = 0.25  # per product: shop phrases that say nothing of the product
    keyword_stuffing: Share = 0.1  # per product: words of other products in the title
    title_missing: Share = 0.02  # per product, only where a description remains
    description_missing: Share = 0.1  # per product, only where a title remains
    # Kinds of act (as in the truth's noise column) that only products of the test split may show.
    test_only: tuple[str, ...] = (
        "misspelling.neighbour_key",
        "boilerplate.disclaimer",
        "keyword_stuffing.hype",
    )


class CatalogParams(Params):
    """Everything that decides the bytes of ``data/catalog`` besides the source itself."""

    seed: NonNegativeInt = 7
    # threads that decode imported pictures; the bytes do not depend on it
    workers: int = Field(2, ge=1, le=256)
    rows_per_shard: PositiveInt = 4096
    images: ImageLimits = ImageLimits()
    reencode: ReencodeParams | None = None  # null keeps imported pictures as they are
    splits: SplitFractions = SplitFractions()
    enum_max_values: PositiveInt = 200  # imported attributes with more distinct values are free strings
    noise: NoiseParams | None = NoiseParams()  # null leaves listings as the source has them
    shop: ShopParams | None = ShopParams()  # read for a synthetic source only

    @model_validator(mode="after")
    def _reencoded_pictures_pass(self) -> CatalogParams:
        if self.reencode and self.reencode.longest_side_px < self.images.min_side_px:
            raise ValueError("reencode.longest_side_px is below images.min_side_px")
        return self
