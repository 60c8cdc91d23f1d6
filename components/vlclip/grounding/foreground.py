"""What stands out from a picture's ground, and boxes drawn around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def foreground_parts(picture: Pixels) -> npt.NDArray[np.int32]:
    """Numbers ``[px, px]`` of the connected parts of the foreground, from 1 on; 0 is the ground.

    The ground is the median colour of the picture's rim; what is farther from it than Otsu's threshold is
    foreground (Otsu 1979). A picture of one colour has none.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    colours = picture.astype(np.float64)
    rim = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]])
    distance = np.linalg.norm(colours - np.median(rim, axis=0), axis=-1)
    parts: npt.NDArray[np.int32] = ndimage.label(distance > threshold_otsu(distance))[0]
    return parts


def box_of(mask: Mask) -> tuple[float, float, float, float]:
    """The box x0 y0 x1 y1 of a mask that is not empty, in fractions."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        float(columns[0] / width), float(rows[0] / height),
        float((columns[-1] + 1) / width), float((rows[-1] + 1) / height),
    )  # fmt: skip


def drawn_around(
    box: Sequence[float], picture: Pixels, share: float, minimum_area: float
) -> tuple[float, float, float, float]:
    """The box around every part of the foreground that lies mostly inside ``box``; itself where none does.

    A window of whole cells says which thing is meant, and its edges are as coarse as its cells; the thing's
    own edges are where the ground ends.

    Args:
        share: of a part, that must lie inside. minimum_area: share of the picture below which a part is a
            speck.
    """
    parts = foreground_parts(picture)
    side = len(picture)
    x0, y0, x1, y1 = (round(v * side) for v in box)
    sizes = np.bincount(parts.ravel())
    inside = np.bincount(parts[y0:y1, x0:x1].ravel(), minlength=len(sizes))
    belongs = (inside >= share * sizes) & (sizes >= minimum_area * parts.size)
    belongs[0] = False
    if not belongs.any():
        a, b, c, d = (float(v) for v in box)
        return a, b, c, d
    return box_of(belongs[parts])
