"""The pictures of a catalogue as a listing model reads them: pixels, or what its frozen tower made of them.

A frozen tower's tokens are computed once for all stages, from the features that the encoder's own stages have
left, and read by catalogue row: no stage that trains or writes decodes a picture or runs a tower. They are a
cache under ``.vitrine/cache``; delete it and nothing changes but time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from components.encoder.model.features.picture_features import (
    FeatureCache,
    Kept,
    ShardArrays,
    feature_file,
    write_arrays,
)
from components.encoder.model.features.pixels import PixelCache, alone
from components.encoder.model.towers.files import part_sha256
from components.opal.model.language.vision_tower import EncoderVisionTower
from components.stage.paths import Paths
from components.stage.progress import Progress

VERSION = "1"  # of what is made of features: raise it when the same features give other tokens
ROWS = 256  # pictures whose tokens are computed and written together


class Pictures(Protocol):
    """A catalogue's pictures by row, each as a model reads it."""

    image_px: int

    def take(self, rows: npt.NDArray[np.int64], /) -> npt.NDArray[Any]:
        """Pixels ``[N, px, px, 3]`` (uint8) or a tower's tokens ``[N, 1 + grid², D]`` (float16)."""


class TowerPictures:
    """Tokens of every product's picture by a frozen tower, memory-mapped.

    Args:
        tower: its weights are part of every key. pixels: decoded only where nobody has left features.
        cache: where the arrays are kept.
    """

    def __init__(self, tower: EncoderVisionTower, pixels: PixelCache, cache: Path) -> None:
        self.image_px = pixels.image_px
        head = part_sha256(tower.encoder, "heads")
        parts = [*tower.seeing.image_key, f"tokens {VERSION} {tower.config.grid}", head]
        sizes = pixels.sizes()
        files = [feature_file(cache / "features", pixels.key(shard), *parts) for shard, _ in sizes]
        starts = np.cumsum([0, *(rows for _, rows in sizes)])
        if not all(file.exists() for file in files):
            features = FeatureCache(pixels, tower.seeing, cache, tower.config.grid)
            progress = Progress("tokens of pictures", int(starts[-1]), "pictures")
            for file, first, end in zip(files, starts, starts[1:], strict=False):
                with alone(file):
                    if not file.exists():
                        rows = np.arange(first, end)
                        write_arrays({"tokens": file}, len(rows), _tokens(features, rows, progress))
        self._tokens = ShardArrays(files, starts)

    def take(self, rows: npt.NDArray[np.int64], /) -> Kept:
        """Tokens ``[N, 1 + grid², D]`` of catalogue rows, in the order asked for."""
        return self._tokens.take(rows)


def _tokens(
    features: FeatureCache, rows: npt.NDArray[np.int64], progress: Progress
) -> Iterator[dict[str, Kept]]:
    for start in range(0, len(rows), ROWS):
        chosen = rows[start : start + ROWS]
        yield {"tokens": features.grid_vectors(chosen)}
        progress.advance(len(chosen))


def catalogue_pictures(tower: Any, image_px: int, paths: Paths) -> Pictures:
    """The catalogue's pictures for a model with this vision tower.

    Args:
        image_px: side of the pictures where the model wants pixels: its tower may change, or is of another
            library.
    """
    pixels = PixelCache(paths.catalogue, image_px, paths.cache, torch.get_num_threads())
    if isinstance(tower, EncoderVisionTower) and tower.config.frozen:
        return TowerPictures(tower, pixels, paths.cache)
    return pixels


def tower_of(model: Any) -> Any:
    """The vision tower of a model built here; None of others."""
    return getattr(getattr(model, "model", None), "vision_tower", None)
