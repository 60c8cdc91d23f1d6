"""The pictures of a catalogue as a listing model reads them: pixels, or what its frozen tower made of them.

A frozen tower's tokens are computed once for all stages, from the features that the encoder's own stages have
left, and read by catalogue row: no stage that trains or writes decodes a picture or runs a tower. They are a
cache under ``.vitrine/cache``; delete it and nothing changes but time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from components.encoder.model.crops.crops import CropCache
from components.encoder.model.crops.grounding_file import (
    BY_CATEGORY,
    Grounding,
    by_dense_head,
    read_grounding,
)
from components.encoder.model.features.picture_features import (
    FeatureCache,
    Kept,
    ShardArrays,
    feature_file,
    write_arrays,
)
from components.encoder.model.features.pixels import PixelCache, alone
from components.encoder.model.features.rows import read_rows
from components.encoder.model.towers.files import part_sha256
from components.opal.model.language.value_heads import Fact, StatedValues, fit_heads, fold_of
from components.opal.model.language.vision_tower import EncoderVisionTower, whole_tokens
from components.opal.model.params import ListingParams
from components.stage.paths import Paths
from components.stage.progress import Progress

VERSION = "1"  # of what is made of features: raise it when the same features give other tokens
ROWS = 256  # pictures whose tokens are computed and written together


class Pictures(Protocol):
    """A catalogue's pictures by row, each as a model reads it."""

    image_px: int

    def take(self, rows: npt.NDArray[np.int64], /) -> npt.NDArray[Any]:
        """Pixels ``[N, px, px, 3]`` (uint8) or what a tower saw ``[N, rows, D]`` (float16)."""


class TowerPictures:
    """What a frozen tower saw of every product's picture, memory-mapped: tokens, and features it reads.

    Args:
        tower: its weights are part of every key. pixels: decoded only where nobody has left features.
        cache: where the arrays are kept. folds: of each row whose product the tower's heads may have seen;
            -1 elsewhere.
    """

    def __init__(
        self,
        tower: EncoderVisionTower,
        pixels: PixelCache,
        cache: Path,
        folds: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.image_px = pixels.image_px
        head = part_sha256(tower.encoder, "heads")
        parts = [*tower.seeing.image_key, f"tokens {VERSION} {tower.config.grid}", head]
        sizes = pixels.sizes()
        files = [feature_file(cache / "features", pixels.key(shard), *parts) for shard, _ in sizes]
        starts = np.cumsum([0, *(rows for _, rows in sizes)])
        if not all(file.exists() for file in files):
            features = FeatureCache(pixels, tower.seeing, cache, tower.config.grid or None)
            progress = Progress("tokens of pictures", int(starts[-1]), "pictures")
            for file, first, end in zip(files, starts, starts[1:], strict=False):
                with alone(file):
                    if not file.exists():
                        rows = np.arange(first, end)
                        made = _tokens(features, rows, tower, progress)
                        write_arrays({"tokens": file}, len(rows), made)
        self._tokens = ShardArrays(files, starts)
        self._reader, self._folds = tower.features, folds
        self._features = FeatureCache(pixels, tower.seeing, cache) if tower.features is not None else None

    def take(self, rows: npt.NDArray[np.int64], /) -> Kept:
        """Tokens ``[N, 1 + grid², D]`` of catalogue rows, in the order asked for.

        Where the tower reads features they are packed behind the tokens, and behind those, if heads may have
        seen some of the products, what heads say that have not.
        """
        tokens = self._tokens.take(rows)
        if self._features is None or self._reader is None:
            return tokens
        features = torch.from_numpy(self._features.take(rows))
        parts = [tokens, self._reader.packed(features.half()).numpy()]
        if self._folds is not None and (self._folds[rows] >= 0).any():
            folds = torch.from_numpy(self._folds[rows])
            parts.append(
                self._reader.packed(self._reader.held_out_scores(features, folds).half().cpu()).numpy()
            )
        return np.concatenate(parts, axis=1)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def fit_heads(self, values: StatedValues, columns: Sequence[Fact]) -> None:
        """Fit the tower's heads on what products of the train split state."""
        assert self._features is not None and self._reader is not None
        some = values.sampled()
        features = torch.from_numpy(self._features.take(some.positions))
        self._reader.take_heads(
            fit_heads(self._reader.standard(features), some.targets(columns), some.groups)
        )


def _tokens(
    features: FeatureCache, rows: npt.NDArray[np.int64], tower: EncoderVisionTower, progress: Progress
) -> Iterator[dict[str, Kept]]:
    for start in range(0, len(rows), ROWS):
        chosen = rows[start : start + ROWS]
        if tower.config.grid:
            yield {"tokens": features.grid_vectors(chosen)}
        else:
            yield {"tokens": whole_tokens(tower.seeing, features.take(chosen))}
        progress.advance(len(chosen))


def reads_crops(params: ListingParams, paths: Paths) -> bool:
    """Whether a new model is to read the box of its photo's category: only if it can find boxes by itself.

    It can where its tower is the encoder's and stays so, for the dense head reads that tower's maps.
    """
    vision = params.vision
    return params.pretrained is None and vision.frozen and vision.crop and by_dense_head(paths.grounding)


def catalogue_pixels(paths: Paths, image_px: int, crop: bool) -> PixelCache:
    """Square pictures of every product: its whole picture, or the box of what is of its category.

    Raises:
        GroundingDataError: there are no boxes of these products.
    """
    threads = torch.get_num_threads()
    if not crop:
        return PixelCache(paths.catalogue, image_px, paths.cache, threads)
    return CropCache(paths.catalogue, category_boxes(paths).boxes, image_px, paths.cache, threads)


def category_boxes(paths: Paths) -> Grounding:
    """Where what is of its category is in each product's picture, in catalogue order.

    Raises:
        GroundingDataError: there are no boxes of these products.
    """
    names = [row["product_id"] for row in read_rows(paths.catalogue)]
    return read_grounding(paths.grounding, names, BY_CATEGORY)


def pictures_of(model: Any, note: Mapping[str, Any], paths: Paths) -> Pictures:
    """The catalogue's pictures as a trained model reads them; ``note`` is its listing.json."""
    return catalogue_pictures(tower_of(model), catalogue_pixels(paths, note["image_px"], note["crop"]), paths)


def catalogue_pictures(tower: Any, pixels: PixelCache, paths: Paths) -> Pictures:
    """The catalogue's pictures for a model with this vision tower.

    Args:
        pixels: as they are where the model wants pixels: its tower may change, or is of another library.
    """
    if isinstance(tower, EncoderVisionTower) and tower.config.frozen:
        heads = tower.features is not None and tower.features.told is not None
        return TowerPictures(tower, pixels, paths.cache, _folds(paths.catalogue) if heads else None)
    return pixels


def _folds(catalogue: Path) -> npt.NDArray[np.int64]:
    """The fold of each row of the train split; -1 elsewhere."""
    rows = read_rows(catalogue)
    return np.array([fold_of(row["group_id"]) if row["split"] == "train" else -1 for row in rows], np.int64)


def tower_of(model: Any) -> Any:
    """The vision tower of a model built here; None of others."""
    return getattr(getattr(model, "model", None), "vision_tower", None)
