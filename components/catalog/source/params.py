"""Parameters of reading a source."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from components.catalog.format.params import ImageLimits, ReencodeParams
from components.stage.params import Params, Share

if TYPE_CHECKING:  # for parameters are read without the libraries of data
    from components.catalog.format.records import Split


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

    def split_of(self, group_id: str, seed: int) -> Split:
        """The split of every product of ``group_id``, the same on every machine, in these shares of groups.

        A pure function of id and seed (53 bits of SHA-256), so adding products never moves the others.
        """
        digest = hashlib.sha256(f"split\x1f{seed}\x1f{group_id}".encode()).digest()
        position = (int.from_bytes(digest[:8], "big") >> 11) / 2**53
        if position < self.train:
            return "train"
        return "validation" if position - self.train < self.validation else "test"


class SourceParams(Params):
    """How a source's rows and pictures become products."""

    seed: NonNegativeInt = 7
    # threads that decode pictures, and processes that take careless photos; the bytes do not depend on it
    workers: int = Field(2, ge=1, le=256)
    images: ImageLimits = ImageLimits()
    reencode: ReencodeParams | None = None  # null keeps imported pictures as they are
    splits: SplitFractions = SplitFractions()
    enum_max_values: PositiveInt = 200  # imported attributes with more distinct values are free strings
    # ... and so are those whose values are nearly all different: distinct values per product that states one
    enum_max_share: Share = 0.5
    # Of a category without a schema of its own: those that most products state. A listing model is taught
    # every one of them, so hundreds cost hours and teach little.
    max_attributes: PositiveInt = 64

    @model_validator(mode="after")
    def _reencoded_pictures_pass(self) -> SourceParams:
        if self.reencode and self.reencode.longest_side_px < self.images.min_side_px:
            raise ValueError("reencode.longest_side_px is below images.min_side_px")
        return self
