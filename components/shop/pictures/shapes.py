"""Outlines in the plane: the few curves every product is drawn from.

Points are float arrays ``[n, 2]`` in a product's own frame: x to the right, y down, both about -1..1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
Turn = tuple[float, float]  # from one angle to another: degrees, clockwise from the right
# body: colour, pattern and material; accent: the second colour; the others are what products are fitted with
Slot = Literal["body", "accent", "metal", "dark", "pale", "wood", "inner", "lens", "hole"]


@dataclass(frozen=True)
class Part:
    """A filled outline. ``shade`` multiplies brightness, ``height`` is how far it stands out (0..1)."""

    points: Points
    slot: Slot = "body"
    shade: float = 1.0
    height: float = 0.6


@cache
def _catmull_rom(steps: int) -> NDArray[np.float64]:
    """Weights ``[steps, 4]`` of the four neighbouring points (uniform Catmull-Rom spline, tension 0.5)."""
    t = np.arange(steps) / steps
    terms = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3)
    return np.stack(terms, axis=1) / 2


def smooth(points: ArrayLike, steps: int = 5) -> Points:
    """A closed curve through ``points``, ``steps`` times as many."""
    p = np.asarray(points, float)
    around = np.stack([np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)])
    curve: Points = np.einsum("sk,knd->nsd", _catmull_rom(steps), around).reshape(-1, 2)
    return curve


def path(points: ArrayLike, steps: int = 6) -> Points:
    """An open curve through ``points``."""
    p = np.asarray(points, float)
    ends = np.concatenate([p[:1], p, p[-1:]])
    around = np.stack([ends[:-3], ends[1:-2], ends[2:-1], ends[3:]])
    curve = np.einsum("sk,knd->nsd", _catmull_rom(steps), around).reshape(-1, 2)
    return np.concatenate([curve, p[-1:]])


def polygon(*points: tuple[float, float]) -> Points:
    """Straight edges."""
    return np.asarray(points, float)


def mirror(points: Points) -> Points:
    """The same outline on the other side of the vertical axis."""
    return points * (-1.0, 1.0)


def symmetric(*right: tuple[float, float]) -> Points:
    """A closed outline from its right half, given from top to bottom."""
    half = np.asarray(right, float)
    return np.concatenate([half, mirror(half)[::-1]])


@cache
def _arc(start: float, end: float, count: int) -> Points:
    angle = np.linspace(np.radians(start), np.radians(end), count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def ellipse(cx: float, cy: float, rx: float, ry: float, turn: Turn = (0, 360), *, count: int = 26) -> Points:
    """An ellipse, or the piece of one from the first angle of ``turn`` to the second."""
    return _arc(*turn, count) * (rx, ry) + (cx, cy)


@cache
def _corner(quarter: int) -> NDArray[np.float64]:
    return ellipse(0, 0, 1, 1, turn=(90 * quarter, 90 * quarter + 90), count=5)


def box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> Points:
    """A rectangle with rounded corners."""
    if radius <= 0:
        return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    r = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    centres = ((x1 - r, y1 - r), (x0 + r, y1 - r), (x0 + r, y0 + r), (x1 - r, y0 + r))
    return np.concatenate([_corner(k) * r + centre for k, centre in enumerate(centres)])


def ribbon(line: ArrayLike, width: float, end_width: float | None = None) -> Points:
    """A band of ``width`` along a line; it may narrow to ``end_width``."""
    p = np.asarray(line, float)
    along = np.empty_like(p)
    along[1:-1] = p[2:] - p[:-2]
    along[0], along[-1] = p[1] - p[0], p[-1] - p[-2]
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
    across = along[:, ::-1] * (-0.5, 0.5) / length[:, None]
    across *= width if end_width is None else np.linspace(width, end_width, len(p))[:, None]
    return np.concatenate([p + across, (p - across)[::-1]])


def strip(
    line: ArrayLike, width: float, slot: Slot = "body", shade: float = 1.0, height: float = 0.6
) -> Part:
    """A part that is a band along a line."""
    return Part(ribbon(line, width), slot, shade, height)


def ring(cx: float, cy: float, rx: float, ry: float, width: float, *, turn: Turn = (0, 360)) -> Points:
    """An elliptic band; a full turn closes on itself."""
    return ribbon(ellipse(cx, cy, rx, ry, turn, count=30), width)


def both(part: Part) -> list[Part]:
    """A part and its mirror image."""
    return [part, Part(mirror(part.points), part.slot, part.shade, part.height)]
