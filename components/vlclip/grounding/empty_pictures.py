"""Pictures of nothing, made from pictures of products: what a box on them scores, nothing explains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
CORNER = 6  # a picture's corner is this part of its side
MEDIAN_DEVIATION = 0.6745  # of a normal distribution, in standard deviations
LEAST_NOISE = 2.0  # standard deviation, of 255


def empty_pictures(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Pictures ``[3 N, px, px, 3]`` that show no thing, with colours and ground of ``[N, px, px, 3]``.

    First each picture's ground as one flat colour (the median of its rim), then that colour with noise as
    strong as the rim's own, then the corner that differs least from the rim, mirrored over the whole picture:
    the ground with its texture and no thing on it.
    """
    colours = _rim_colours(pixels)
    blank = np.broadcast_to(colours[:, None, None], pixels.shape)
    # Of deviations, the median: a thing that reaches the rim is no noise.
    spread = np.median(np.abs(_rims(pixels) - colours[:, None]), axis=1) / MEDIAN_DEVIATION
    noisy = blank + rng.normal(0, 1, pixels.shape) * np.maximum(spread, LEAST_NOISE)[:, None, None]
    flat = [np.clip(np.rint(kind), 0, 255).astype(np.uint8) for kind in (blank, noisy)]
    return np.concatenate([*flat, np.stack([_ground(p) for p in pixels])])


def _rims(pixels: Pixels) -> Pixels:
    """The outermost pixels, ``[N, 4 px, 3]``."""
    return np.concatenate([pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]], axis=1)


def _rim_colours(pixels: Pixels) -> npt.NDArray[np.float64]:
    """Median colour of each rim, ``[N, 3]``."""
    colours: npt.NDArray[np.float64] = np.median(_rims(pixels), axis=1)
    return colours


def _ground(picture: Pixels) -> Pixels:
    side = len(picture)
    part = max(2, side // CORNER)
    near, far = slice(0, part), slice(side - part, side)
    corners = [picture[rows, columns] for rows in (near, far) for columns in (near, far)]
    colour = _rim_colours(picture[None])[0]
    best = min(corners, key=lambda c: float(np.abs(c - colour).mean()))
    return np.pad(best, ((0, side - part), (0, side - part), (0, 0)), mode="symmetric")
