"""What things in a careless photo lie on or stand before, drawn by chance: boards, tiles, a shelf, ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.catalog.noise.params import Ground

Floats = NDArray[np.float32]
Reals = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]  # RGB, 0..1

TEXTURE = 256  # side of the noise that patterns are looked up in
WOODS: tuple[Colour, ...] = (
    (0.55, 0.38, 0.24), (0.70, 0.53, 0.35), (0.38, 0.25, 0.17), (0.78, 0.67, 0.51), (0.52, 0.47, 0.42),
)  # fmt: skip
STONES: tuple[Colour, ...] = (
    (0.80, 0.78, 0.74), (0.62, 0.60, 0.57), (0.72, 0.62, 0.52), (0.88, 0.87, 0.85), (0.35, 0.37, 0.40),
)  # fmt: skip
FABRICS: tuple[Colour, ...] = (
    (0.86, 0.84, 0.80), (0.55, 0.66, 0.78), (0.74, 0.60, 0.62), (0.36, 0.42, 0.50), (0.66, 0.70, 0.58),
    (0.83, 0.74, 0.58), (0.45, 0.25, 0.28), (0.30, 0.45, 0.42),
)  # fmt: skip
WALLS: tuple[Colour, ...] = (
    (0.87, 0.85, 0.80), (0.74, 0.80, 0.83), (0.82, 0.74, 0.66), (0.68, 0.74, 0.66), (0.80, 0.70, 0.71),
    (0.58, 0.60, 0.64),
)  # fmt: skip


class Backdrop(NamedTuple):
    """``pixels [h, w, 3]`` 0..1. ``lines``: heights (fractions from the top) at which things stand; none
    where they lie about, seen from above."""

    pixels: Floats
    lines: tuple[float, ...] = ()


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...], spread: float = 0.02) -> Floats:
    """One of ``colours``, lighter or darker, and of a hue that differs by about ``spread``."""
    base = np.asarray(colours[int(rng.integers(len(colours)))]) * rng.normal(1, 0.12)
    return np.clip(base + rng.normal(0, spread, 3), 0.04, 0.97).astype(np.float32)


def _smooth(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int]) -> Floats:
    """Noise ``[h, w]`` around 0, of about ``cells`` (across, down) bumps."""
    values = rng.normal(0, 1, (cells[1] + 2, cells[0] + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BICUBIC))


def _texture(rng: np.random.Generator, across: int, down: int) -> Floats:
    """Noise to look up by whole steps, of bumps so many texels wide and high; its edges fit together."""
    values = rng.normal(0, 1, (max(2, TEXTURE // down), max(2, TEXTURE // across))).astype(np.float32)
    around = Image.fromarray(np.pad(values, 2, mode="wrap"))
    within = (2, 2, values.shape[1] + 2, values.shape[0] + 2)
    return np.asarray(around.resize((TEXTURE, TEXTURE), Image.Resampling.BICUBIC, box=within))


def _look_up(table: Floats, *places: Reals) -> Floats:
    """Values of a table that repeats in every direction, at places that are counted in its steps.

    Its sides are powers of two, and places are positive: so their remainder is cheap.
    """
    steps = tuple(p.astype(np.int32) & (n - 1) for p, n in zip(places, table.shape, strict=True))
    found: Floats = table[steps]
    return found


def _plane(rng: np.random.Generator, size: tuple[int, int], tilt: float) -> tuple[Reals, Reals]:
    """Where on a plane each pixel looks, in lengths of the picture's longer side.

    The plane is turned at will about the line of sight and leans away by up to ``tilt`` (share by which the
    far edge is smaller than the near one).
    """
    width, height = size
    x, y = np.meshgrid(
        (np.arange(width, dtype=np.float32) - width / 2) / max(size),
        (np.arange(height, dtype=np.float32) - height / 2) / max(size),
    )
    away = np.float32(1 / (1 + rng.uniform(0, tilt) * 0.5)) * (1 + np.float32(rng.uniform(0, tilt)) * y)
    x, y = x / away, y / away
    turn = rng.uniform(-np.pi, np.pi)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return c * x - s * y + 8, s * x + c * y + 8  # 8: lookups stay clear of zero


def _planks(rng: np.random.Generator, u: Reals, v: Reals, colour: Floats) -> Floats:
    """Boards along ``u``: each of its own tone and grain, with dark joints between them."""
    wide, long = rng.uniform(0.07, 0.2), rng.uniform(0.8, 2.0)
    row = v / wide
    along = u / long + _look_up(rng.random(64).astype(np.float32), row)
    tone = _look_up(rng.normal(0, 0.09, (64, 16)).astype(np.float32), row, along)
    grain = _look_up(_texture(rng, 40, 3), v * 700 + tone * 900, u * 220)
    gap = (row % 1 < 0.012 / wide * 0.35) | (along % 1 < 0.004 / long)
    shade = 1 + tone + np.float32(rng.uniform(0.03, 0.09)) * grain
    return np.where(gap, np.float32(0.45), shade)[..., None] * colour


def _boards(rng: np.random.Generator, size: tuple[int, int]) -> Backdrop:
    return Backdrop(_planks(rng, *_plane(rng, size, 0.5), _pick(rng, WOODS)))


def _tiles(rng: np.random.Generator, size: tuple[int, int]) -> Backdrop:
    u, v = _plane(rng, size, 0.5)
    side = rng.uniform(0.16, 0.42)
    along, row = u / side, v / (side * rng.choice([1.0, 1.0, 0.5]))
    one, other = _pick(rng, STONES), _pick(rng, STONES)
    chequered = rng.random() < 0.4
    second = ((np.floor(along) + np.floor(row)) % 2 == 1) & chequered
    marble = _look_up(_texture(rng, 24, 24), v * 300, u * 300)
    tone = _look_up(rng.normal(0, 0.03, (32, 32)).astype(np.float32), row, along)
    pixels = np.where(second[..., None], other, one) * (1 + tone + np.float32(0.04) * marble)[..., None]
    width = rng.uniform(0.004, 0.012) / side
    joint = (along % 1 < width) | (row % 1 < width)
    return Backdrop(np.where(joint[..., None], _pick(rng, STONES) * np.float32(0.8), pixels))


def _carpet(rng: np.random.Generator, size: tuple[int, int]) -> Backdrop:
    """Stripes of two to five colours, woven: the pile is a fine uneven grain."""
    u, v = _plane(rng, size, 0.4)
    colours = np.stack([_pick(rng, FABRICS, 0.05) for _ in range(int(rng.integers(2, 6)))])
    stripes = np.repeat(rng.integers(0, len(colours), 40), rng.integers(1, 7, 40))
    pixels = colours[stripes[np.floor(v * rng.uniform(30, 90)).astype(np.int64) % len(stripes)]]
    pile = _look_up(_texture(rng, 2, 2), v * 520, u * 260) + _look_up(_texture(rng, 50, 50), v * 300, u * 300)
    return Backdrop(pixels * (1 + np.float32(0.07) * pile)[..., None])


def _sheet(rng: np.random.Generator, size: tuple[int, int]) -> Backdrop:
    """A bed sheet, plain or printed, whose folds are ridges of a height map lit from a side."""
    u, v = _plane(rng, size, 0.2)
    bumps = int(rng.integers(2, 5))
    rough = _smooth(rng, size, (bumps, 2 * bumps))
    height = -np.abs(rough) + np.float32(0.35) * -np.abs(_smooth(rng, size, (3 * bumps, 2 * bumps)))
    slope = np.gradient(height)
    turn = rng.uniform(0, 2 * np.pi)
    lit = np.float32(np.cos(turn)) * slope[1] + np.float32(np.sin(turn)) * slope[0]
    shade = 1 + np.clip(lit * np.float32(rng.uniform(2, 4) * max(size) / 320), -0.3, 0.16)
    colour = np.broadcast_to(_pick(rng, FABRICS), (*u.shape, 3))
    printed = rng.random()
    if printed < 0.6:
        bands = rng.uniform(5, 14)
        mark = (v * bands + np.float32(0.25) * rough) % 1 < rng.uniform(0.2, 0.5)
        if printed < 0.3:
            mark ^= (u * bands + np.float32(0.25) * rough) % 1 < 0.4
        colour = np.where(mark[..., None], _pick(rng, FABRICS), colour)
    return Backdrop(colour * shade[..., None].astype(np.float32))


def _paving(rng: np.random.Generator, size: tuple[int, int]) -> Backdrop:
    """Concrete or asphalt: grey, blotched and speckled."""
    u, v = _plane(rng, size, 0.5)
    blotch = _smooth(rng, size, (5, 5))
    speck = _look_up(_texture(rng, 2, 2), v * 420, u * 420)
    shade = 1 + np.float32(0.05) * blotch + np.float32(rng.uniform(0.06, 0.14)) * speck
    return Backdrop(shade[..., None] * _pick(rng, STONES[1:2] + STONES[4:]))


def _lawn(rng: np.random.Generator, size: tuple[int, int]) -> Backdrop:
    """Grass: blades in two directions over bare patches."""
    u, v = _plane(rng, size, 0.4)
    blades = np.maximum(
        _look_up(_texture(rng, 2, 14), v * 330 + u * 90, u * 420),
        _look_up(_texture(rng, 2, 12), v * 300 - u * 160, u * 380),
    )
    light = np.clip(0.62 + np.float32(0.24) * blades, 0.15, 1.3)[..., None]
    patch = np.clip(_smooth(rng, size, (4, 4)) - 0.7, 0, 1)[..., None]
    green = np.asarray([0.33, 0.50, 0.18], np.float32) + rng.normal(0, 0.03, 3).astype(np.float32)
    soil = np.asarray([0.48, 0.40, 0.26], np.float32)
    return Backdrop(light * (green * (1 - patch) + soil * patch))


def _wall(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """A painted or papered wall ``[h, w, 3]``, not quite even."""
    width, height = size
    wall = np.broadcast_to(_pick(rng, WALLS), (height, width, 3)) * (
        1 + np.float32(0.015) * _smooth(rng, size, (6, 6))[..., None]
    )
    if rng.random() < 0.35:
        stripe = np.arange(width) / max(size) * rng.uniform(10, 30) % 1 < rng.uniform(0.3, 0.6)
        wall = np.where(stripe[None, :, None], wall, wall * _pick(rng, ((0.93, 0.93, 0.93),), 0.01))
    return wall.astype(np.float32)


def _room(rng: np.random.Generator, size: tuple[int, int]) -> Backdrop:
    """A wall, a skirting board and a floor of boards or carpet; things stand on the floor."""
    width, height = size
    pixels = _wall(rng, size).copy()
    line = rng.uniform(0.5, 0.75)
    edge, board = int(line * height), max(2, int(rng.uniform(0.02, 0.05) * height))
    pixels[edge - board : edge] = _pick(rng, ((0.9, 0.89, 0.87), (0.35, 0.25, 0.18)), 0.01)
    pixels[edge - board - 1 : edge - board] *= np.float32(0.7)
    depth = np.linspace(0.25, 1.0, height - edge, dtype=np.float32)[:, None]
    across = (np.arange(width, dtype=np.float32)[None, :] / max(size) - 0.5) / depth
    u, v = across + 8, np.broadcast_to(1 / depth, across.shape) + 8
    if rng.random() < 0.5:
        floor = _planks(rng, v, u * np.float32(0.6), _pick(rng, WOODS))
    else:
        pile = _look_up(_texture(rng, 2, 2), v * 300, u * 300)
        floor = (1 + np.float32(0.06) * pile)[..., None] * _pick(rng, FABRICS)
    pixels[edge:] = floor
    pixels[edge : edge + 3] *= np.float32(0.75)
    return Backdrop(pixels, tuple(float(y) for y in np.linspace(line + 0.06, 0.97, 4)))


def _shelf(rng: np.random.Generator, size: tuple[int, int]) -> Backdrop:
    """Boards before a wall; things stand on them, and each board shades what is below it."""
    _, height = size
    pixels = _wall(rng, size).copy() * np.float32(0.85)
    thick = max(4, int(rng.uniform(0.025, 0.05) * height))
    colour = _pick(rng, (*WOODS, (0.9, 0.9, 0.88)))
    lower = rng.uniform(0.8, 0.94)
    lines = [lower, lower - rng.uniform(0.62, 0.75)]
    grain = np.float32(0.05) * _smooth(rng, (size[0], thick), (4, max(3, thick // 2)))
    for line in lines:
        top = int(line * height)
        if 0 <= top < height:
            rows = min(thick, height - top)
            pixels[top : top + rows] = (1 + grain[:rows])[..., None] * colour
            pixels[top : top + 1] *= np.float32(1.15)
            below = pixels[top + rows : top + rows + 4 * thick]
            below *= np.linspace(0.55, 1.0, 4 * thick, dtype=np.float32)[: len(below), None, None]
    return Backdrop(pixels, (lower + 0.004,))


# Draws a ground of ``size`` = (width, height) pixels; equal states of the generator give equal pixels.
DRAWN: dict[Ground, Callable[[np.random.Generator, tuple[int, int]], Backdrop]] = {
    "boards": _boards,
    "tiles": _tiles,
    "carpet": _carpet,
    "sheet": _sheet,
    "paving": _paving,
    "room": _room,
    "shelf": _shelf,
    "lawn": _lawn,
}
