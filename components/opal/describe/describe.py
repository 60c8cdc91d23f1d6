"""Listings of photos from anywhere: one photo to JSON, a folder to JSONL and a page to look through."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.errors import ImageError
from components.catalog.format.images import decode_image
from components.catalog.format.params import ImageLimits
from components.catalog.format.schema import CatalogSchema
from components.opal.model.errors import ListingConfigurationError, PhotoError
from components.opal.model.language.files import load_listing_model, read_note
from components.opal.model.params import DescribeParams
from components.opal.model.writing.generate import Decoding, Generated, ListingGenerator
from components.stage.files.printable import printable

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Described:
    """One photo and its listing, or why it has none."""

    photo: str
    category: str
    generated: Generated | None
    problem: str = ""

    def row(self) -> dict[str, Any]:
        """As a line of JSONL."""
        out: dict[str, Any] = {"photo": self.photo, "category": self.category}
        if self.generated is None or self.generated.listing is None:
            return out | {"error": self.problem or "the model wrote no listing"}
        listing = json.loads(self.generated.whole)
        confidence = {name: round(value, 4) for name, value in self.generated.confidence.items()}
        return out | {"listing": listing, "confidence": confidence}


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


def read_photo(path: Path, limits: ImageLimits, image_px: int) -> npt.NDArray[np.uint8]:
    """A photo as square pixels ``[image_px, image_px, 3]``; its size is looked at before it is read.

    Raises:
        PhotoError: too large, broken, or no picture.
    """
    from PIL import Image

    try:
        size = path.stat().st_size
        if size > limits.max_bytes:
            raise PhotoError(
                f"{path}: the photo has {size:,} bytes, more than max_bytes={limits.max_bytes:,}."
            )
        image = decode_image(path.read_bytes(), limits, target_px=image_px)
    except ImageError as error:
        raise PhotoError(f"{path}: the photo {error}.") from None
    except OSError as error:
        raise PhotoError(f"{path} cannot be read: {error.strerror or error}.") from None
    return np.asarray(image.resize((image_px, image_px), Image.Resampling.BICUBIC))


def describe(
    photos: Sequence[Path], category: str, model: Path, schema: CatalogSchema, params: DescribeParams
) -> list[Described]:
    """Listings of photos of one category, held to its schema; a bad photo is told, the others go on.

    Raises:
        ListingConfigurationError: the category is unknown. ListingModelFileError: the model cannot be used.
    """
    if category not in schema.categories:
        known = ", ".join(sorted(schema.categories))
        raise ListingConfigurationError(f"There is no category {category[:80]!r}; known: {known[:400]}.")
    loaded, note = load_listing_model(model), read_note(model)
    limits = ImageLimits(
        max_bytes=params.max_bytes, max_pixels=params.max_pixels, min_side_px=params.min_side_px
    )
    decoding = Decoding(params.batch_size, note["max_new_tokens"], note["precision"])
    generator = ListingGenerator(loaded, note, schema, decoding)
    out: list[Described] = []
    for start in range(0, len(photos), params.batch_size):
        out += _describe_batch(photos[start : start + params.batch_size], category, generator, limits)
    return out


def _describe_batch(
    photos: Sequence[Path], category: str, generator: ListingGenerator, limits: ImageLimits
) -> list[Described]:
    """Read and describe some photos; one that cannot be read gets its problem instead of a listing."""
    pixels, problems = [], {}
    for photo in photos:
        try:
            pixels.append(read_photo(photo, limits, generator.note["image_px"]))
        except PhotoError as error:
            problems[photo] = printable(str(error))  # its name may be no UTF-8
    written = iter(generator(np.stack(pixels), [category] * len(pixels), constrained=True) if pixels else ())
    return [
        Described(printable(photo.name), category, None, problems[photo])
        if photo in problems
        else Described(printable(photo.name), category, next(written))
        for photo in photos
    ]
