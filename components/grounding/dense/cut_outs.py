"""Products cut out of their own plain pictures: pixels, coverage and type, for scenes that teach places."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

NEAR_RIM = 30.0  # distance in RGB within which a pixel of the rim has the ground's colour
PLAIN_SHARE = 0.8  # of the rim's pixels must have it, or the picture is not plain
ABOVE_NOISE = 1.5  # times the rim's own deviation from the ground is noise, not product
OTSU_SHARE = 0.4  # of Otsu's threshold: pale parts of a product belong to it
SPECK_SHARE = 0.1  # of the largest part: smaller parts are specks
LARGEST_SHARE = 0.6  # of the product in one part, or several things stand in the picture
CLOSED = 24  # gaps of this part of the picture's side are closed: pale stripes and folds
AREA = (0.02, 0.85)  # least and largest share of the picture that a product may cover
LEAST_SIDE_PX = 8  # of a picture; a smaller one shows nothing that could be cut out


class TypedCutOut(NamedTuple):
    """``pixels [h, w, 3]`` and ``mask [h, w]`` of one product, and the number of its type."""

    pixels: Pixels
    mask: Mask
    kind: int


def cut_out(picture: Pixels, kind: int) -> TypedCutOut | None:
    """The product of a picture ``[h, w, 3]``; None where it does not stand alone on one ground."""
    mask = plain_product(picture)
    if mask is None:
        return None
    part = bounds(mask)
    return TypedCutOut(picture[part], mask[part], kind)


def bounds(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns that hold all of a mask that is not empty."""
    from scipy import ndimage

    rows, columns = ndimage.find_objects(mask.view(np.uint8))[0]
    return rows, columns


def box_of(mask: Mask) -> tuple[float, float, float, float]:
    """The box x0 y0 x1 y1 of a mask that is not empty, in fractions."""
    (height, width), (rows, columns) = mask.shape, bounds(mask)
    return columns.start / width, rows.start / height, columns.stop / width, rows.stop / height


def plain_product(picture: Pixels) -> Mask | None:
    """Where the one product of a plain picture ``[h, w, 3]`` is; None where the rim is not of one ground.

    The ground is a smooth surface of colour fitted to the rim; what differs from it more than the rim itself
    does, and more than a share of Otsu's threshold (Otsu 1979), is the product.
    """
    if min(picture.shape[:2]) < LEAST_SIDE_PX:
        return None
    distance, rim = _off_ground(picture.astype(np.float32))
    if (rim < NEAR_RIM).mean() < PLAIN_SHARE:
        return None
    mask = _largest_parts(distance, rim)
    return mask if mask is not None and AREA[0] <= mask.mean() <= AREA[1] else None


def _largest_parts(distance: npt.NDArray[np.float32], rim: npt.NDArray[np.float32]) -> Mask | None:
    """What stands off the ground, its holes filled and its specks gone; None where nothing does."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    noise = ABOVE_NOISE * float(np.quantile(rim[rim < NEAR_RIM], 0.95))
    level = max(noise, OTSU_SHARE * float(threshold_otsu(distance)))
    reach = max(1, min(distance.shape) // CLOSED)
    solid = np.pad(ndimage.binary_opening(distance > level, np.ones((3, 3))), reach)
    closed = ndimage.binary_closing(solid, np.ones((reach, reach)))[reach:-reach, reach:-reach]
    parts, count = ndimage.label(ndimage.binary_fill_holes(closed))
    if not count:
        return None
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    found: Mask = (sizes >= SPECK_SHARE * sizes.max())[parts]
    return found if sizes.max() >= LARGEST_SHARE * found.sum() else None


def _off_ground(picture: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Distance of every pixel ``[h, w]``, and of the rim's, from the ground's colour at its place.

    Each channel of the ground is a quadratic of row and column, fitted to the rim by least squares; the half
    of the rim that fits worst is left out of a second fit, for a product may reach the rim.
    """
    height, width = picture.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1).astype(np.float32)
    on_rim = np.zeros((height, width), dtype=bool)
    on_rim[:2] = on_rim[-2:] = on_rim[:, :2] = on_rim[:, -2:] = True
    basis, colours = terms[on_rim], picture[on_rim]
    start = np.linalg.norm(colours - np.median(colours, axis=0), axis=-1)
    for _ in range(2):
        good = start <= np.median(start) + 1e-3
        fit = np.linalg.lstsq(basis[good], colours[good], rcond=None)[0]
        start = np.linalg.norm(colours - basis @ fit, axis=-1)
    distance = np.linalg.norm(picture - terms @ fit, axis=-1).astype(np.float32)
    return distance, distance[on_rim]
