"""One careless photo: a product among other things on some ground, badly lit, and where it is in it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from components.catalog.noise.cut_out import CutOut, Mask, grown, shrunk
from components.catalog.noise.grounds import DRAWN, Backdrop, Floats
from components.catalog.noise.params import Ground, PhotoNoiseParams

ASPECTS = (1.0, 0.75, 0.75, 4 / 3, 0.8)  # width over height: phones, upright more often than not
LEAST_SEEN_PX = 40  # of a product: fewer pixels are no picture of it
TRIES = 6  # places looked at for each other thing


class PhotoScene(NamedTuple):
    """``pixels [h, w, 3]``; ``seen [h, w]``: where the product is visible; ``box``: the bounds of that,
    x0 y0 x1 y1 as fractions; ``others``: how many other things are in the scene."""

    pixels: NDArray[np.uint8]
    seen: Mask
    box: tuple[float, float, float, float]
    others: int

    def jpeg(self, quality: int) -> bytes:
        """The picture as JPEG bytes."""
        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()


class _Placed(NamedTuple):
    """A thing in its size and turn, and its top left corner in the scene, in pixels; it may lie outside."""

    image: Image.Image  # RGBA
    x: int
    y: int
    stands: bool


class _Light(NamedTuple):
    """Where light comes from (unit length), and how dark shadows are (0..1)."""

    x: float
    y: float
    shadow: float


def scene(
    product: CutOut,
    things: Sequence[CutOut],
    ground: Ground,
    params: PhotoNoiseParams,
    rng: np.random.Generator,
) -> PhotoScene | None:
    """``product`` among ``things`` on ``ground``; None where too little of it would be seen.

    Equal states of ``rng`` give equal pixels. At most ``max_hidden`` of the product is behind other things.
    """
    size = _size(params.longest_side_px, float(rng.choice(ASPECTS)))
    behind = DRAWN[ground](rng, size)
    turn = rng.uniform(0, 2 * np.pi)
    light = _Light(float(np.cos(turn)), float(np.sin(turn)), float(rng.uniform(0.3, 0.65)))
    own = _place(rng, _posed(rng, product, params.product_size, size, behind), product, size, behind)
    order, seen = _arranged(rng, own, things, params, behind)
    visible = seen > 0.5
    if visible.sum() < LEAST_SEEN_PX:
        return None
    canvas = np.clip(behind.pixels, 0, 1)
    for placed in order:
        _stand(canvas, placed, light)
    return PhotoScene(_developed(rng, canvas, light), visible, _bounds(visible), len(order) - 1)


def _size(longest: int, aspect: float) -> tuple[int, int]:
    return (longest, round(longest / aspect)) if aspect >= 1 else (round(longest * aspect), longest)


def _posed(
    rng: np.random.Generator,
    thing: CutOut,
    sizes: tuple[float, float],
    size: tuple[int, int],
    behind: Backdrop,
) -> Image.Image:
    """The thing in a size by chance, turned and seen a little from the side; upright where it stands."""
    longest = rng.uniform(*sizes) * min(size)
    scale = longest / max(thing.image.size)
    width, height = (max(2, round(side * scale)) for side in thing.image.size)
    small = thing.image.resize((width, height), Image.Resampling.LANCZOS)
    loose = 2.5 if thing.cut_side else 4.0 if behind.lines else 28.0
    return _warped(small, np.deg2rad(rng.uniform(-loose, loose)), rng.uniform(0.86, 1.0, 2))


def _warped(image: Image.Image, turn: float, narrowed: NDArray[np.float64]) -> Image.Image:
    """``image`` with its upper edge and its left edge shortened, as from nearer below right, and turned."""
    width, height = image.size
    corners = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    seen = corners.copy()
    seen[[0, 1], 0] *= narrowed[0]
    seen[[0, 3], 1] *= narrowed[1]
    c, s = np.cos(turn), np.sin(turn)
    seen = seen @ np.array([[c, s], [-s, c]])
    seen -= seen.min(axis=0)
    to = (max(1, int(np.ceil(seen[:, 0].max()))), max(1, int(np.ceil(seen[:, 1].max()))))
    back = _homography(seen, corners + np.array([width, height]) / 2)
    return image.transform(to, Image.Transform.PERSPECTIVE, back, Image.Resampling.BILINEAR)


def _homography(points: NDArray[np.float64], onto: NDArray[np.float64]) -> list[float]:
    """The eight numbers of the projective map of four points onto four others (Hartley and Zisserman 2004,
    section 4.1), in the order in which Pillow takes them."""
    rows, values = [], []
    for (x, y), (u, v) in zip(points, onto, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    found: list[float] = np.linalg.solve(np.array(rows), np.array(values)).tolist()
    return found


def _place(
    rng: np.random.Generator, image: Image.Image, thing: CutOut, size: tuple[int, int], behind: Backdrop
) -> _Placed:
    """A chance place inside of the scene; a side that the photo cut off lies at that side of the scene."""
    (width, height), (w, h) = size, image.size
    x, y = rng.uniform(0, 1, 2) * (max(0, width - w), max(0, height - h))
    line = behind.lines[int(rng.integers(len(behind.lines)))] if behind.lines else 0.0
    stands = bool(behind.lines) and not thing.cut_side
    over = 2 + round(0.06 * max(w, h))  # a turned edge must not show a corner
    if stands:
        y = line * height - h
    x = {"left": -over, "right": width - w + over}.get(thing.cut_side, x)
    y = {"top": -over, "bottom": height - h + over}.get(thing.cut_side, y)
    return _Placed(image, round(x), round(y), stands)


def _arranged(
    rng: np.random.Generator,
    own: _Placed,
    things: Sequence[CutOut],
    params: PhotoNoiseParams,
    behind: Backdrop,
) -> tuple[list[_Placed], Floats]:
    """Everything from back to front, and how far each pixel of the scene shows the product (0..1)."""
    size = (behind.pixels.shape[1], behind.pixels.shape[0])
    coverage = _coverage(own, size)
    seen, area = coverage, max(1, (coverage > 0.5).sum())
    back, front = list[_Placed](), list[_Placed]()
    for thing in things:
        image = _posed(rng, thing, params.other_size, size, behind)
        tried = [_place(rng, image, thing, size, behind) for _ in range(TRIES)]
        placed = min(tried, key=lambda one: sum(_common(one, other) for other in (own, *back, *front)))
        nearer = placed.y + image.height > own.y + own.image.height if placed.stands else rng.random() < 0.5
        left = seen * (1 - _coverage(placed, size))
        visible = left > 0.5
        if nearer and visible.sum() >= (1 - params.max_hidden) * area and _measurable(visible):
            seen = left
            front.append(placed)
        else:
            back.append(placed)
    if behind.lines:
        back.sort(key=_foot)
        front.sort(key=_foot)
    return [*back, own, *front], seen


def _measurable(seen: Mask) -> bool:
    """Whether no sliver that a nearer thing has left over decides where the product's box ends."""
    solid = grown(shrunk(seen, 1), 1)
    slack = 2 / min(seen.shape)
    return bool(solid.any()) and np.allclose(_bounds(solid), _bounds(seen), rtol=0, atol=slack)


def _foot(placed: _Placed) -> int:
    return placed.y + placed.image.height


def _common(one: _Placed, other: _Placed) -> float:
    """Area that the frames of two things have in common, in pixels."""
    across = min(one.x + one.image.width, other.x + other.image.width) - max(one.x, other.x)
    down = min(_foot(one), _foot(other)) - max(one.y, other.y)
    return float(max(0, across) * max(0, down))


def _coverage(placed: _Placed, size: tuple[int, int]) -> Floats:
    """Alpha ``[h, w]`` 0..1 of a thing in the scene."""
    canvas = Image.new("L", size)
    canvas.paste(placed.image.getchannel("A"), (placed.x, placed.y))
    return np.asarray(canvas, np.float32) / np.float32(255)


def _stand(canvas: Floats, placed: _Placed, light: _Light) -> None:
    """Put a thing and its shadow into the scene ``[h, w, 3]``, in place."""
    reach = 0.05 * max(placed.image.size)
    margin = 4 + round(2 * reach)
    rows = slice(max(0, placed.y - margin), max(0, _foot(placed) + margin))
    columns = slice(max(0, placed.x - margin), max(0, placed.x + placed.image.width + margin))
    window = canvas[rows, columns]  # a view: the rest of the scene is left alone
    if not window.size:
        return
    size, x, y = (window.shape[1], window.shape[0]), placed.x - columns.start, placed.y - rows.start
    dark = _shadow(placed, (x, y), size, light, reach)
    window *= 1 - np.float32(light.shadow) * (np.asarray(dark, np.float32) / 255)[..., None]
    layer = Image.new("RGBA", size)
    layer.paste(placed.image, (x, y))
    pixels = np.asarray(layer, np.float32) / 255
    window += pixels[..., 3:] * (pixels[..., :3] * np.float32(0.94) - window)


def _shadow(
    placed: _Placed, at: tuple[int, int], size: tuple[int, int], light: _Light, reach: float
) -> Image.Image:
    """How dark (0..255) a thing at ``at`` makes a window; flat at its foot where it stands."""
    (x, y), alpha, dark = at, placed.image.getchannel("A"), Image.new("L", size)
    if placed.stands:  # and faint on what is behind it
        flat = alpha.resize((alpha.width, max(2, alpha.height // 10)), Image.Resampling.BOX)
        faint = alpha.point(lambda value: value // 3)
        dark.paste(faint, (round(x - reach * light.x), round(y + 0.3 * reach)), faint)
        dark.paste(flat, (x, y + alpha.height - round(flat.height * 0.7)), flat)
    else:
        dark.paste(alpha, (round(x - reach * light.x), round(y - reach * light.y)))
    return dark.filter(ImageFilter.BoxBlur(max(1.0, 0.5 * reach)))


def _developed(rng: np.random.Generator, canvas: Floats, light: _Light) -> NDArray[np.uint8]:
    """Uneven light, a lamp's cone, white balance, exposure, blur and the sensor's noise."""
    height, width = canvas.shape[:2]
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    slope, (cx, cy), wide = rng.uniform(0, 0.22), rng.uniform(-0.8, 0.8, 2), rng.uniform(0.7, 2.0)
    lamp = np.exp(-((y - cy)[:, None] ** 2) / (2 * wide**2)) * np.exp(-((x - cx) ** 2) / (2 * wide**2))
    fall = (1 + slope * (light.x * x + light.y * y[:, None])) * (1 + rng.uniform(0, 0.35) * (lamp - 0.5))
    warm, exposure = rng.normal(0, 0.05), np.clip(rng.normal(0.97, 0.09), 0.72, 1.2)
    values = canvas * (fall * exposure * 255).astype(np.float32)[..., None]
    values *= np.array([1 + warm, 1, 1 - warm], np.float32)
    grain = rng.standard_normal((height, width), np.float32) * np.float32(rng.uniform(0.5, 4.5))
    values += grain[..., None]
    image = Image.fromarray(np.clip(values, 0, 255, out=values).astype(np.uint8))
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.3, 0.9) * max(width, height) / 320))
    return np.asarray(image)


def _bounds(mask: Mask) -> tuple[float, float, float, float]:
    """The smallest box around true pixels, of which there are some, as fractions."""
    found, (height, width) = Image.fromarray(mask).getbbox(), mask.shape
    assert found is not None
    return found[0] / width, found[1] / height, found[2] / width, found[3] / height
