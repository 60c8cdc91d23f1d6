"""Pixels of each product's crop, decoded once from the original picture."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from components.catalog.format.images import decode_image
from components.catalog.format.params import ImageLimits
from components.encoder.model.crops.boxes import Boxes
from components.encoder.model.features.pixels import (
    LIMITS,
    ROWS_AT_ONCE,
    VERSION,
    PixelCache,
    Pixels,
    named_square,
    shard_paths,
)
from components.stage.resume import sha256_file


def crop_square(data: bytes, box: Sequence[float], image_px: int, limits: ImageLimits = LIMITS) -> Pixels:
    """A box of an encoded picture in the middle of a square ``[image_px, image_px, 3]`` uint8.

    It is cut out of the picture at the picture's own resolution, not out of an ``image_px`` copy: a crop of
    half the side shows twice the detail. It keeps the proportions that the whole picture's square has, so a
    product looks the same in both; what stays free has the median colour of the crop's rim.
    """
    from PIL import Image

    x0, y0, x1, y1 = box
    image = decode_image(data, limits, target_px=math.ceil(image_px / max(x1 - x0, y1 - y0)))
    width, height = image.size
    region = (x0 * width, y0 * height, x1 * width, y1 * height)
    sides = _within(x1 - x0, y1 - y0, image_px)
    crop = image.resize(sides, Image.Resampling.BICUBIC, box=region)
    square = Image.new("RGB", (image_px, image_px), _rim_colour(np.asarray(crop)))
    square.paste(crop, ((image_px - sides[0]) // 2, (image_px - sides[1]) // 2))
    return np.asarray(square)


def _within(width: float, height: float, image_px: int) -> tuple[int, int]:
    """Sides in pixels of a crop, given as shares of its picture's sides; the longer one fills the square."""
    longest = max(width, height)
    return max(1, round(image_px * width / longest)), max(1, round(image_px * height / longest))


def _rim_colour(pixels: Pixels) -> tuple[int, ...]:
    """Median of the outermost pixels, channel by channel."""
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(value) for value in np.median(rim, axis=0))


CROP_VERSION = "2"  # of how a crop is put into its square: raise it when the pixels change


class CropCache(PixelCache):
    """As :class:`PixelCache`, with a box for every product; another box is another cache entry.

    Args:
        boxes: ``[N, 4]`` fractions in catalogue order, each valid and inside its picture.
    """

    def __init__(self, catalogue: Path, boxes: Boxes, image_px: int, cache: Path, threads: int) -> None:
        self._boxes = boxes.astype(np.float64)
        self._places = {shard: at for at, shard in enumerate(shard_paths(catalogue))}
        super().__init__(catalogue, image_px, cache, threads)

    def _rows(self, shard: Path) -> slice:
        at = self._places[shard]
        return slice(int(self._starts[at]), int(self._starts[at + 1]))

    def key(self, shard: Path) -> str:
        """What decides the pixels of a shard: its bytes, the boxes, and what is done to them."""
        boxes = hashlib.sha256(self._boxes[self._rows(shard)].tobytes()).hexdigest()
        return hashlib.sha256(
            f"{sha256_file(shard)} {self.image_px} {VERSION} {CROP_VERSION} {boxes}".encode()
        ).hexdigest()

    def decoded(self, shard: Path) -> Iterator[list[Pixels]]:
        """The crops of a shard in order, ``ROWS_AT_ONCE`` at a time, decoded afresh."""
        at = self._rows(shard).start
        with ThreadPoolExecutor(self.threads) as pool:
            for batch in pq.ParquetFile(shard).iter_batches(ROWS_AT_ONCE, columns=["product_id", "image"]):
                ids = batch.column("product_id").to_pylist()
                data = batch.column("image").field("bytes").to_pylist()
                boxes = self._boxes[at : at + len(data)]
                at += len(data)
                yield list(pool.map(self._crop, ids, data, boxes))

    def _crop(self, product_id: str, data: bytes | None, box: Sequence[float]) -> Pixels:
        return named_square(product_id, lambda: crop_square(data or b"", box, self.image_px))
