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
from components.vlclip.model.boxes import Boxes


def crop_square(data: bytes, box: Sequence[float], image_px: int) -> Pixels:
    """A box of an encoded picture, stretched to ``[image_px, image_px, 3]`` uint8.

    It is cut out of the picture at the picture's own resolution, not out of an ``image_px`` copy: a crop of
    half the side shows twice the detail.
    """
    from PIL import Image

    x0, y0, x1, y1 = box
    needed = math.ceil(image_px / min(x1 - x0, y1 - y0))
    image = decode_image(data, LIMITS, target_px=needed)
    width, height = image.size
    region = (x0 * width, y0 * height, x1 * width, y1 * height)
    return np.asarray(image.resize((image_px, image_px), Image.Resampling.BICUBIC, box=region))


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
        return hashlib.sha256(f"{sha256_file(shard)} {self.image_px} {VERSION} {boxes}".encode()).hexdigest()

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
