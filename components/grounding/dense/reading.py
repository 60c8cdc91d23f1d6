"""How probable each product type is at each place of pictures, read by a frozen trunk at several sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from components.encoder.model.features.folded import folded
from components.encoder.model.towers.dual_encoder import Encoder
from components.grounding.dense.cut_outs import box_of
from components.grounding.dense.head import DenseHead, Maps
from components.grounding.grounding import Prompt
from components.stage.resources.accelerator import autocast, device

Floats = npt.NDArray[np.float32]

SHAPE_STEP = 32  # sides of what a convolutional trunk reads are multiples of this
LONGEST_SHAPE = 4.0  # a longer picture is squeezed to this ratio of its sides
GRID = 56  # cells per side of the map that all sizes are brought to
FINEST_STRIDE = 8  # pixels of a cell of the finest map that is read
FLAT = 1e-6  # a map whose peak is below this says nothing


def trunk_maps(encoder: Encoder, precision: str) -> Maps:
    """Maps of strides 8 and coarser of a convolutional trunk, or the one grid of a transformer.

    A transformer reads squares of its own size only, so pictures are stretched to it.

    Raises:
        EncoderConfigurationError: the tower gives no maps.
    """
    machine, own = device(), (encoder.image_px, encoder.image_px)
    encoder = folded(encoder.to(machine, memory_format=torch.channels_last).eval())

    def _seen(pixels: Tensor) -> list[Tensor]:
        with torch.inference_mode(), autocast(machine, precision):
            return encoder.stage_maps(pixels.to(machine))

    fixed = len(_seen(torch.zeros(1, 3, *own))) == 1

    def _maps(pixels: Tensor) -> list[Tensor]:
        if fixed:
            pixels = F.interpolate(pixels.float(), size=own, mode="bilinear", antialias=True)
        found = _seen(pixels)
        coarse = [m for m in found if m.shape[-1] * FINEST_STRIDE <= pixels.shape[-1]] or found[-1:]
        # Copies, or they could not be trained on outside of inference mode.
        return [m.clone() for m in coarse]

    return _maps


def read_shape(size: tuple[int, int], image_px: int) -> tuple[int, int]:
    """Height and width at which a picture of (width, height) is read: its longer side is ``image_px``."""
    width, height = size
    ratio = min(max(width / height, 1 / LONGEST_SHAPE), LONGEST_SHAPE)
    high, wide = (image_px, image_px * ratio) if ratio < 1 else (image_px / ratio, image_px)
    rows, columns = (max(SHAPE_STEP, round(side / SHAPE_STEP) * SHAPE_STEP) for side in (high, wide))
    return rows, columns


class Reader:
    """Reads pictures through trunk and head.

    Args:
        sizes_px: longer side of the pictures at each reading; what they say is averaged.
        batch_size: pictures in a batch of the trunk.
    """

    def __init__(self, maps: Maps, head: DenseHead, sizes_px: Sequence[int], batch_size: int) -> None:
        self.maps, self.head, self.sizes_px, self.batch_size = maps, head, sizes_px, batch_size
        self.device = next(head.parameters()).device

    def likely(self, pictures: Sequence[Image.Image], weights: Floats) -> Floats:
        """Probability of what each picture is asked for, ``[N, asked, GRID, GRID]``, whatever its shape.

        Args:
            weights: of each of the head's types in what is asked, ``[N, asked, types]``.
        """
        total = np.zeros((*weights.shape[:2], GRID, GRID), dtype=np.float32)
        for size_px in self.sizes_px:
            shapes = [read_shape(p.size, size_px) for p in pictures]
            for shape in sorted(set(shapes)):
                rows = [i for i, s in enumerate(shapes) if s == shape]
                for start in range(0, len(rows), self.batch_size):
                    part = rows[start : start + self.batch_size]
                    total[part] += self._read([pictures[i] for i in part], shape, weights[part])
        total /= len(self.sizes_px)
        return total

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def _read(self, pictures: Sequence[Image.Image], shape: tuple[int, int], weights: Floats) -> Floats:
        high, wide = shape
        resized = [np.asarray(p.resize((wide, high), Image.Resampling.BICUBIC)) for p in pictures]
        maps = self.maps(torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2))
        shares = self.head([m.to(self.device) for m in maps]).float().softmax(dim=1)[:, :-1]
        asked = torch.einsum("nat,nthw->nahw", torch.from_numpy(weights).to(self.device), shares)
        fine = F.interpolate(asked, size=(GRID, GRID), mode="bilinear", align_corners=False)
        found: Floats = fine.cpu().numpy()
        return found


Texts = Callable[[Sequence[str]], npt.NDArray[np.floating]]


class AskedTypes:
    """What a prompt asks of the head: one of its types, any of several, or of another word the nearest.

    For another word types are mixed: the nearest one counts whole and each other one
    ``exp(-d / temperature)``, where ``d`` is how much smaller its cosine to the word's text is. A word near
    to no type, by ``least_similarity``, cannot be asked for; without ``texts`` no such word can.
    """

    def __init__(
        self,
        types: Sequence[str],
        texts: Texts | None = None,
        temperature: float = 0.1,
        least_similarity: float = 0.3,
    ) -> None:
        self.types, self.texts = list(types), texts
        self.temperature, self.least_similarity = temperature, least_similarity
        self._mixtures: dict[str, Floats | None] = {}
        self._vectors: Floats | None = None

    def weights(self, asked: Sequence[Prompt]) -> list[Floats | None]:
        """Weights ``[types]`` of each prompt; None where it cannot be asked for."""
        words = {a for a in asked if isinstance(a, str) and a not in self.types and a not in self._mixtures}
        if new := sorted(words):
            self._mixtures |= dict(zip(new, self._mixed(new), strict=True))
        return [self._of(a) for a in asked]

    def _of(self, asked: Prompt) -> Floats | None:
        """One for each type that is meant; of several, what is like one of them is not asked for."""
        named = (asked,) if isinstance(asked, str) else asked.types
        inside = np.isin(self.types, named).astype(np.float32)
        if inside.any():
            return inside
        return self._mixtures[asked] if isinstance(asked, str) else None

    def _mixed(self, words: Sequence[str]) -> list[Floats | None]:
        if self.texts is None:
            return [None] * len(words)
        if self._vectors is None:
            self._vectors = _unit(self.texts, self.types)
        near = _unit(self.texts, words) @ self._vectors.T
        shares = np.exp((near - near.max(axis=1, keepdims=True)) / self.temperature).astype(np.float32)
        return [s if n.max() >= self.least_similarity else None for s, n in zip(shares, near, strict=True)]


def _unit(texts: Texts, words: Sequence[str]) -> Floats:
    vectors = texts([w.lower() for w in words]).astype(np.float32)
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return unit


def best_region(
    likely: Floats, share: float, margin: float
) -> tuple[tuple[float, ...], tuple[float, float], float]:
    """Box (fractions), point and score of the region of a map ``[h, w]`` around its peak.

    The region is what is connected to the peak and above ``share`` of it; the box is ``margin`` of its own
    sides wider on each side, the point is the region's centre of mass, and the score is the peak. A map that
    is 0 everywhere has NaN for all of them.
    """
    from scipy import ndimage

    height, width = likely.shape
    peak = float(likely.max())
    if not peak > FLAT:
        nothing = float("nan")
        return (nothing,) * 4, (nothing, nothing), nothing
    parts, _ = ndimage.label(likely >= share * peak)
    region = parts == parts.flat[int(likely.argmax())]
    x0, y0, x1, y1 = box_of(region)
    wide, high = margin * (x1 - x0), margin * (y1 - y0)
    box = max(0.0, x0 - wide), max(0.0, y0 - high), min(1.0, x1 + wide), min(1.0, y1 + high)
    row, column = ndimage.center_of_mass(np.where(region, likely, 0.0))
    return box, ((column + 0.5) / width, (row + 0.5) / height), peak
