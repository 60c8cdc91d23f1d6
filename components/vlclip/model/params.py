"""Parameters of VL-CLIP's stages. Nothing has a default here that params.yaml does not show."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from components.encoder.model.params import Augmentation, CaptionShares, HeldOutParams, Share, TrainingParams
from components.stage.params import Params

CACHE = Path(".vitrine/cache")


class EmptyPictures(Params):
    """What a box must score to be used: more than most boxes on pictures of nothing do.

    Such pictures are made from the grounds of the catalogue's own; see
    :func:`components.vlclip.grounding.empty_pictures.empty_pictures`.
    """

    split: Literal["train", "validation"]  # whose pictures give their grounds
    pictures: int = Field(ge=10)  # of the split; half of them set the threshold, the others check it
    seed: int
    quantile: Share  # share of pictures of nothing that fall back to the whole picture


class EncoderGrounding(Params):
    """Boxes from the encoder's own patches; see :class:`components.vlclip.grounding.windows.Windows`."""

    image_px: int | None = Field(ge=32, le=1024)  # side of the square pictures; null = the encoder's own
    grid: int = Field(ge=4, le=32)  # cells per side that windows are made of
    smallest_side: Share  # shortest side of a window, as a share of the picture's
    level_deviations: float  # how far above its mean a similarity must be to speak for a window
    compactness: Share  # 0: the window with the largest sum; 1: with the largest mean
    # From this share inside the window on a part of the foreground belongs to the box; null = plain windows.
    part_share: Share | None
    part_area: Share  # smaller parts are specks, as a share of the picture
    empty: EmptyPictures  # the least contrast of similarity, inside minus outside, for a box to be used


class DetectorGrounding(Params):
    """Boxes from an open-vocabulary detector: Grounding DINO or OWLv2, through transformers."""

    checkpoint: str = Field(min_length=1)  # a folder, or a name on the hub
    revision: str | None  # commit of the hub's repository; null for a folder
    prompt: str  # with {product_type}
    threshold: Share  # least confidence for a box to be used

    @model_validator(mode="after")
    def _prompt_names_the_type(self) -> Self:
        if "{product_type}" not in self.prompt:
            raise ValueError("prompt must contain {product_type}")
        self.prompt.format(product_type="")
        return self


class GroundParams(Params):
    """Block ``ground``: where each product is in its picture. One of ``encoder`` and ``detector`` is set."""

    threads: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    precision: Literal["bf16", "fp32"]
    encoder: EncoderGrounding | None
    detector: DetectorGrounding | None
    minimum_area: Share  # a smaller box is not used

    @model_validator(mode="after")
    def _one_method(self) -> Self:
        if (self.encoder is None) == (self.detector is None):
            raise ValueError("set exactly one of encoder and detector, and the other to null")
        return self


class VlclipParams(Params):
    """Block ``vlclip``: contrastive training that goes on from the encoder; the same for every variant."""

    seed: int
    threads: int = Field(ge=1)
    margin: float = Field(ge=0, le=1)  # a crop is its box, this share of its sides wider on each side
    captions: CaptionShares  # of product type, the variant's text, and the attributes that the text states
    augmentation: Augmentation
    training: TrainingParams


class VlclipEvaluationParams(HeldOutParams):
    """Block ``vlclip_eval``: what is measured on the held-out split."""

    similar_k: int = Field(ge=1)  # precision@k of similar items
    similar_attributes: list[str]  # a similar item shares the product type and all of these
    centre_side: float = Field(gt=0, le=1)  # side of the baseline centre_crop
