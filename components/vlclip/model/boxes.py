"""Boxes as fractions of a picture's width and height: x0 y0 x1 y1, what they may be and how they compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from components.vlclip.model.errors import BoxError

Boxes = npt.NDArray[np.float64]  # [N, 4]
WHOLE = (0.0, 0.0, 1.0, 1.0)
# A box this far outside is a rounding error of float32 or of a detector's pixels; it is clipped in silence.
SLACK = 1e-3


def box_problem(box: Sequence[float]) -> str | None:
    """What is wrong with a box of fractions, as a phrase; None when nothing is."""
    if len(box) != 4:
        return f"has {len(box)} numbers instead of 4"
    if not np.isfinite(box).all():
        return "holds a number that is not finite"
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return "is inverted or empty (x0 < x1 and y0 < y1 are needed)"
    if min(x0, y0) < -SLACK or max(x1, y1) > 1 + SLACK:
        return "lies outside its picture (fractions from 0 to 1 are needed)"
    return None


def checked_box(box: Sequence[float], where: str) -> tuple[float, float, float, float]:
    """The box, clipped to the picture where it leaves it by a rounding error.

    Raises:
        BoxError: not four finite numbers, inverted, empty, or outside the picture; ``where`` is named.
    """
    if problem := box_problem(box):
        raise BoxError(
            f"The box of {where} {problem}: {[float(v) for v in box]}; 'vitrine run --until ground' again."
        )
    x0, y0, x1, y1 = (min(max(float(v), 0.0), 1.0) for v in box)
    return x0, y0, x1, y1


def centre_boxes(count: int, side: float) -> Boxes:
    """The middle of the picture, ``side`` of its width and height, ``[count, 4]``."""
    edge = (1 - side) / 2
    return np.tile(np.array([edge, edge, 1 - edge, 1 - edge]), (count, 1))


def clipped(boxes: Boxes) -> Boxes:
    """Boxes cut at the picture's edges; one that lies wholly outside comes out empty, NaN stays NaN."""
    inside: Boxes = np.clip(boxes, 0.0, 1.0)
    return inside


def widened(boxes: Boxes, margin: float) -> Boxes:
    """Boxes grown by ``margin`` x their own width and height on every side, cut at the picture's edges."""
    grow = margin * (boxes[:, 2:] - boxes[:, :2])
    return clipped(np.concatenate([boxes[:, :2] - grow, boxes[:, 2:] + grow], axis=1))


def areas(boxes: Boxes) -> npt.NDArray[np.float64]:
    """Share of the picture that each box covers; 0 for an inverted one."""
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None)
    product: npt.NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return product


def iou(a: Boxes, b: Boxes) -> npt.NDArray[np.float64]:
    """Intersection over union of the boxes of each row, in 0..1; 0 where both are empty."""
    common = np.concatenate([np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])], axis=1)
    shared = areas(common)
    union = areas(a) + areas(b) - shared
    ratio: npt.NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def inside(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], boxes: Boxes) -> npt.NDArray[np.float64]:
    """1 where the point lies inside the box of its row."""
    x0, y0, x1, y1 = boxes.T
    hit: npt.NDArray[np.float64] = ((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)).astype(np.float64)
    return hit
