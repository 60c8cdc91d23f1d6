"""Paint one product: outlines, colours, pattern, material and light become pixels with an alpha channel."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from components.shop.assortment import COLOURS
from components.shop.pictures.shapes import Part

Floats = NDArray[np.float32]
TILE = 64  # side of the tiles that hold one period of a pattern or a weave
NOISE_PX = 640


@dataclass(frozen=True)
class Finish:
    """How a material looks: grain of given strength, gloss (0..1), opacity, a touch of its own colour."""

    grain: str
    strength: float
    gloss: float
    opacity: float = 1.0
    tint: tuple[float, float, float] | None = None


FINISHES: dict[str, Finish] = {
    "cotton": Finish("fine", 0.03, 0.0),
    "linen": Finish("weave", 0.16, 0.0),
    "silk": Finish("sheen", 0.16, 0.45),
    "wool": Finish("knit", 0.17, 0.0),
    "denim": Finish("twill", 0.20, 0.0),
    "leather": Finish("cloud", 0.07, 0.40),
    "suede": Finish("cloud", 0.13, 0.0),
    "canvas": Finish("weave", 0.22, 0.0),
    "nylon": Finish("grid", 0.16, 0.15),
    "rubber": Finish("fine", 0.02, 0.15),
    "plastic": Finish("none", 0.0, 0.55),
    "aluminium": Finish("brushed", 0.10, 0.6, tint=(0.80, 0.82, 0.85)),
    "steel": Finish("brushed", 0.12, 0.7, tint=(0.75, 0.77, 0.80)),
    "brass": Finish("brushed", 0.10, 0.7, tint=(0.85, 0.68, 0.30)),
    "straw": Finish("basket", 0.20, 0.0),
    "wicker": Finish("basket", 0.24, 0.0),
    "wood": Finish("wood", 0.22, 0.08),
    "ceramic": Finish("none", 0.0, 0.65),
    "enamel": Finish("speckle", 0.25, 0.35),
    "glass": Finish("none", 0.0, 0.9, opacity=0.68),
    "velvet": Finish("cloud", 0.10, 0.12),
    "tin": Finish("speckle", 0.10, 0.5),
    "plush": Finish("fuzz", 0.28, 0.0),
}
_GRAIN_PERIODS = {
    "weave": 3.0,
    "knit": 2.6,
    "twill": 2.0,
    "grid": 3.4,
    "basket": 2.4,
    "wood": 0.5,
    "sheen": 0.7,
}
_FITTINGS: dict[str, tuple[float, float, float]] = {
    "metal": (0.80, 0.78, 0.72),
    "dark": (0.16, 0.15, 0.16),
    "pale": (0.95, 0.94, 0.91),
    "wood": (0.72, 0.53, 0.34),
    "lens": (0.20, 0.24, 0.30),
}


@dataclass(frozen=True)
class Surface:
    """The surface of one product: RGB of its colours (0..1), pattern and material."""

    colour: tuple[float, float, float]
    accent: tuple[float, float, float]
    third: tuple[float, float, float]  # hearts of flowers
    pattern: str
    finish: Finish
    pattern_scale: float  # periods per unit of the product's frame
    pattern_turn: float  # radians
    grain_offset: int


@dataclass(frozen=True)
class View:
    """How the camera sees it. ``matrix`` turns, shears and mirrors; ``tilt`` is perspective (1/unit)."""

    matrix: NDArray[np.float64]
    tilt: tuple[float, float]
    light: tuple[float, float]  # direction the light comes from, unit length


@dataclass(frozen=True)
class Sprite:
    """A painted product: ``rgb [3, h, w]`` (0..255, multiplied by alpha) and ``alpha [h, w]`` (0..1).

    Colours are planes: numpy is several times slower where the last axis holds only three values.
    """

    rgb: Floats
    alpha: Floats


def shade_of(name: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """An RGB shade (0..1) that people would call ``name``."""
    hue, saturation, value = COLOURS[name]
    a, b, c = rng.normal(0, 1, 3).clip(-1.6, 1.6).tolist()
    spread = 0.035 if value > 0.9 or value < 0.2 else 0.05
    return colorsys.hsv_to_rgb(
        ((hue + 3.5 * a) / 360) % 1,
        min(1.0, max(0.0, saturation * (1 + 0.10 * b))),
        min(1.0, max(0.0, value + spread * c)),
    )


@cache
def _axes() -> tuple[Floats, Floats]:
    """Coordinates in 0..1 of a tile's pixel centres, right and down."""
    x, y = np.meshgrid((np.arange(TILE) + 0.5) / TILE, (np.arange(TILE) + 0.5) / TILE)
    return x.astype(np.float32), y.astype(np.float32)


@cache
def pattern_tile(name: str) -> NDArray[np.uint8]:
    """One period of a pattern, flat: 0 the colour itself, 1 the second colour, 2 the third."""
    x, y = _axes()
    if name == "striped":
        tile = x < 0.46
    elif name == "checked":
        tile = (x < 0.5) ^ (y < 0.5)
    elif name == "zigzag":
        tile = (y * 2 + np.abs(x * 2 - 1)) % 1 < 0.48
    elif name == "dotted":
        first = np.hypot(x - 0.25, y - 0.25) < 0.17
        tile = first | (np.hypot(x - 0.75, y - 0.75) < 0.17)
    elif name == "floral":
        radius, angle = np.hypot(x - 0.5, y - 0.5), np.arctan2(y - 0.5, x - 0.5)
        petals = radius < 0.27 + 0.15 * np.cos(5 * angle)
        leaf = np.hypot((x + y - 0.20) * 1.0, (x - y) * 2.6) < 0.17
        return np.where(radius < 0.12, 2, petals | leaf).astype(np.uint8).ravel()
    else:
        tile = np.zeros_like(x, bool)
    return tile.astype(np.uint8).ravel()


@cache
def noise() -> tuple[Floats, Floats]:
    """Fine and cloudy noise, ``[NOISE_PX, NOISE_PX]``, mean 0, about -1..1."""
    rng = np.random.Generator(np.random.SFC64(1))
    fine = rng.normal(0, 0.5, (NOISE_PX, NOISE_PX)).astype(np.float32)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 24), dtype=np.uint8)).resize(
        (NOISE_PX, NOISE_PX), Image.Resampling.BICUBIC
    )
    cloudy = np.asarray(coarse, np.float32) * np.float32(2 / 255) - np.float32(1)
    return fine.clip(-1, 1), cloudy


@cache
def grain_tile(name: str) -> Floats:
    """One period of a material's grain, flat, about -1..1."""
    x, y = _axes()
    wave = 2 * np.pi
    if name == "weave":
        tile = np.sin(wave * x * 4) * np.sin(wave * y * 4)
    elif name == "knit":
        tile = np.cos(wave * x * 4) + 0.25 * np.cos(wave * y * 8)
    elif name == "twill":
        tile = np.sin(wave * (x + y) * 4)
    elif name == "grid":
        tile = np.where((x * 2 % 1 < 0.18) | (y * 2 % 1 < 0.18), -1.0, 0.15)
    elif name == "basket":
        across = ((x * 4).astype(int) + (y * 4).astype(int)) % 2 == 0
        tile = np.where(across, np.cos(wave * (y * 4 % 1 - 0.5)), np.cos(wave * (x * 4 % 1 - 0.5)))
    elif name == "wood":
        tile = np.sin(
            wave * (3 * x + 0.30 * np.sin(wave * y) + 0.12 * np.sin(wave * (2 * y + x)))
        ) * 0.7 + 0.3 * np.sin(wave * 11 * x)
    else:  # sheen of silk: broad soft folds
        tile = np.sin(wave * (x + y + 0.15 * np.sin(wave * y)))
    return np.asarray(tile, np.float32).ravel()


def tile_index(
    shape: tuple[int, ...],
    inverse: NDArray[np.floating],
    origin: tuple[float, float],
    periods: float,
    turn: float = 0.0,
) -> NDArray[np.int32]:
    """For each pixel of ``shape`` its place in a tile repeated ``periods`` times per unit.

    ``inverse`` maps pixels, counted from ``origin`` (x, y), back to the product's frame. Whole-number
    arithmetic: several times faster than floats and modulo.
    """
    c, s = np.cos(turn), np.sin(turn)
    u, v = (np.array([[c, s], [-s, c]]) @ inverse) * (periods * TILE * (1 << 8))
    x = np.arange(shape[1]) - origin[0]
    y = np.arange(shape[0]) - origin[1]
    across = (u[0] * x).astype(np.int32)[None, :] + (u[1] * y).astype(np.int32)[:, None]
    down = (v[0] * x).astype(np.int32)[None, :] + (v[1] * y).astype(np.int32)[:, None]
    index: NDArray[np.int32] = ((down >> 8) & (TILE - 1)) * TILE + ((across >> 8) & (TILE - 1))
    return index


@dataclass(frozen=True)
class _Frame:
    """Where a product's own frame lies on the drawing: ``inverse`` maps pixels, counted from ``origin``
    (x, y), back to it; ``size`` is the longer side in drawing pixels, ``supersampling`` how many of them make
    one of the picture, ``light`` where the light comes from."""

    inverse: NDArray[np.floating]
    origin: tuple[float, float]
    size: float
    supersampling: int
    light: tuple[float, float]


def _grain(finish: Finish, shape: tuple[int, ...], frame: _Frame, offset: int) -> Floats | None:
    """Relative brightness of a material's grain per pixel; None for a smooth one."""
    if finish.grain in _GRAIN_PERIODS:
        index = tile_index(shape, frame.inverse, frame.origin, _GRAIN_PERIODS[finish.grain])
        return grain_tile(finish.grain).take(index) * np.float32(finish.strength)
    if finish.grain == "none":
        return None
    fine, cloud = noise()
    if max(shape) > 400:
        fine, cloud = (np.tile(field, (-(-shape[0] // 400), -(-shape[1] // 400))) for field in (fine, cloud))
    rows, columns = offset % 97, offset % 89
    window = (slice(rows, rows + shape[0]), slice(columns, columns + shape[1]))
    if finish.grain == "cloud":
        return cloud[window] * np.float32(finish.strength)
    if finish.grain == "speckle":
        return np.where(fine[window] > 0.8, np.float32(-finish.strength * 1.6), np.float32(0))
    if finish.grain == "brushed":
        return fine[window[0], 100:101] * np.float32(finish.strength)
    return fine[window] * np.float32(finish.strength)


def _place(
    parts: Sequence[Part], view: View, size: float
) -> tuple[list[NDArray[np.float64]], float, NDArray[np.float64]]:
    """Outlines in pixels, all within ``size``; the scale; and the top left corner in the product's frame."""
    points = np.concatenate([part.points for part in parts])
    turned = points @ view.matrix.T
    turned /= (1 + turned @ np.asarray(view.tilt))[:, None]
    low, high = turned.min(0), turned.max(0)
    scale = size / float((high - low).max())
    ends = np.cumsum([len(part.points) for part in parts])[:-1]
    return np.split((turned - low) * scale, ends), scale, low


def _palette(parts: Sequence[Part], look: Surface) -> Floats:
    """``[3, parts + 3]``: RGB 0..255 of nothing, of each part, and of the pattern's two colours."""
    tint = look.finish.tint or look.colour
    red, green, blue = (0.72 * c + 0.28 * t for c, t in zip(look.colour, tint, strict=True))
    slots = {
        **_FITTINGS,
        "body": (red, green, blue),
        "accent": look.accent,
        "inner": (0.45 * red, 0.45 * green, 0.45 * blue),
    }
    nothing = (0.0, 0.0, 0.0)
    rgb = [nothing, *(slots.get(part.slot, nothing) for part in parts), look.accent, look.third]
    return np.ascontiguousarray(np.asarray(rgb, np.float32).T * 255)


@dataclass(frozen=True)
class _Tables:
    """Per part, with 0 for nothing: brightness, height (0..255), gloss, opacity, grain, patterned or not."""

    shade: Floats
    height: NDArray[np.uint8]
    gloss: Floats
    opacity: Floats
    grain: Floats
    patterned: NDArray[np.bool_]


def _tables(parts: Sequence[Part], finish: Finish) -> _Tables:
    slots = [part.slot for part in parts]
    own = ("body", "accent")
    gloss = [finish.gloss if s in own else 0.8 if s in ("metal", "lens") else 0.1 for s in slots]
    return _Tables(
        shade=np.asarray([0, *(part.shade for part in parts)], np.float32),
        height=np.asarray([0, *(int(60 + 195 * part.height) for part in parts)], np.uint8),
        gloss=np.asarray([0, *gloss], np.float32) * 120,
        opacity=np.asarray([0, *(finish.opacity if s == "body" else 1.0 for s in slots)], np.float32),
        grain=np.asarray([0, *(s in own for s in slots)], np.float32),
        patterned=np.asarray([False, *(s == "body" for s in slots)]),
    )


def _light(heights: NDArray[np.uint8], size: float, light: tuple[float, float], ss: int) -> Floats:
    """Relief shading per pixel, about -0.6..0.6: slopes that face the light are bright."""
    relief = Image.fromarray(heights)
    crisp = np.asarray(relief.filter(ImageFilter.BoxBlur(0.75 * ss)), np.float32)
    round_ = np.asarray(relief.filter(ImageFilter.BoxBlur(max(2.0, 0.075 * size))), np.float32)
    field = crisp * 0.0017 + round_ * 0.0034
    dx, dy = (round(component * max(1.5 * ss, 0.03 * size)) for component in light)
    shifted = np.roll(field, (-dy, -dx), (0, 1))
    slope: Floats = field - shifted
    return slope


def paint(parts: Sequence[Part], look: Surface, view: View, size_px: float, ss: int) -> Sprite:
    """Paint ``parts`` with a longer side of ``size_px`` pixels, drawn ``ss`` times larger and reduced."""
    size = size_px * ss
    outlines, scale, low = _place(parts, view, size)
    pad = 2 * ss
    extent = np.ceil((np.concatenate(outlines).max(0) + 2 * pad) / ss).astype(int) * ss
    index = Image.new("L", (int(extent[0]), int(extent[1])))
    draw = ImageDraw.Draw(index)
    for number, (part, outline) in enumerate(zip(parts, outlines, strict=True), 1):
        draw.polygon((outline + pad).ravel().tolist(), fill=0 if part.slot == "hole" else number)
    origin = (pad - float(low[0]) * scale, pad - float(low[1]) * scale)
    frame = _Frame(np.linalg.inv(view.matrix) / scale, origin, size, ss, view.light)
    rgb, alpha = _surface(parts, np.asarray(index), look, frame)
    return Sprite(_reduce(rgb, ss), _reduce(alpha, ss))


def _surface(
    parts: Sequence[Part], which: NDArray[np.uint8], look: Surface, frame: _Frame
) -> tuple[Floats, Floats]:
    """RGB planes and alpha at drawing size, from the number of the part seen at each pixel."""
    tables = _tables(parts, look.finish)
    colours = which
    if look.pattern != "plain":
        index = tile_index(which.shape, frame.inverse, frame.origin, look.pattern_scale, look.pattern_turn)
        spots = pattern_tile(look.pattern).take(index)
        colours = np.where(tables.patterned.take(which) & (spots > 0), spots + np.uint8(len(parts)), which)
    slope = _light(tables.height.take(which), frame.size, frame.light, frame.supersampling)
    bright = tables.shade.take(which)
    grain = _grain(look.finish, which.shape, frame, look.grain_offset)
    if grain is not None:
        bright *= 1 + grain * tables.grain.take(which)
    bright *= 1 + slope
    slope *= 5
    slope -= 0.55
    glint = np.maximum(slope, 0, out=slope).clip(max=1) * tables.gloss.take(which)
    alpha = tables.opacity.take(which)
    rgb = np.stack([plane.take(colours) for plane in _palette(parts, look)])
    rgb *= bright
    rgb += glint
    np.clip(rgb, 0, 255, out=rgb)
    rgb *= alpha
    return rgb, alpha


def _reduce(planes: Floats, ss: int) -> Floats:
    """Average blocks of ``ss`` x ``ss`` pixels of the last two axes."""
    if ss == 1:
        return planes
    total = sum(planes[..., y::ss, x::ss] for y in range(ss) for x in range(ss))
    return np.asarray(total * np.float32(1 / ss**2), np.float32)
