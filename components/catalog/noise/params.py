"""Parameters of the noise in sellers' texts and photos."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from components.stage.params import Params, Share

Ground = Literal["boards", "tiles", "carpet", "sheet", "paving", "room", "shelf", "lawn"]


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


class PhotoNoiseParams(Params):
    """How carelessly sellers photograph: products cut from their plain ground and put into cluttered scenes.

    A photo without a plain ground cannot be cut out and stays byte for byte as it is.
    """

    share: Share = 0.5  # of the products of each split whose photo becomes a scene
    longest_side_px: int = Field(320, ge=64)  # of a scene
    # least and most of the product's longer side, as a share of the scene's shorter side
    product_size: tuple[float, float] = (0.4, 0.9)
    other_size: tuple[float, float] = (0.2, 0.6)  # likewise, of each other thing
    others: tuple[NonNegativeInt, NonNegativeInt] = (1, 4)  # fewest and most other things in a scene
    max_hidden: float = Field(0.25, ge=0, le=0.8)  # of the product's pixels, behind other things
    grounds: tuple[Ground, ...] = get_args(Ground)  # what things lie on or stand before
    test_only: tuple[Ground, ...] = ("lawn", "shelf")  # grounds that only products of the test split may show
    jpeg_quality: tuple[int, int] = (70, 90)  # lowest and highest
    pool: PositiveInt = 96  # other products that scenes of a split are made with, all held in memory

    @model_validator(mode="after")
    def _fits(self) -> PhotoNoiseParams:
        for name in ("product_size", "other_size", "others", "jpeg_quality"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must give the lower value first, not [{low}, {high}]")
        for name in ("product_size", "other_size"):
            low, high = getattr(self, name)
            if not 0.05 <= low <= high <= 1:
                raise ValueError(f"{name} must lie between 0.05 and 1")
        if not 30 <= self.jpeg_quality[0] <= self.jpeg_quality[1] <= 98:
            raise ValueError("jpeg_quality must lie between 30 and 98")
        if not set(self.grounds) - set(self.test_only):
            raise ValueError("grounds must hold one that is not in test_only")
        return self
