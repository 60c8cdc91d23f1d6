"""From a map of how probable a product is at each place to its box, its point and a confidence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from components.vlclip.grounding.foreground import box_of

Floats = npt.NDArray[np.float32]
FLAT = 1e-6  # a map whose peak is below this says nothing


def best_region(
    likely: Floats, share: float, margin: float
) -> tuple[tuple[float, ...], tuple[float, float], float]:
    """Box (fractions), point and score of the region of a map ``[h, w]`` around its peak.

    The region is what is connected to the peak and above ``share`` of it; the box is ``margin`` of its own
    sides wider on each side, the point is the region's centre of mass, and the score is the peak. A map that
    is 0 everywhere has NaN for all of them.
    """
    from scipy import ndimage

    height, width = likely.shape
    peak = float(likely.max())
    if not peak > FLAT:
        nothing = float("nan")
        return (nothing,) * 4, (nothing, nothing), nothing
    parts, _ = ndimage.label(likely >= share * peak)
    region = parts == parts.flat[int(likely.argmax())]
    x0, y0, x1, y1 = box_of(region)
    wide, high = margin * (x1 - x0), margin * (y1 - y0)
    box = max(0.0, x0 - wide), max(0.0, y0 - high), min(1.0, x1 + wide), min(1.0, y1 + high)
    row, column = ndimage.center_of_mass(np.where(region, likely, 0.0))
    return box, ((column + 0.5) / width, (row + 0.5) / height), peak
