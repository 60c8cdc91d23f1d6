"""How good the boxes are: overlap and pointing against true boxes, beside boxes that need no text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.encoder.evaluate.figures import VariantFigures, tested_figures
from components.encoder.model.crops.boxes import WHOLE, Boxes, centre_boxes, inside, iou
from components.encoder.model.crops.grounding_file import Grounding
from components.encoder.model.features.held_out import HeldOut
from components.encoder.model.features.pixels import PixelCache
from components.grounding.dense.cut_outs import box_of
from components.vlclip.evaluate.evaluate import SCENES
from components.vlclip.model.params import VlclipEvaluationParams

POINTINGS = pa.schema(
    [
        *((n, pa.string()) for n in ("variant", "product_id", "scene")),
        *((n, pa.float64()) for n in ("x", "y", "iou")),
        ("hit", pa.bool_()),
        ("box", pa.list_(pa.float64())),  # the true one
        ("found_box", pa.list_(pa.float64())),
        ("fallback", pa.bool_()),
    ]
)


class FoundBoxes(NamedTuple):
    """Boxes ``[N, 4]`` of one row, where each points ``[N, 2]``, and which ones fell back to all of it."""

    boxes: Boxes
    points: Boxes
    fallback: list[bool]


def every_row(
    held_out: HeldOut, groundings: Mapping[str, Grounding], pixels: PixelCache, params: VlclipEvaluationParams
) -> tuple[list[int], dict[str, FoundBoxes]]:
    """Rows of the split with a true box, and the boxes of each grounding, then of each baseline, for them."""
    truth = held_out.truth
    chosen = [i for i, r in enumerate(held_out.rows) if truth.get(r["product_id"], {}).get("box")]
    at, count = held_out.positions[chosen], len(chosen)
    salient = np.zeros((count, 4))
    for places, part in pixels.fresh(at):  # memory holds a part of the pictures at a time
        salient[places] = foregrounds(part)
    baselines = {
        "whole_image": centre_boxes(count, 1.0),
        "centre_crop": centre_boxes(count, params.centre_side),
        "random_box": random_boxes(count, params.seed),
        "foreground": salient,
    }
    none = [False] * count
    theirs = {n: FoundBoxes(b, (b[:, :2] + b[:, 2:]) / 2, none) for n, b in baselines.items()}
    ours = {
        name: FoundBoxes(found.boxes[at], found.points[at], [found.fallback[i] for i in at])
        for name, found in groundings.items()
    }
    return chosen, ours | theirs


class GroundingEvaluation:
    """IoU, pointing and fallback rate of every row, over all pictures and by scene; the first is tested."""

    def __init__(
        self, held_out: HeldOut, chosen: list[int], found: dict[str, FoundBoxes],
        params: VlclipEvaluationParams,
    ) -> None:  # fmt: skip
        rows = [held_out.rows[i] for i in chosen]
        truth = [held_out.truth[r["product_id"]] for r in rows]
        self.params, self.measured = params, dict[str, VariantFigures]()
        self._ids, self._scenes = [r["product_id"] for r in rows], [t["scene"] for t in truth]
        self._true = np.array([t["box"] for t in truth], dtype=np.float64).reshape(-1, 4)
        self._rows: list[dict[str, Any]] = []
        for variant, boxes in found.items():
            self._add(variant, boxes)

    def _add(self, variant: str, found: FoundBoxes) -> None:
        overlap = iou(found.boxes, self._true)
        hits = inside(found.points[:, 0], found.points[:, 1], self._true)
        row = self.measured.setdefault(variant, VariantFigures())
        scenes = np.array(self._scenes)
        for name, values in (
            ("iou", overlap),
            ("iou_above_half", (overlap > 0.5).astype(np.float64)),
            ("pointing", hits),
            ("fallback_rate", np.array(found.fallback, dtype=np.float64)),
        ):
            row.add(name, values)
            for scene in SCENES:
                row.add(f"{name}_{scene}", values[scenes == scene])
        for i, product_id in enumerate(self._ids):
            x, y = (float(v) for v in found.points[i])
            self._rows.append(
                {
                    "variant": variant, "product_id": product_id, "scene": self._scenes[i],
                    "x": x, "y": y, "iou": float(overlap[i]), "hit": bool(hits[i]),
                    "box": self._true[i].tolist(), "found_box": found.boxes[i].tolist(),
                    "fallback": bool(found.fallback[i]),
                }
            )  # fmt: skip

    def metrics(self) -> dict[str, Any]:
        """variant -> metric -> {value, low, high, n}, and the paired tests under ``_tests``."""
        ours, *others = self.measured
        pairs = [(ours, other) for other in others]
        names = ("iou", "iou_cluttered", "iou_plain", "pointing", "pointing_cluttered")
        return tested_figures(self.measured, pairs, names, self.params)

    def table(self) -> pa.Table:
        """One row per variant and product, as the report's gallery reads it."""
        return pa.Table.from_pylist(self._rows, schema=POINTINGS)


def random_boxes(count: int, seed: int) -> Boxes:
    """Boxes between two points drawn evenly from the picture, ``[N, 4]``."""
    corners = np.random.default_rng(seed).random((count, 2, 2))
    ordered = np.sort(corners, axis=1)
    boxes: Boxes = np.concatenate([ordered[:, 0], ordered[:, 1]], axis=1)
    return boxes


def foregrounds(pixels: npt.NDArray[np.uint8]) -> Boxes:
    """Box of what stands out from the ground, ``[N, 4]``, for square pictures ``[N, px, px, 3]``.

    The ground is the median colour of the picture's rim; what is farther from it than Otsu's threshold is
    foreground (Otsu 1979). Its largest connected part is boxed; a picture of one colour is kept whole.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    found = []
    for picture in pixels:
        colours = picture.astype(np.float64)
        rim = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]])
        distance = np.linalg.norm(colours - np.median(rim, axis=0), axis=-1)
        parts = ndimage.label(distance > threshold_otsu(distance))[0]
        sizes = np.bincount(parts.ravel())[1:]
        found.append(box_of(parts == 1 + sizes.argmax()) if len(sizes) else WHOLE)
    return np.array(found).reshape(-1, 4)
