"""The picture of one product: ground, neighbours, light and camera; and where the product is in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from components.shop.design import ProductPlan, Specification, generator, pick, specification
from components.shop.errors import ShopError
from components.shop.pictures import carried, household, toys, wearables
from components.shop.pictures.ground import Ground, room, studio
from components.shop.pictures.paint import (
    FINISHES,
    NOISE_PX,
    Floats,
    Sprite,
    Surface,
    View,
    noise,
    paint,
    shade_of,
)
from components.shop.pictures.shapes import Part
from components.shop.pictures.wearables import Form, Parts

_HEARTS = ((0.97, 0.86, 0.30), (0.98, 0.97, 0.92), (0.90, 0.45, 0.25))
_MIRRORED_SHARE = 0.5
# Directions the light may come from (radians; -pi/2 is straight above): few, so that neighbours, which are
# painted once and used in many pictures, are always lit as the product beside them.
LIGHTS = (-2.6, -2.1, -1.57, -1.05, -0.55)
DRAWN: dict[str, Callable[[Parts, Form], list[Part]]] = {
    drawing.__name__.replace("_", " "): drawing
    for drawing in (*wearables.DRAWN, *carried.DRAWN, *household.DRAWN, *toys.DRAWN)
}  # by product type


@dataclass(frozen=True)
class Camera:
    """How a picture is taken. ``clarity`` (0..1) says how well a shopper sees the product in it."""

    cluttered: bool
    size: float  # longer side of the product as a fraction of the picture's side
    light: tuple[float, float]  # where it comes from, unit length
    exposure: float
    warmth: float  # -1 cool .. 1 warm
    blur_px: float  # at 128 pixels
    grain: float  # standard deviation of the sensor's noise, 0..255

    @property
    def clarity(self) -> float:
        """1 for a sharp, well exposed, large product alone; towards 0 for the opposite."""
        loss = 0.35 * self.cluttered + 0.25 * min(1.0, self.blur_px) + 1.2 * abs(self.exposure - 1.03)
        return max(0.0, min(1.0, 0.55 + 0.6 * self.size - loss - 0.015 * self.grain))


@dataclass(frozen=True)
class Picture:
    """``pixels [px, px, 3]``; ``mask [px, px]`` is true where the product is seen; ``box`` its bounds as
    fractions x0 y0 x1 y1; ``hidden`` the part of the product that neighbours cover (0..1)."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    box: tuple[float, float, float, float]
    hidden: float
    cluttered: bool

    def jpeg(self, quality: int) -> bytes:
        """The picture as bytes of a JPEG file; ``quality`` of 1 to 95."""
        buffer = BytesIO()
        Image.fromarray(self.pixels).save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()


@dataclass(frozen=True)
class _Standing:
    """A sprite and its top left corner, in pixels; the corner may lie outside of the picture."""

    sprite: Sprite
    x: int
    y: int


@cache
def _cluttered_flags(seed: int, products: int, share: float) -> NDArray[np.bool_]:
    flags = np.arange(products) < round(products * share)
    shuffled: NDArray[np.bool_] = generator(seed, "cluttered").permutation(flags)
    return shuffled


def _within(value: float, low: float, high: float) -> float:
    return float(min(high, max(low, value)))


def camera(shop: ProductPlan, index: int) -> Camera:
    """How the picture of product ``index`` is taken; cheap, nothing is drawn."""
    rng = generator(shop.seed, "camera", index)
    cluttered = bool(_cluttered_flags(shop.seed, len(shop), shop.params.cluttered_share)[index])
    angle = LIGHTS[int(rng.integers(len(LIGHTS)))]
    size = rng.uniform(0.32, 0.60) if cluttered else rng.uniform(0.55, 0.88)
    blurred = rng.random() < 0.25
    return Camera(
        cluttered=cluttered,
        size=float(size),
        light=(float(np.cos(angle)), float(np.sin(angle))),
        exposure=_within(rng.normal(1.0, 0.08), 0.8, 1.2),
        warmth=_within(rng.normal(0, 0.45), -1.0, 1.0),
        blur_px=float(rng.uniform(0.4, 1.0)) if blurred else 0.0,
        grain=_within(rng.exponential(2.0), 0.0, 9.0),
    )


def _view(rng: np.random.Generator, light: tuple[float, float], loose: float) -> View:
    """A chance viewpoint; ``loose`` scales how far things are turned."""
    turn = rng.normal(0, 0.10 * loose)
    shear, stretch = rng.normal(0, 0.06), rng.normal(0, 0.05)
    side = -1.0 if rng.random() < _MIRRORED_SHARE else 1.0
    c, s = np.cos(turn), np.sin(turn)
    matrix = (
        np.array([[c, -s], [s, c]])
        @ np.array([[1 + stretch, shear], [0, 1 - stretch]])
        @ np.diag([side, 1.0])
    )
    tilt = (_within(rng.normal(0, 0.05), -0.1, 0.1), _within(rng.normal(0, 0.05), -0.1, 0.1))
    return View(matrix, tilt, light)


def _look(shop: ProductPlan, what: Specification) -> Surface:
    """The surface of a product: shades within its colours' names, and its design's pattern size."""
    rng = generator(shop.seed, "look", what.product_id)
    colour = shade_of(what.attributes["colour"], rng)
    accent = what.attributes.get("accent_colour")
    design = generator(shop.seed, "pattern", what.group_id)
    turns = {"striped": (0.0, np.pi / 2, np.pi / 4), "checked": (0.0, np.pi / 4)}.get(
        what.attributes["pattern"], (0.0,)
    )
    return Surface(
        colour=colour,
        accent=shade_of(accent, rng) if accent else _tone(colour),
        third=_HEARTS[int(design.integers(len(_HEARTS)))],
        pattern=what.attributes["pattern"],
        finish=FINISHES[what.attributes["material"]],
        pattern_scale=float(design.uniform(1.9, 3.4)),
        pattern_turn=float(turns[int(design.integers(len(turns)))]),
        grain_offset=int(rng.integers(0, 90)),
    )


def _tone(colour: tuple[float, float, float]) -> tuple[float, float, float]:
    """Trimmings in the product's own colour, a little darker (a little lighter on dark things)."""
    dark = max(colour) < 0.35
    red, green, blue = (min(1.0, c * 0.82 + (0.14 if dark else 0.0)) for c in colour)
    return red, green, blue


def _sprite(shop: ProductPlan, what: Specification, view: View, size: float) -> Sprite:
    """A product as it is seen; ``size`` is that of its longer side, as a fraction of the picture's."""
    size_px = size * shop.params.image_px
    return paint(outlines(what), _look(shop, what), view, size_px, shop.params.supersampling)


@lru_cache(maxsize=4096)
def _neighbour(shop: ProductPlan, split: int, light: int, number: int) -> tuple[str, Sprite]:
    """One of the shop's products as it stands beside others: its type, and its painted sprite.

    Painting is nine tenths of the work, so each process paints a neighbour once. Sprites are never resized:
    a neighbour must not be told from the product by softer edges.
    """
    rng = generator(shop.seed, "neighbour", split, light, number)
    index = int(pick(rng, shop.in_split(split)))
    angle = LIGHTS[light]
    what = specification(shop, index)
    size = float(rng.uniform(0.28, 0.62))
    view = _view(rng, (float(np.cos(angle)), float(np.sin(angle))), 1.6)
    return what.kind.name, _sprite(shop, what, view, size)


def _neighbours(
    shop: ProductPlan, what: Specification, rng: np.random.Generator, shot: Camera
) -> list[Sprite]:
    """Other products of the same split, each of a type that is not the product's own."""
    count = int(rng.integers(shop.params.neighbours_min, shop.params.neighbours_max + 1))
    split = int(shop.splits[shop.members[what.index, 0]])
    light = min(range(len(LIGHTS)), key=lambda k: abs(np.cos(LIGHTS[k]) - shot.light[0]))
    found: dict[str, Sprite] = {}
    for _ in range(100 * count):
        name, sprite = _neighbour(shop, split, light, int(rng.integers(shop.params.neighbours_painted)))
        if name != what.kind.name:
            found.setdefault(name, sprite)  # one of a type: twins side by side look copied
        if len(found) == count:
            return list(found.values())
    raise ShopError("no neighbours of another type were found: raise shop.neighbours_painted.")


def _beside(rng: np.random.Generator, sprite: Sprite, px: int, standing: list[_Standing]) -> _Standing:
    """The place, of a few chance ones, where a sprite covers least of what stands already."""
    height, width = sprite.alpha.shape
    best, least = _Standing(sprite, 0, 0), np.inf
    for x, y in zip(rng.uniform(-0.25, 1.25, 7) * px, rng.uniform(-0.15, 1.15, 7) * px, strict=True):
        left, top = int(x - width / 2), int(y - height / 2)
        common = sum(_overlap(left, top, width, height, other) for other in standing)
        outside = width * height - _common(left, left + width, 0, px) * _common(top, top + height, 0, px)
        if common + 0.6 * outside < least:
            best, least = _Standing(sprite, left, top), common + 0.6 * outside
    return best


def _common(a0: float, a1: float, b0: float, b1: float) -> float:
    return max(0.0, min(a1, b1) - max(a0, b0))


def _overlap(left: int, top: int, width: int, height: int, other: _Standing) -> float:
    rows, columns = other.sprite.alpha.shape
    across = _common(left, left + width, other.x, other.x + columns)
    return across * _common(top, top + height, other.y, other.y + rows)


def _window(px: int, item: _Standing) -> tuple[slice, slice, slice, slice]:
    """Rows and columns of the picture that a sprite covers, and the same rows and columns in the sprite."""
    rows, columns = item.sprite.alpha.shape
    y0, y1, x0, x1 = max(0, item.y), min(px, item.y + rows), max(0, item.x), min(px, item.x + columns)
    y1, x1 = max(y0, y1), max(x0, x1)
    return slice(y0, y1), slice(x0, x1), slice(y0 - item.y, y1 - item.y), slice(x0 - item.x, x1 - item.x)


def _covered(alpha: Floats, item: _Standing) -> Floats:
    """What is left of a coverage map once ``item`` stands before it."""
    left = alpha.copy()
    rows, columns, inner_rows, inner_columns = _window(alpha.shape[0], item)
    left[rows, columns] *= 1 - item.sprite.alpha[inner_rows, inner_columns]
    return left


def _shadow(px: int, item: _Standing, light: tuple[float, float]) -> _Standing:
    """The soft shadow of a sprite, as a colourless sprite of its own, fallen away from the light."""
    reach = 0.022 * px
    margin, fall = int(2 * reach) + 1, max(2.0, 0.03 * px)
    rows, columns = item.sprite.alpha.shape
    padded = np.zeros((rows + 2 * margin, columns + 2 * margin), np.uint8)
    padded[margin:-margin, margin:-margin] = item.sprite.alpha * 150
    soft = np.asarray(Image.fromarray(padded).filter(ImageFilter.BoxBlur(reach)), np.float32) * np.float32(
        1 / 255
    )
    x, y = item.x - margin - round(light[0] * fall), item.y - margin - round(light[1] * fall)
    return _Standing(Sprite(np.zeros((3, 1, 1), np.float32), soft), x, y)


def _stand(canvas: Floats, ground: Ground, item: _Standing, light: tuple[float, float]) -> None:
    """Put a sprite and its shadow on the canvas, in place."""
    px = canvas.shape[1]
    shadow = _shadow(px, item, light)
    rows, columns, inner_rows, inner_columns = _window(px, shadow)
    canvas[:, rows, columns] *= 1 - np.float32(ground.shadow) * shadow.sprite.alpha[inner_rows, inner_columns]
    rows, columns, inner_rows, inner_columns = _window(px, item)
    region = canvas[:, rows, columns]
    region *= 1 - item.sprite.alpha[inner_rows, inner_columns]
    region += item.sprite.rgb[:, inner_rows, inner_columns]


def _centred(rng: np.random.Generator, sprite: Sprite, px: int, spread: float) -> _Standing:
    """A place wholly inside of the picture, up to ``spread`` of the free room away from its middle."""
    height, width = sprite.alpha.shape
    x, y = ((0.5 + rng.uniform(-0.5, 0.5, 2) * spread) * (px - width, px - height)).tolist()
    return _Standing(sprite, max(0, round(x)), max(0, round(y)))


def _arrange(
    shop: ProductPlan, what: Specification, rng: np.random.Generator, shot: Camera
) -> tuple[list[_Standing], int, Floats]:
    """Sprites from back to front, the product's place among them, and its visible coverage."""
    px = shop.params.image_px
    own = _sprite(shop, what, _view(rng, shot.light, 1.6 if shot.cluttered else 1.0), shot.size)
    item = _centred(rng, own, px, 1.0 if shot.cluttered else 0.5)
    whole = np.zeros((px, px), np.float32)
    rows, columns, inner_rows, inner_columns = _window(px, item)
    whole[rows, columns] = own.alpha[inner_rows, inner_columns] > 0.5
    if not shot.cluttered:
        return [item], 0, whole
    seen, standing, before, behind = whole, [item], list[_Standing](), list[_Standing]()
    least = (1 - shop.params.max_hidden) * whole.sum()
    for sprite in _neighbours(shop, what, rng, shot):
        placed = _beside(rng, sprite, px, standing)
        standing.append(placed)
        left = _covered(seen, placed)
        in_front = rng.random() < 0.6 and (left > 0.5).sum() >= least
        seen = left if in_front else seen
        (before if in_front else behind).append(placed)
    return [*behind, item, *before], len(behind), seen


def _develop(canvas: Floats, shot: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Light falling off across the picture, white balance, exposure, blur and the sensor's noise."""
    px = canvas.shape[1]
    across = np.linspace(-0.08, 0.08, px, dtype=np.float32)
    fall = np.float32(shot.light[0]) * across[None, :] + (1 + np.float32(shot.light[1]) * across)[:, None]
    balance = (1 + 0.05 * shot.warmth, 1.0, 1 - 0.06 * shot.warmth)
    y, x = (int(value) for value in rng.integers(0, NOISE_PX - px, 2))
    speck = noise()[0][y : y + px, x : x + px] * np.float32(2 * shot.grain)
    for plane, gain in zip(canvas, balance, strict=True):
        plane *= fall * np.float32(gain * shot.exposure)
        plane += speck
    planes = canvas.clip(0, 255).astype(np.uint8)
    image = Image.merge("RGB", [Image.fromarray(plane) for plane in planes])
    if shot.blur_px:
        image = image.filter(ImageFilter.GaussianBlur(shot.blur_px * px / 128))
    return np.asarray(image)


def picture(shop: ProductPlan, what: Specification) -> Picture:
    """Take the picture of a product; equal (seed, product) give equal pixels."""
    shot = camera(shop, what.index)
    px = shop.params.image_px
    rng = generator(shop.seed, "scene", what.index)
    ground = room(rng, px) if shot.cluttered else studio(rng, px)
    canvas = np.ascontiguousarray(ground.pixels)
    standing, place, seen = _arrange(shop, what, rng, shot)
    for item in standing:
        _stand(canvas, ground, item, shot.light)
    mask = seen > 0.5
    return Picture(
        pixels=_develop(canvas, shot, rng),
        mask=mask,
        box=bounds(mask),
        hidden=1 - float(mask.sum()) / max(1, int((standing[place].sprite.alpha > 0.5).sum())),
        cluttered=shot.cluttered,
    )


def bounds(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The smallest box around a mask's true pixels, as fractions x0 y0 x1 y1 of its sides."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    return (
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )


def outlines(specification: Specification) -> list[Part]:
    """The parts of a product, from back to front."""
    return DRAWN[specification.kind.name](specification.attributes, specification.form)
