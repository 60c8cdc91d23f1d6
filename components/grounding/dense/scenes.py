"""Scenes composed of cut-out products on drawn grounds, with the type of every cell: what teaches places.

A scene is a pure function of the seed and its number. Its grounds (flat, graded, noisy, patterned, in pieces,
or a picture's corner) and layouts are this module's own; the pictures that grounding is measured on come from
other makers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from components.grounding.dense.cut_outs import Pixels, TypedCutOut, box_of
from components.grounding.params import SceneParams

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

CELL_PX = 8  # a cell is as wide as the finest stage of the trunk that the head reads
COVERED = 0.5  # of a cell by one type, from which on it is of the type
IGNORED = -1  # cells that are covered in part teach nothing
LEAST_COVERED = 0.3  # below it a cell is of the ground
VISIBLE = 0.35  # of a product must be seen for it to be asked for
CORNER = 5  # a picture's corner is this part of its shorter side


class Scene(NamedTuple):
    """One picture and what it shows.

    ``pixels [px, px, 3]``; ``cells [px/8, px/8]``: number of the type, the number of types for the ground,
    -1 where neither can be said; ``kinds`` and ``boxes [N, 4]`` (fractions) of the products that are seen.
    """

    pixels: Pixels
    cells: Ints
    kinds: list[int]
    boxes: npt.NDArray[np.float64]


class Composer:
    """Draws scenes from cut-outs.

    Args:
        cut_outs: of at least one type. grounds: pictures whose corners are one kind of ground.
        types: how many product types there are.
    """

    def __init__(
        self, cut_outs: Sequence[TypedCutOut], grounds: Sequence[Pixels], types: int, params: SceneParams
    ) -> None:
        self.cut_outs, self.grounds, self.types, self.params = cut_outs, grounds, types, params
        self._by_kind: dict[int, list[int]] = {}
        for at, cut in enumerate(cut_outs):
            self._by_kind.setdefault(cut.kind, []).append(at)
        counts = np.array([len(v) for v in self._by_kind.values()], dtype=np.float64)
        weights = counts**params.balance
        self._kinds, self._shares = list(self._by_kind), weights / weights.sum()

    def scene(self, number: int) -> Scene:
        """Scene ``number`` of the parameters' seed."""
        params = self.params
        rng = np.random.default_rng([params.seed, number])
        canvas = Image.fromarray(drawn_ground(rng, params.image_px, self.grounds))
        owner = np.full((params.image_px, params.image_px), -1, dtype=np.int64)
        kinds, whole = list[int](), list[int]()
        for _ in range(int(rng.integers(params.least_things, params.most_things + 1))):
            kind = self._kinds[int(rng.choice(len(self._kinds), p=self._shares))]
            chosen = self._by_kind[kind]
            thing = _varied(self.cut_outs[chosen[int(rng.integers(len(chosen)))]], rng, params)
            whole.append(_pasted(canvas, owner, thing, len(kinds), rng))
            kinds.append(kind)
        pixels = _developed(canvas, rng)
        boxes = [box_of(owner == i) if _seen(owner, i, whole[i]) else None for i in range(len(kinds))]
        seen = [i for i, box in enumerate(boxes) if box is not None]
        found = np.array([boxes[i] for i in seen], dtype=np.float64).reshape(-1, 4)
        return Scene(pixels, _cells(owner, kinds, self.types), [kinds[i] for i in seen], found)


def _seen(owner: Ints, thing: int, whole: int) -> bool:
    return int((owner == thing).sum()) > max(VISIBLE * whole, CELL_PX**2)


def _varied(cut: TypedCutOut, rng: np.random.Generator, params: SceneParams) -> Image.Image:
    """A cut-out as RGBA of another size, stretch, turn, light, colour and sharpness."""
    image = Image.fromarray(np.dstack([_relit(cut.pixels, rng), cut.mask.astype(np.uint8) * 255]), "RGBA")
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    # Area, not side, is drawn: a belt and a shirt of one height would be a line and a wall.
    size = params.image_px * np.exp(rng.uniform(np.log(params.least_size), np.log(params.most_size)))
    scale = size / np.sqrt(image.width * image.height) * np.exp(rng.normal(0, 0.12, 2) * [1, -1])
    most = 0.95 * params.image_px
    scale *= min(1.0, most / max(image.width * scale[0], image.height * scale[1]))
    wide, high = max(4, round(image.width * scale[0])), max(4, round(image.height * scale[1]))
    image = image.resize((wide, high), Image.Resampling.BILINEAR)
    if rng.random() < 0.6:
        image = image.rotate(rng.normal(0, params.turn_degrees), Image.Resampling.BILINEAR, expand=True)
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.2)))
    return image


def _relit(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Pixels under another light: gain and offset of all channels, a cast, and a gradient across."""
    gain = np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.08, 3))
    fall = np.linspace(-1, 1, pixels.shape[1], dtype=np.float32)[None, :, None] * rng.normal(0, 0.12)
    lit = pixels.astype(np.float32) * (gain * (1 + fall)) + rng.normal(0, 10)
    clipped: Pixels = np.clip(lit, 0, 255).astype(np.uint8)
    return clipped


def _pasted(
    canvas: Image.Image, owner: Ints, thing: Image.Image, number: int, rng: np.random.Generator
) -> int:
    """Paste ``thing`` at a random place, a part of it over the edge at times; its own number of pixels."""
    side = canvas.width
    over = 0.15 if rng.random() < 0.3 else 0.0
    x, y = (
        int(rng.integers(round(-over * n), max(round(-over * n) + 1, side - n + round(over * n) + 1)))
        for n in thing.size
    )
    canvas.paste(thing, (x, y), thing.getchannel("A"))
    solid = np.asarray(thing.getchannel("A")) > 127
    top, left = max(0, y), max(0, x)
    part = solid[top - y : side - y, left - x : side - x]
    owner[top : top + part.shape[0], left : left + part.shape[1]][part] = number
    return int(solid.sum())


def _developed(canvas: Image.Image, rng: np.random.Generator) -> Pixels:
    """The scene as a camera gives it: its own exposure, at times blurred, with grain."""
    if rng.random() < 0.3:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    pixels = np.asarray(canvas).astype(np.float32) * np.exp(rng.normal(0, 0.12))
    if rng.random() < 0.5:
        pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(1, 7))
    clipped: Pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return clipped


def _cells(owner: Ints, kinds: Sequence[int], types: int) -> Ints:
    """The type of each cell by what covers most of it."""
    side = len(owner) // CELL_PX
    blocks = owner.reshape(side, CELL_PX, side, CELL_PX)
    coverage = np.zeros((types + 1, side, side), dtype=np.float32)
    for number, kind in enumerate(kinds):
        coverage[kind] += (blocks == number).mean(axis=(1, 3))
    best = coverage.argmax(axis=0)
    most = coverage.max(axis=0)
    cells: Ints = np.where(most >= COVERED, best, np.where(most < LEAST_COVERED, types, IGNORED))
    return cells


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
