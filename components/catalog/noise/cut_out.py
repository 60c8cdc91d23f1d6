"""A product cut out of a photo on plain ground: its pixels, and how far each of them is the product's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Mask = NDArray[np.bool_]

PLAIN_BORDER_SHARE = 0.7  # of the photo's border must show the ground; the rest may be a product cut off
NEAR = 10  # steps of 255 in any channel from the ground's colour that are ground, with JPEG's own noise
EVEN = 2  # likewise, of ground that the product encloses
PALE = 60  # likewise, of fabric whose brightest parts are as white as the ground
SPECK_PX = 9  # what no square of this side fits into, alone on the ground, is noise
COARSE = 112  # cells of the longer side of the grid on which ground is followed
MOST_LEAKED = 0.02  # of the product's area, taken for ground by NEAR and not by half of it
LEAST_AREA = 0.015  # of the photo: less is a speck, or a product as pale as its ground
LARGEST_AREA = 0.92  # more leaves no ground to judge by
LEAST_SIDE_PX = 12  # of a cut-out: less shows nothing
TOUCHED = 0.04  # of a side of the photo, from which the product goes on beyond it
SIDES = ("left", "top", "right", "bottom")


class CutOut(NamedTuple):
    """``image``: RGBA, cropped to the product. ``box``: its place in the photo, x0 y0 x1 y1 as fractions.

    ``cut_side``: the side of the photo that cuts the product off (``bottom`` for a person to the waist), or
    nothing.
    """

    image: Image.Image
    box: tuple[float, float, float, float]
    cut_side: str


def cut_out(photo: Image.Image) -> CutOut | None:
    """The product of an RGB photo; None where there is no plain ground to cut it from.

    The ground is what is connected to the border and has nearly the border's colour. A photo whose product
    is cut off at two sides or more stays whole: it would stand in a scene as a rectangle.
    """
    if min(photo.size) < LEAST_SIDE_PX:
        return None
    product = _product(np.asarray(photo, dtype=np.int16))
    if product is None or not LEAST_AREA <= product.mean() <= LARGEST_AREA:
        return None
    touched = [side for side, edge in zip(SIDES, _edges(product), strict=True) if edge.mean() > TOUCHED]
    coverage = _coverage(product)
    bounds = coverage.point(lambda value: 255 * (value > 127)).getbbox()
    if len(touched) > 1 or bounds is None:
        return None
    (x0, y0, x1, y1), (width, height) = bounds, photo.size
    if min(x1 - x0, y1 - y0) < LEAST_SIDE_PX:
        return None
    cut = photo.convert("RGB")
    cut.putalpha(coverage)
    box = (x0 / width, y0 / height, x1 / width, y1 / height)
    return CutOut(cut.crop(bounds), box, touched[0] if touched else "")


def _edges(values: NDArray[np.generic]) -> tuple[NDArray[np.generic], ...]:
    """The border of an image ``[h, w, ...]``, in the order of ``SIDES``."""
    return values[:, 0], values[0], values[:, -1], values[-1]


def _product(pixels: NDArray[np.int16]) -> Mask | None:
    """True where the product is; None where the border has no one colour, or the product has it too."""
    border = np.concatenate(_edges(pixels))
    apart = np.abs(pixels - np.median(border, axis=0).astype(np.int16))
    distance = np.maximum(np.maximum(apart[..., 0], apart[..., 1]), apart[..., 2])
    if np.concatenate(_edges(distance <= NEAR)).mean() < PLAIN_BORDER_SHARE:
        return None
    product, stricter = (~_ground(distance <= near) for near in (NEAR, NEAR // 2))
    # The ground of a pale product runs on into it, and how far depends on the threshold; the rim always does.
    leaked = shrunk(stricter, 2) & ~product
    if leaked.sum() > MOST_LEAKED * product.sum():
        return None
    solid = shrunk(product, SPECK_PX // 2)
    whole = reached(product, solid) if solid.any() else product
    return whole & ~_shown_through(whole, distance)


def _shown_through(product: Mask, distance: NDArray[np.int16]) -> Mask:
    """Ground that the product encloses, as under a handle; not what is white among pale fabric."""
    sure = shrunk(product & (distance <= EVEN), 2)
    if not sure.any():
        return sure
    holes = reached(product & (distance <= NEAR), sure)
    pale = shrunk(product & (distance > NEAR) & (distance < PALE), 1)  # an edge is thinner than 3 pixels
    return holes & ~reached(holes, grown(pale, 2))


def _ground(near: Mask) -> Mask:
    """What of ``near`` is connected to the border; sought on a coarse grid, which also bars thin leaks."""
    height, width = near.shape
    step = -(-max(near.shape) // COARSE)
    rows, columns = -(-height // step), -(-width // step)
    padded = np.pad(near, ((0, rows * step - height), (0, columns * step - width)), mode="edge")
    coarse: Mask = np.logical_and.reduce(padded.reshape(rows, step, columns, step), (1, 3))
    seeds = np.zeros_like(coarse)
    for edge in _edges(seeds):
        edge[...] = True
    found = reached(coarse, seeds).repeat(step, axis=0).repeat(step, axis=1)[:height, :width]
    # One coarse cell further, up to the product: cells that are ground in part were left out.
    ground: Mask = near & grown(found, step)
    return ground


def reached(allowed: Mask, seeds: Mask) -> Mask:
    """What can be reached from ``seeds`` through ``allowed``, step by step to one of four neighbours."""
    found = seeds & allowed
    while True:
        spread = _along_rows(allowed.T, _along_rows(allowed, found).T).T
        if np.array_equal(spread, found):
            return spread
        found = spread


def _along_rows(allowed: Mask, found: Mask) -> Mask:
    """``found``, spread over every unbroken run of a row that holds some of it."""
    starts = allowed.copy()
    starts[:, 1:] &= ~allowed[:, :-1]
    run = np.cumsum(starts.ravel())  # number of the run that a pixel belongs to, from 1
    hit = np.zeros(int(run[-1]) + 1, dtype=bool)
    hit[run[found.ravel()]] = True
    return hit[run].reshape(allowed.shape) & allowed


def grown(mask: Mask, by: int) -> Mask:
    """True wherever a true pixel lies within a square of ``by`` pixels to every side."""
    height, width = mask.shape
    found, square = np.pad(mask, by), range(2 * by + 1)
    tall = np.logical_or.reduce([found[at : at + height] for at in square])
    wide: Mask = np.logical_or.reduce([tall[:, at : at + width] for at in square])
    return wide


def shrunk(mask: Mask, by: int) -> Mask:
    """True where all of that square is true; what lies outside of the image does not count against it."""
    return ~grown(~mask, by)


def _coverage(product: Mask) -> Image.Image:
    """Coverage 0..255: specks gone, a pixel less than the mask, whose rim is half ground, and a soft edge."""
    opened = grown(shrunk(product, 2), 1)
    return Image.fromarray(opened.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(0.7))
