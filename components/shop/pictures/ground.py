"""What products stand before: a studio's plain ground, or a furnished room."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from components.shop.pictures.paint import Floats, grain_tile, noise, pattern_tile, tile_index


@dataclass(frozen=True)
class Ground:
    """``pixels [3, px, px]`` (0..255) and how dark shadows fall on it (0..1)."""

    pixels: Floats
    shadow: float


def _rgb(hue: float, saturation: float, value: float) -> Floats:
    return np.asarray(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32) * 255


def studio(rng: np.random.Generator, px: int) -> Ground:
    """A sweep of paper: nearly white, grey or a pale tint, lighter around the middle."""
    tinted = rng.random() < 0.4
    colour = _rgb(
        rng.random(), rng.uniform(0.05, 0.22) if tinted else rng.uniform(0, 0.04), rng.uniform(0.80, 0.97)
    )
    axis = np.linspace(-1, 1, px, dtype=np.float32)
    x, y = rng.uniform(-0.4, 0.4, 2)
    away = (axis[None, :] - np.float32(x)) ** 2 + (axis[:, None] - np.float32(y)) ** 2
    light = 1.03 - np.float32(rng.uniform(0.02, 0.10)) * away
    if rng.random() < 0.35:  # the edge where a table meets the wall
        light = (
            light
            * np.where(axis > rng.uniform(0.1, 0.7), np.float32(rng.uniform(0.88, 0.96)), np.float32(1))[
                :, None
            ]
        )
    return Ground(light * colour[:, None, None], float(rng.uniform(0.25, 0.55)))


def _textured(rng: np.random.Generator, px: int, floor: bool) -> Floats:
    """A wall, floor or table top: a muted colour with a weave, boards, a print or clouds."""
    value = rng.uniform(0.40, 0.78) if floor else rng.uniform(0.62, 0.93)
    colour = _rgb(
        rng.uniform(0.04, 0.13) if rng.random() < 0.6 else rng.random(), rng.uniform(0.08, 0.42), value
    )
    kind = int(rng.integers(0, 4))
    turn = float(rng.uniform(-0.4, 0.4)) if floor else 0.0
    grid = np.eye(2) / px
    if kind == 0:
        grain = (
            grain_tile("wood")[tile_index((px, px), grid, (0, 0), rng.uniform(0.8, 2.0), turn + np.pi / 2)]
            * 0.10
        )
    elif kind == 1:
        grain = grain_tile("weave")[tile_index((px, px), grid, (0, 0), rng.uniform(3, 6), turn)] * 0.08
    elif kind == 2:
        print_ = ("striped", "checked", "dotted", "floral", "zigzag")[int(rng.integers(0, 5))]
        grain = pattern_tile(print_)[
            tile_index((px, px), grid, (0, 0), rng.uniform(3, 7), turn)
        ] * np.float32(rng.uniform(-0.16, 0.12))
    else:
        grain = noise()[1][:px, :px] * np.float32(0.10)
    surface: Floats = (1 + grain.astype(np.float32)) * colour[:, None, None]
    return surface


def _furnish(rng: np.random.Generator, canvas: Floats, horizon: int) -> None:
    """Hang frames, windows or shelves on the wall above ``horizon``, in place."""
    px = canvas.shape[1]
    for _ in range(int(rng.integers(0, 3))):
        x, w = rng.uniform(0, 0.8) * px, rng.uniform(0.12, 0.35) * px
        y, h = rng.uniform(-0.1, 0.6) * horizon, rng.uniform(0.2, 0.6) * max(horizon, 8)
        edge = _rgb(rng.uniform(0.04, 0.12), rng.uniform(0, 0.5), rng.uniform(0.2, 0.9))
        if rng.random() < 0.35:
            _rectangle(canvas, (x - w, y + h, x + w, y + h + 0.03 * px), edge)
            continue
        inset = max(1, round(0.018 * px))
        _rectangle(canvas, (x, y, x + w, y + h), edge)
        inside = _rgb(rng.random(), rng.uniform(0.05, 0.5), rng.uniform(0.5, 0.95))
        _rectangle(canvas, (x + inset, y + inset, x + w - inset, y + h - inset), inside)


def _rectangle(canvas: Floats, box: tuple[float, float, float, float], colour: Floats) -> None:
    x0, y0, x1, y1 = (max(0, int(value)) for value in box)
    canvas[:, y0:y1, x0:x1] = colour[:, None, None]


def room(rng: np.random.Generator, px: int) -> Ground:
    """A wall over a floor, or one table top seen from above."""
    if rng.random() < 0.35:
        return Ground(_textured(rng, px, floor=True), float(rng.uniform(0.35, 0.6)))
    horizon = round(rng.uniform(0.35, 0.75) * px)
    canvas = _textured(rng, px, floor=False)
    canvas[:, horizon:] = _textured(rng, px, floor=True)[:, horizon:]
    canvas[:, horizon : horizon + max(1, px // 64)] *= 0.72  # skirting board
    _furnish(rng, canvas, horizon)
    return Ground(canvas, float(rng.uniform(0.3, 0.55)))
