"""Parameters of the catalogue stage (block ``catalog`` of params.yaml)."""

from __future__ import annotations

from pydantic import Field, model_validator

from components.shop.params import ShopParams
from components.stage.params import Params


class ImageLimits(Params):
    """What an encoded picture may cost before it is decoded; read from its header."""

    max_bytes: int = Field(ge=1)
    max_pixels: int = Field(ge=1)  # width times height
    min_side_px: int = Field(ge=1)  # smaller pictures show nothing (tracking pixels, placeholders)


class ReencodeParams(Params):
    """How imported pictures are made smaller. A picture within the size is kept byte for byte."""

    longest_side_px: int = Field(ge=16)
    jpeg_quality: int = Field(ge=30, le=98)


class SplitFractions(Params):
    """Expected share of the groups in each split, where the source names none."""

    train: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitFractions:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError("train, validation and test must sum to 1")
        return self


Share = Field(ge=0, le=1)


class NoiseParams(Params):
    """How carelessly sellers write: the probability of each act, per product or per attribute."""

    attribute_dropped: float = Share  # per attribute: left out of the table
    attribute_wrong: float = Share  # per attribute with a closed list: another value of that list
    attribute_free_form: float = Share  # per attribute: told in the seller's own words instead of the table's
    title_value_missing: float = Share  # per attribute: the title's words for its value are left out
    synonym: float = Share  # per product: title words replaced by words of like meaning
    misspelling: float = Share  # per product: one or two words of the title or description
    shouting: float = Share  # per product: part of the title in capitals
    boilerplate: float = Share  # per product: shop phrases that say nothing of the product
    keyword_stuffing: float = Share  # per product: words of other products in the title
    title_missing: float = Share  # per product, only where a description remains
    description_missing: float = Share  # per product, only where a title remains
    # Kinds of act (as in the truth's noise column) that only products of the test split may show.
    test_only: tuple[str, ...]


class CatalogParams(Params):
    """Everything that decides the bytes of ``data/catalog`` besides the source itself."""

    seed: int = Field(ge=0)
    workers: int = Field(ge=1, le=256)  # threads that decode imported pictures; the bytes do not depend on it
    rows_per_shard: int = Field(ge=1)
    images: ImageLimits
    reencode: ReencodeParams | None  # null keeps imported pictures as they are
    splits: SplitFractions
    enum_max_values: int = Field(ge=1)  # imported attributes with more distinct values are free strings
    noise: NoiseParams | None  # null leaves listings as the source has them
    shop: ShopParams | None  # read for a synthetic source only

    @model_validator(mode="after")
    def _reencoded_pictures_pass(self) -> CatalogParams:
        if self.reencode and self.reencode.longest_side_px < self.images.min_side_px:
            raise ValueError("reencode.longest_side_px is below images.min_side_px")
        return self
