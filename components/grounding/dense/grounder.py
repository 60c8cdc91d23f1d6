"""Boxes of products from the dense head, behind the grounder's protocol."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.encoder.model.crops.boxes import iou
from components.grounding.dense.cut_outs import box_of, plain_product
from components.grounding.dense.files import TrainedHead
from components.grounding.dense.head import Maps
from components.grounding.dense.reading import AskedTypes, Reader, best_region
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
        self.threshold = self.calibration.threshold

    def propose(self, pictures: Sequence[bytes], prompts: Sequence[Prompt]) -> Proposals:
        """One box per picture; a picture that cannot be read or a word near no type is a problem.

        A picture that is asked for several things is decoded, read and outlined once.
        """
        once: dict[bytes, int] = {}
        of = [once.setdefault(data, len(once)) for data in pictures]
        with ThreadPoolExecutor(self.threads) as pool:
            images = list(pool.map(self._decoded, once))
        weights = self.asked.weights(prompts)
        problems = [
            NO_PICTURE if images[at] is None else NOT_LEARNED if w is None else ""
            for at, w in zip(of, weights, strict=True)
        ]
        boxes, points = np.full((len(of), 4), np.nan), np.full((len(of), 2), np.nan)
        scores = np.full(len(of), np.nan)
        asked: dict[int, list[int]] = {}  # of a picture, the rows that ask it
        for i, problem in enumerate(problems):
            if not problem:
                asked.setdefault(of[i], []).append(i)
        if asked:
            shown = [image for at in asked if (image := images[at]) is not None]
            most, calibration = max(map(len, asked.values())), self.calibration
            wanted = np.zeros((len(shown), most, len(self.asked.types)), dtype=np.float32)
            for at, rows in enumerate(asked.values()):
                wanted[at, : len(rows)] = [weights[i] for i in rows]
            found = self.reader.likely(shown, wanted)
            with ThreadPoolExecutor(self.threads) as pool:
                outlines = pool.map(self._outline, shown)
                for rows, maps, outline in zip(asked.values(), found, outlines, strict=True):
                    for i, likely in zip(rows, maps, strict=False):
                        box, points[i], scores[i] = best_region(likely, calibration.share, calibration.margin)
                        boxes[i] = self._agreed(np.array(box), outline)
        return Proposals(boxes, scores, points, problems)

    def _outline(self, image: Image.Image) -> npt.NDArray[np.float64] | None:
        """The box of a plain picture's product; None where the picture is not plain."""
        if self.agreement is None:
            return None
        small = image.copy()
        small.thumbnail((PLAIN_PX, PLAIN_PX), Image.Resampling.BILINEAR)
        mask = plain_product(np.asarray(small))
        return None if mask is None else np.array(box_of(mask))

    def _agreed(
        self, box: npt.NDArray[np.float64], outline: npt.NDArray[np.float64] | None
    ) -> npt.NDArray[np.float64]:
        """The outline where it agrees with the box; else the box."""
        if outline is None or self.agreement is None or not np.isfinite(box).all():
            return box
        return outline if iou(outline[None], box[None])[0] >= self.agreement else box

    def _decoded(self, data: bytes) -> Image.Image | None:
        side = max(self.reader.sizes_px)
        image = readable(data, side)
        if image is None:
            return None
        # As many photos are held as a batch has rows: none of them larger than it is read.
        scale = side / max(image.size)
        size = tuple(max(1, round(n * scale)) for n in image.size)
        return image if scale >= 1 else image.resize((size[0], size[1]), Image.Resampling.BICUBIC)
