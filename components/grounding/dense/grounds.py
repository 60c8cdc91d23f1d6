"""Grounds that training scenes stand on: flat, graded, noisy, patterned, in pieces, or a picture's corner."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
CORNER = 5  # a picture's corner is this part of its shorter side


def drawn_ground(rng: np.random.Generator, side: int, pictures: Sequence[Pixels]) -> Pixels:
    """A ground ``[side, side, 3]`` of a kind drawn by chance; equal states of ``rng``, equal pixels."""
    kinds = [_flat, _graded, _clouds, _stripes, _halves, _pieces, _pieces]
    at = int(rng.integers(len(kinds) + bool(pictures)))
    ground = _corner(rng, side, pictures) if at == len(kinds) else kinds[at](rng, side)
    if rng.random() < 0.5:
        ground = ground + (_noise(rng, side, int(rng.integers(8, 65))) * rng.uniform(2, 16))[..., None]
    clipped: Pixels = np.clip(ground, 0, 255).astype(np.uint8)
    return clipped


def _colour(rng: np.random.Generator) -> Floats:
    """Any colour, most often a dull one."""
    grey = rng.uniform(20, 245)
    return np.clip(grey + rng.normal(0, rng.choice([8, 40]), 3), 0, 255).astype(np.float32)


def _noise(rng: np.random.Generator, side: int, cells: int) -> Floats:
    """Smooth noise ``[side, side]`` of unit strength, ``cells`` bumps across."""
    small = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def _flat(rng: np.random.Generator, side: int) -> Floats:
    return np.broadcast_to(_colour(rng), (side, side, 3)).astype(np.float32)


def _graded(rng: np.random.Generator, side: int) -> Floats:
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    along = np.clip(0.5 + (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn), 0, 1)[..., None]
    mixed: Floats = (along * _colour(rng) + (1 - along) * _colour(rng)).astype(np.float32)
    return mixed


def _clouds(rng: np.random.Generator, side: int) -> Floats:
    """Noise of three sizes between two colours, as stone, fabric or leaves have it."""
    amount = sum(_noise(rng, side, int(rng.integers(3, 9)) * 2**k) / 1.6**k for k in range(3))
    share = 1 / (1 + np.exp(-rng.uniform(0.5, 3) * np.asarray(amount)))[..., None]
    mixed: Floats = (share * _colour(rng) + (1 - share) * _colour(rng)).astype(np.float32)
    return mixed


def _stripes(rng: np.random.Generator, side: int) -> Floats:
    """Stripes, or where two sets cross, squares."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    turn, width = rng.uniform(0, np.pi), rng.uniform(6, 40)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    mark = along % width < width * rng.uniform(0.1, 0.6)
    if rng.random() < 0.5:
        mark = mark ^ (across % width < width * rng.uniform(0.1, 0.6))
    one = _colour(rng)
    other = np.clip(one + rng.normal(0, 35, 3), 0, 255).astype(np.float32)
    return np.where(mark[..., None], one, other).astype(np.float32)


def _halves(rng: np.random.Generator, side: int) -> Floats:
    """A wall over a floor, each of a kind of its own."""
    kinds = (_flat, _graded, _clouds, _stripes)
    wall, floor = (kinds[int(rng.integers(len(kinds)))](rng, side) for _ in range(2))
    at = int(rng.uniform(0.35, 0.85) * side)
    return np.concatenate([wall[:at], floor[at:]]).astype(np.float32)


def _pieces(rng: np.random.Generator, side: int) -> Floats:
    """Plain shapes one over another: edges that are no product's."""
    start = np.clip(_halves(rng, side), 0, 255).astype(np.uint8)
    image = Image.fromarray(start)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 22))):
        x, y = rng.uniform(-0.1, 1.0, 2) * side
        wide, high = np.exp(rng.uniform(np.log(0.03), np.log(0.6), 2)) * side
        colour = tuple(int(v) for v in _colour(rng))
        if rng.random() < 0.4:
            draw.ellipse((x, y, x + wide, y + high), fill=colour)
        else:
            corners = rng.uniform(0, 1, (int(rng.integers(3, 6)), 2)) * [wide, high] + [x, y]
            draw.polygon([tuple(c) for c in corners.tolist()], fill=colour)
    return np.asarray(image).astype(np.float32)


def _corner(rng: np.random.Generator, side: int, pictures: Sequence[Pixels]) -> Floats:
    """A corner of another product's picture, mirrored over the whole scene."""
    picture = pictures[int(rng.integers(len(pictures)))]
    part = max(2, min(picture.shape[:2]) // CORNER)
    top, left = (bool(v) for v in rng.integers(0, 2, 2))
    corner = picture[: part if top else None, : part if left else None]
    corner = corner[0 if top else -part :, 0 if left else -part :]
    reach = [(0, side - n) for n in corner.shape[:2]]
    return np.pad(corner, [*reach, (0, 0)], mode="symmetric")[:side, :side].astype(np.float32)
