"""Parameters of finding products in their pictures."""

from __future__ import annotations

from typing import Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from components.stage.params import Params, Precision, Share


class SceneParams(Params):
    """Training scenes that the stage composes of products cut out of plain pictures."""

    seed: int = 61
    image_px: int = Field(160, ge=32, le=1024, multiple_of=32)  # side of a scene
    pictures: PositiveInt = 2000  # of the train split that are cut out at most; types take turns
    cut_out_px: int = Field(192, ge=16, le=1024)  # longest side that a picture is cut out at
    balance: Share = 0.5  # how often a type is drawn: its number of cut-outs to the power of this
    least_things: PositiveInt = 2  # products in a scene
    most_things: PositiveInt = 5
    least_size: Share = 0.15  # square root of a product's area, as a share of the scene's side
    most_size: Share = 0.7
    turn_degrees: float = Field(12.0, ge=0)  # standard deviation of a product's turn

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.least_things > self.most_things or not 0 < self.least_size <= self.most_size:
            raise ValueError("least_things and least_size may not exceed most_things and most_size")
        return self


class HeadTraining(Params):
    """Training of the dense head; the maps of its scenes are computed once."""

    seed: int = 67
    scenes: PositiveInt = 1000  # scenes, each seen several times
    steps: PositiveInt = 300
    batch_size: PositiveInt = 32  # scenes a step
    learning_rate: PositiveFloat = 0.002
    weight_decay: float = Field(0.05, ge=0)
    hidden: PositiveInt = 128  # channels inside the head
    dropout: Share = 0.5  # share of the frozen features' channels that are dropped in a step


class RegionParams(Params):
    """How a map becomes a box: chosen on composed scenes that the head was not trained on."""

    scenes: int = Field(100, ge=4)  # that choose
    shares: tuple[Share, ...] = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)  # of the peak, from which on
    margins: tuple[float, ...] = (0.0, 0.03, 0.06)  # widening on each side, as a share of the box's own
    absent_quantile: Share = 0.5  # share of questions for what a scene does not show that fall back
    # A plain picture's product is boxed by its outline, if that and the region overlap so much; null: never.
    agreement: Share | None = 0.4


class SceneGrounding(Params):
    """Boxes from a dense head on the encoder's frozen maps, taught by composed scenes."""

    composer: SceneParams = SceneParams()
    training: HeadTraining = HeadTraining()
    region: RegionParams = RegionParams()
    sizes_px: tuple[int, ...] = Field((160,), min_length=1)  # longer sides of a picture, read at each
    temperature: PositiveFloat = 0.1  # of the mixture of types that stands for a word the head never saw
    least_similarity: float = Field(0.3, ge=-1, le=1)  # of such a word to the nearest type; cosine
    centre_side: float = Field(0.75, gt=0, le=1)  # of the crop where no head can be taught


class DetectorGrounding(Params):
    """Boxes from an open-vocabulary detector through transformers: the Grounding DINO family or OWLv2."""

    checkpoint: str = Field(min_length=1)  # a folder, or a name on the hub
    revision: str | None = None  # commit of the hub's repository; null for a folder
    prompt: str = "a {product_type}."  # with {product_type}
    # least confidence for a box to be used; null: calibrated on pictures that do not show what is asked
    threshold: Share | None = None
    calibration_pictures: int = Field(200, ge=2)  # of the train split, each asked for another type
    absent_quantile: Share = 0.9  # share of them that fall back to the whole picture

    @model_validator(mode="after")
    def _prompt_names_the_type(self) -> Self:
        if "{product_type}" not in self.prompt:
            raise ValueError("prompt must contain {product_type}")
        self.prompt.format(product_type="")
        return self


class GroundParams(Params):
    """Block ``ground``: where each product is in its picture. One of ``scenes`` and ``detector`` is set."""

    threads: PositiveInt = 1
    batch_size: PositiveInt = 64
    precision: Precision = "bf16"
    scenes: SceneGrounding | None = SceneGrounding()
    detector: DetectorGrounding | None = None
    minimum_area: Share = 0.02  # a smaller box is not used

    @model_validator(mode="after")
    def _one_method(self) -> Self:
        if (self.scenes is None) == (self.detector is None):
            raise ValueError("set exactly one of scenes and detector, and the other to null")
        return self
