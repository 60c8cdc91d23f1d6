"""Boxes of products from the dense head, behind the grounder's protocol."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.encoder.model.crops.boxes import iou
from components.grounding.dense.cut_outs import plain_product
from components.grounding.dense.files import TrainedHead
from components.grounding.dense.head import Maps
from components.grounding.dense.reading import AskedTypes, Floats, Reader, best_region
from components.grounding.foreground import box_of
from components.grounding.grounding import NO_PICTURE, NOT_LEARNED, Prompt, Proposals, readable

PLAIN_PX = 64  # longer side at which a plain picture's product is outlined


class DenseGrounder:
    """The region where the asked type is most probable among all types and nothing.

    Cells say which thing is meant, and their edges are coarse: where the picture is plain and its product
    agrees with the region, the box is the product's own outline.

    Args:
        trained: the head; its ``agreement`` is the intersection over union of both from which on that is so
            (None: never). maps: of the trunk that it was taught on. batch_size: pictures of a trunk's batch.
    """

    def __init__(
        self, trained: TrainedHead, maps: Maps, asked: AskedTypes, batch_size: int, threads: int
    ) -> None:
        self.reader = Reader(maps, trained.head, trained.sizes_px, batch_size)
        self.asked, self.calibration = asked, trained.calibration
        self.agreement, self.threads = trained.agreement, threads

    @property
    def threshold(self) -> float:
        """Least peak of a map whose box is used."""
        return self.calibration.threshold

    def propose(self, pictures: Sequence[bytes], prompts: Sequence[Prompt]) -> Proposals:
        """One box per picture; a picture that cannot be read or a word near no type is a problem."""
        with ThreadPoolExecutor(self.threads) as pool:
            images = list(pool.map(self._decoded, pictures))
        weights = self.asked.weights(prompts)
        problems = [
            NO_PICTURE if image is None else NOT_LEARNED if w is None else ""
            for image, w in zip(images, weights, strict=True)
        ]
        boxes, points = np.full((len(images), 4), np.nan), np.full((len(images), 2), np.nan)
        scores = np.full(len(images), np.nan)
        rows = [i for i, problem in enumerate(problems) if not problem]
        if rows:
            for i, likely in zip(rows, self._maps(rows, pictures, images, weights), strict=True):
                share, margin = self.calibration.share, self.calibration.margin
                boxes[i], points[i], scores[i] = best_region(likely, share, margin)
            with ThreadPoolExecutor(self.threads) as pool:
                boxes[rows] = list(pool.map(self._outlined, [images[i] for i in rows], boxes[rows]))
        return Proposals(boxes, scores, points, problems)

    def _outlined(self, image: Image.Image | None, box: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The outline of a plain picture's product where it agrees with the box; else the box."""
        if image is None or self.agreement is None or not np.isfinite(box).all():
            return box
        small = image.copy()
        small.thumbnail((PLAIN_PX, PLAIN_PX), Image.Resampling.BILINEAR)
        mask = plain_product(np.asarray(small))
        outline = box if mask is None else np.array(box_of(mask))
        return outline if iou(outline[None], box[None])[0] >= self.agreement else box

    def _maps(
        self, rows: Sequence[int], pictures: Sequence[bytes], images: Sequence[Image.Image | None],
        weights: Sequence[Floats | None],
    ) -> list[Floats]:  # fmt: skip
        """A map for each of ``rows``; a picture that is asked for several things is read once."""
        asked: dict[bytes, list[int]] = {}
        for i in rows:
            asked.setdefault(pictures[i], []).append(i)
        groups = list(asked.values())
        wanted = np.zeros((len(groups), max(map(len, groups)), len(self.asked.types)), dtype=np.float32)
        for at, group in enumerate(groups):
            for k, i in enumerate(group):
                wanted[at, k] = weights[i]
        once = [image for group in groups if (image := images[group[0]]) is not None]
        found = self.reader.likely(once, wanted)
        maps = {i: found[at, k] for at, group in enumerate(groups) for k, i in enumerate(group)}
        return [maps[i] for i in rows]

    def _decoded(self, data: bytes) -> Image.Image | None:
        side = max(self.reader.sizes_px)
        image = readable(data, side)
        if image is None:
            return None
        # As many photos are held as a batch has rows: none of them larger than it is read.
        scale = side / max(image.size)
        size = tuple(max(1, round(n * scale)) for n in image.size)
        return image if scale >= 1 else image.resize((size[0], size[1]), Image.Resampling.BICUBIC)
