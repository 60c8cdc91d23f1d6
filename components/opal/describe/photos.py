"""Photos from anywhere as a listing model reads them: whole, or the box of what is of their category."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from components.catalog.format.errors import ImageError
from components.catalog.format.images import decode_image
from components.catalog.format.params import ImageLimits
from components.encoder.model.crops.boxes import WHOLE
from components.encoder.model.crops.crops import crop_square
from components.encoder.model.features.pixels import square
from components.grounding.dense.files import load_grounder
from components.grounding.dense.grounder import DenseGrounder
from components.grounding.dense.reading import AskedTypes, trunk_maps
from components.grounding.grounding import AnyOf, ground
from components.opal.model.errors import ListingModelFileError, PhotoError
from components.opal.model.language.files import GROUNDER
from components.opal.model.language.pictures import tower_of
from components.opal.model.writing.generate import ListingGenerator

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
DECODED_PX = 32  # about this side a photo is decoded to see whether it can be


def photos_of(path: Path) -> list[Path]:
    """The photo itself, or the photos of a folder, by name.

    Raises:
        PhotoError: there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise PhotoError(f"There is no photo or folder at {path}.")
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS and p.is_file())
    if not found:
        raise PhotoError(f"{path} holds no photo ({', '.join(ENDINGS)}).")
    return found


def read_photo(path: Path, limits: ImageLimits) -> bytes:
    """An encoded photo that can be decoded; its size is looked at before it is read.

    Raises:
        PhotoError: too large, broken, or no picture.
    """
    try:
        size = path.stat().st_size
        if size > limits.max_bytes:
            raise PhotoError(
                f"{path}: the photo has {size:,} bytes, more than max_bytes={limits.max_bytes:,}."
            )
        data = path.read_bytes()
        decode_image(data, limits, target_px=DECODED_PX)
    except ImageError as error:
        raise PhotoError(f"{path}: the photo {error}.") from None
    except OSError as error:
        raise PhotoError(f"{path} cannot be read: {error.strerror or error}.") from None
    return data


class Read(NamedTuple):
    """Squares ``[N, px, px, 3]``, and the box of each photo that they show: None of a whole one."""

    pixels: npt.NDArray[np.uint8]
    boxes: list[list[float] | None]


class PhotoReader:
    """Photos to the square pictures that a model reads.

    Args:
        folder: of the model; holds the head that finds crops, if it reads such. model: as it writes listings.
        limits: of a photo. threads: that decode.

    Raises:
        ListingModelFileError: the model reads crops and its folder lacks what finds them.
        GrounderFileError: that cannot be used.
    """

    def __init__(self, folder: Path, model: ListingGenerator, limits: ImageLimits, threads: int) -> None:
        self.limits, self.image_px, self.schema = limits, model.note["image_px"], model.schema
        self._grounder: DenseGrounder | None = None
        if not model.note["crop"]:
            return
        tower = tower_of(model.model.model)
        trained = load_grounder(folder / GROUNDER, tower.seeing.image_sha256)
        if trained is None:
            raise ListingModelFileError(f"{folder / GROUNDER} holds no head; train or pull the model again.")
        maps = trunk_maps(tower.seeing.encoder, tower.config.precision)
        self._least_area = trained.minimum_area
        self._grounder = DenseGrounder(
            trained, maps, AskedTypes(trained.types), tower.seeing.batch_size, threads
        )

    def boxes(self, photos: Sequence[bytes], categories: Sequence[str]) -> npt.NDArray[np.float64]:
        """Where each encoded photo shows what is of its category, ``[N, 4]``; the whole photo elsewhere."""
        boxes = np.tile(np.array(WHOLE), (len(photos), 1))
        if self._grounder is None:
            return boxes
        asked = {name: AnyOf(name, tuple(c.product_types)) for name, c in self.schema.categories.items()}
        known = {kind for prompt in asked.values() for kind in prompt.types}
        prompts = [asked[name] for name in categories]
        for i, found in enumerate(ground(self._grounder, photos, prompts, known, self._least_area)):
            if found.box is not None:
                boxes[i] = np.array(found.box, np.float32)  # as a file of boxes keeps them
        return boxes

    def read(self, photos: Sequence[bytes], categories: Sequence[str]) -> Read:
        """Encoded photos as the model sees them."""
        if self._grounder is None:
            whole = [square(data, self.image_px, self.limits) for data in photos]
            return Read(np.stack(whole), [None] * len(photos))
        boxes = self.boxes(photos, categories)
        shown = zip(photos, boxes, strict=True)
        pixels = np.stack([crop_square(data, box, self.image_px, self.limits) for data, box in shown])
        return Read(pixels, [None if tuple(box) == WHOLE else box.tolist() for box in boxes])
