"""Boxes of products from the dense head, behind the grounder's protocol."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from components.catalog.format.errors import ImageError
from components.catalog.format.images import decode_image
from components.encoder.model.features.pixels import LIMITS
from components.vlclip.grounding.dense.calibration import Calibration
from components.vlclip.grounding.dense.reading import AskedTypes, Floats, Reader
from components.vlclip.grounding.dense.regions import best_region
from components.vlclip.grounding.grounding import NO_PICTURE, NOT_LEARNED, Proposals


class DenseGrounder:
    """The region where the asked type is most probable among all types and nothing."""

    def __init__(self, reader: Reader, asked: AskedTypes, calibration: Calibration, threads: int) -> None:
        self.reader, self.asked, self.calibration, self.threads = reader, asked, calibration, threads

    @property
    def threshold(self) -> float:
        """Least peak of a map whose box is used."""
        return self.calibration.threshold

    def propose(self, pictures: Sequence[bytes], product_types: Sequence[str]) -> Proposals:
        """One box per picture; a picture that cannot be read or a word near no type is a problem."""
        with ThreadPoolExecutor(self.threads) as pool:
            images = list(pool.map(self._decoded, pictures))
        weights = self.asked.weights(product_types)
        problems = [
            NO_PICTURE if image is None else NOT_LEARNED if w is None else ""
            for image, w in zip(images, weights, strict=True)
        ]
        boxes, points = np.full((len(images), 4), np.nan), np.full((len(images), 2), np.nan)
        scores = np.full(len(images), np.nan)
        rows = [i for i, problem in enumerate(problems) if not problem]
        if rows:
            maps = self._maps([images[i] for i in rows], [weights[i] for i in rows])
            for i, likely in zip(rows, maps, strict=True):
                share, margin = self.calibration.share, self.calibration.margin
                boxes[i], points[i], scores[i] = best_region(likely, share, margin)
        return Proposals(boxes, scores, points, problems)

    def _maps(self, images: Sequence[Image.Image | None], weights: Sequence[Floats | None]) -> Floats:
        pictures = [image for image in images if image is not None]
        asked = np.stack([w for w in weights if w is not None])[:, None]
        found: Floats = self.reader.likely(pictures, asked)[:, 0]
        return found

    def _decoded(self, data: bytes) -> Image.Image | None:
        side = max(self.reader.sizes_px)
        try:
            image = decode_image(data, LIMITS, target_px=side)
        except ImageError:
            return None
        # As many photos are held as a batch has rows: none of them larger than it is read.
        scale = side / max(image.size)
        size = tuple(max(1, round(n * scale)) for n in image.size)
        return image if scale >= 1 else image.resize((size[0], size[1]), Image.Resampling.BICUBIC)
