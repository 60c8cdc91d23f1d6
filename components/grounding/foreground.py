"""What stands out from a picture's ground, and boxes drawn around it."""

from __future__ import annotations

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
