"""Parameters of VL-CLIP's stages."""

from __future__ import annotations

from typing import Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from components.encoder.model.params import Augmentation, CaptionShares, HeldOutParams, TrainingParams
from components.stage.params import Params, Share


class VlclipTraining(TrainingParams):
    """A short training that goes on from the encoder's weights and temperature."""

    epochs: PositiveInt = 8
    swapped_captions: bool = False
    learning_rate: PositiveFloat = 0.0005
    checkpoint_every_s: PositiveFloat = 10.0
    validate_every_epochs: PositiveInt = 4

    @model_validator(mode="after")
    def _of_the_encoder_alone(self) -> Self:
        if self.distil or self.interpolate:
            raise ValueError("distil and interpolate are of encoder.training; vlclip.training has neither")
        return self


class VlclipParams(Params):
    """Block ``vlclip``: contrastive training that goes on from the encoder; the same for every variant."""

    seed: int = 31
    threads: PositiveInt = 1
    margin: Share = 0.0  # a crop is its box, this share of its sides wider on each side
    # How far a box is trusted before training, from 0 (the encoder's own vectors) to 1 (the crop is read
    # in the whole picture's place). Pictures that the encoder knows by heart hardly move it. More of it finds
    # more cluttered pictures, and these then stand before plain ones: chosen so that plain ones lose nothing.
    trust: Share = 0.55
    # of product type, the variant's text, the attributes that the text states, and train queries
    captions: CaptionShares = CaptionShares(queries=0.4)  # the encoder's own
    augmentation: Augmentation = Augmentation()
    training: VlclipTraining = VlclipTraining()


class VlclipEvaluationParams(HeldOutParams):
    """Block ``vlclip_eval``: what is measured on the held-out split."""

    seed: int = 37
    similar_k: PositiveInt = 5  # precision@k of similar items
    # a similar item shares the product type and all of these
    similar_attributes: tuple[str, ...] = ("colour",)
    centre_side: float = Field(0.75, gt=0, le=1)  # side of the baseline centre_crop
