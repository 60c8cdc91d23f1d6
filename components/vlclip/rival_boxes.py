"""Boxes that no text was asked for: the rivals that grounding has to beat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from components.vlclip.boxes import WHOLE, Boxes

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

    The ground is the median colour of the picture's rim; what is farther from it than Otsu's threshold is
    foreground (Otsu 1979). Its largest connected part is boxed; a picture of one colour is kept whole.
    """
    return np.array([_foreground(p) for p in pixels]).reshape(-1, 4)


def _foreground(picture: Pixels) -> tuple[float, float, float, float]:
    from scipy import ndimage

    side = len(picture)
    colours = picture.astype(np.float64)
    rim = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]])
    distance = np.linalg.norm(colours - np.median(rim, axis=0), axis=-1)
    parts, count = ndimage.label(distance > otsu(distance))
    if not count:
        return WHOLE
    largest = int(np.bincount(parts.ravel())[1:].argmax())
    rows, columns = ndimage.find_objects(parts)[largest]
    return columns.start / side, rows.start / side, columns.stop / side, rows.stop / side


def otsu(values: npt.NDArray[np.float64], bins: int = 64) -> float:
    """The threshold that parts values into two classes with the greatest variance between them."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return high
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * centres)
    means = sums[:-1] / np.maximum(below, 1), (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (means[0] - means[1]) ** 2
    return float(edges[1 + int(between.argmax())])
