"""Boxes that no text was asked for: the baselines that grounding has to beat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from components.vlclip.grounding.foreground import box_of, foreground_parts
from components.vlclip.model.boxes import WHOLE, Boxes

Pixels = npt.NDArray[np.uint8]


def whole_images(count: int) -> Boxes:
    """The whole picture, ``[N, 4]``."""
    return np.tile(np.array(WHOLE), (count, 1))


def centre_crops(count: int, side: float) -> Boxes:
    """The middle of the picture, ``side`` of its width and height, ``[N, 4]``."""
    edge = (1 - side) / 2
    return np.tile(np.array([edge, edge, 1 - edge, 1 - edge]), (count, 1))


def random_boxes(count: int, seed: int) -> Boxes:
    """Boxes between two points drawn evenly from the picture, ``[N, 4]``."""
    corners = np.random.default_rng(seed).random((count, 2, 2))
    ordered = np.sort(corners, axis=1)
    boxes: Boxes = np.concatenate([ordered[:, 0], ordered[:, 1]], axis=1)
    return boxes


def foregrounds(pixels: Pixels) -> Boxes:
    """Box of what stands out from the ground, ``[N, 4]``, for square pictures ``[N, px, px, 3]``.

    Its largest connected part is boxed; a picture of one colour is kept whole.
    """
    return np.array([_foreground(p) for p in pixels]).reshape(-1, 4)


def _foreground(picture: Pixels) -> tuple[float, float, float, float]:
    parts = foreground_parts(picture)
    sizes = np.bincount(parts.ravel())[1:]
    return box_of(parts == 1 + sizes.argmax()) if len(sizes) else WHOLE
