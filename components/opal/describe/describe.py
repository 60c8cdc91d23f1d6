"""Listings of photos from anywhere: one photo to JSON, a folder to JSONL and a page to look through."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.images import decode_image
from components.catalog.format.params import ImageLimits
from components.catalog.format.schema import CatalogSchema
from components.opal.describe.photos import PhotoReader, read_photo
from components.opal.model.certainty.abstain import StatedAnswer, threshold_of, without_doubtful
from components.opal.model.certainty.certainty import Certainty, CertaintyFile, read_certainty
from components.opal.model.errors import ListingConfigurationError, PhotoError
from components.opal.model.language.files import load_listing_model, read_note
from components.opal.model.params import DescribeParams
from components.opal.model.printed.reader import PrintedTextReader, open_reader
from components.opal.model.writing.generate import Decoding, Generated, ListingGenerator
from components.stage.files.pages import render_page
from components.stage.files.printable import printable
from components.stage.files.thumbnails import thumbnail
from components.stage.paths import Paths

PICTURE_PX, QUALITY = 256, 80  # on the page
TEMPLATE = Path(__file__).with_name("page.jinja")


@dataclass(frozen=True)
class Described:
    """One photo and its listing, or why it has none."""

    photo: str
    category: str
    stated: StatedAnswer | None
    problem: str = ""
    printed: Mapping[str, float] | None = None  # word on the photo to confidence; None: not read
    box: Sequence[float] | None = None  # x0 y0 x1 y1 of the photo that was read; None: all of it

    @property
    def generated(self) -> Generated | None:
        """What is stated; None where there is no listing."""
        found = self.stated.generated if self.stated else None
        return found if found and found.listing is not None else None

    def row(self) -> dict[str, Any]:
        """As a line of JSONL: ``not_visible`` is attribute to the probability of what was not stated, ``box``
        what was read of the photo, in fractions of its sides."""
        out: dict[str, Any] = {"photo": self.photo, "category": self.category}
        if self.stated is None or self.generated is None:
            return out | {"error": self.problem or "the model wrote no listing"}
        out |= {
            "listing": json.loads(self.generated.whole),
            "confidence": _rounded(self.generated.confidence),
        }
        out |= {"not_visible": _rounded(self.stated.left_out), "unlike_training": self.stated.unlike}
        out["box"] = [round(edge, 4) for edge in self.box] if self.box else None
        return out if self.printed is None else out | {"printed": _rounded(self.printed)}


def _rounded(chances: Mapping[str, float]) -> dict[str, float]:
    return {name: round(chance, 4) for name, chance in chances.items()}


def limits_of(params: DescribeParams) -> ImageLimits:
    """What a photo may cost."""
    return ImageLimits(**params.model_dump(include={"max_bytes", "max_pixels", "min_side_px"}))


def describe(
    photos: Sequence[Path], category: str, model: Path, schema: CatalogSchema, params: DescribeParams
) -> list[Described]:
    """Listings of photos of one category, held to its schema; a bad photo is told, the others go on.

    Raises:
        ListingConfigurationError: the category is unknown, or printed text is to be read and cannot be.
        ListingModelFileError: the model cannot be used.
    """
    if category not in schema.categories:
        known = ", ".join(sorted(schema.categories))
        raise ListingConfigurationError(f"There is no category {category[:80]!r}; known: {known[:400]}.")
    loaded, note, certainty = load_listing_model(model), read_note(model), read_certainty(model)
    decoding = Decoding(params.batch_size, note["max_new_tokens"], note["precision"])
    speaker = Speaker(ListingGenerator(loaded, note, schema, decoding), certainty, params)
    shown = PhotoReader(model, speaker.generator, limits_of(params), params.threads)
    out: list[Described] = []
    with open_reader(params.printed_text, Paths().cache, params.threads) as reader:
        for start in range(0, len(photos), params.batch_size):
            some = photos[start : start + params.batch_size]
            out += _describe_batch(some, category, speaker, shown, reader)
    return out


class Speaker:
    """Writes listings and leaves out what is not sure enough.

    Args:
        certainty: of the model; None of an earlier version's: then its own confidence stands, and nothing is
            left out.
    """

    def __init__(
        self, generator: ListingGenerator, certainty: Certainty | None, params: DescribeParams
    ) -> None:
        self.generator, self.certainty = generator, certainty or Certainty(CertaintyFile())
        self.threshold = 0.0
        if certainty is not None:
            self.threshold = threshold_of(certainty, params.precision, params.completion)

    def __call__(
        self, pixels: npt.NDArray[np.uint8], category: str, printed: Sequence[frozenset[str]] = ()
    ) -> list[StatedAnswer]:
        """What is stated of square pictures ``[N, px, px, 3]`` of one category.

        Args:
            printed: words that each picture spells, which its title may hold; empty where nobody read them.
        """
        _, written = self.generator.both(pixels, [category] * len(pixels), printed=printed)
        written = self.certainty.calibrated(written, [category] * len(written), self.generator.titled)
        unlike = self.certainty.unlike(self.generator.model, pixels)
        return without_doubtful(written, self.threshold, unlike, partial(self.generator.titled, category))


def _describe_batch(
    photos: Sequence[Path],
    category: str,
    speaker: Speaker,
    shown: PhotoReader,
    reader: PrintedTextReader | None,
) -> list[Described]:
    """Read and describe some photos; one that cannot be read gets its problem instead of a listing."""
    data, problems = {}, {}
    for photo in photos:
        try:
            data[photo] = read_photo(photo, shown.limits)
        except PhotoError as error:
            problems[photo] = printable(str(error))  # its name may be no UTF-8
    found = {}
    if data:
        printed = [reader.words(each) if reader else None for each in data.values()]
        pixels, boxes = shown.read(list(data.values()), [category] * len(data))
        said = speaker(pixels, category, [frozenset(words) for words in printed if words is not None])
        for photo, stated, box, words in zip(data, said, boxes, printed, strict=True):
            found[photo] = Described(printable(photo.name), category, stated, printed=words, box=box)
    return [
        found.get(photo) or Described(printable(photo.name), category, None, problems[photo])
        for photo in photos
    ]


def _card(described: Described, path: Path, limits: ImageLimits) -> dict[str, object]:
    """One photo with its listing, or with the reason why it has none."""
    if described.stated is None or described.generated is None:
        return {"photo": described.photo, "listing": None, "error": described.row()["error"]}
    return {
        "photo": described.photo,
        "listing": described.generated.listing,
        "confidence": described.generated.confidence,
        "left_out": described.stated.left_out,
        "unlike": described.stated.unlike,
        "box": described.box,
        "picture": thumbnail(
            decode_image(path.read_bytes(), limits, target_px=PICTURE_PX), PICTURE_PX, QUALITY
        ),
    }


def describe_page(
    described: Sequence[Described], photos: Sequence[Path], limits: ImageLimits, low: float, point: str
) -> str:
    """The page as HTML; photos without a listing come first.

    Args:
        low: confidence below which a value is marked. point: a sentence on what is stated.
    """
    cards = [_card(each, path, limits) for each, path in zip(described, photos, strict=True)]
    return render_page(
        TEMPLATE,
        cards=sorted(cards, key=lambda card: card["listing"] is not None),
        categories=list(dict.fromkeys(each.category for each in described)),
        without=sum(card["listing"] is None for card in cards),
        low=low,
        point=point,
    )
