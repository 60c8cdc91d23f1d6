"""Features of every picture of a catalogue, computed in one pass: training reads each of them many times.

The arrays are a cache under ``.vitrine/cache``, keyed by the pictures' bytes, what is done to them, and all
that decides a feature: delete them and nothing changes but time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from components.encoder.model.features.encode import PictureEncoder
from components.encoder.model.features.further import Views, all_pictures, means_of
from components.encoder.model.features.pixels import PixelCache, shared_out
from components.encoder.model.towers.dual_encoder import Encoder
from components.stage.files.publish import published
from components.stage.progress import Progress

Features = npt.NDArray[np.float32]
Kept = npt.NDArray[np.float16]
CELLS = 4  # of a side of the grid whose features are kept where listings will be asked for them


def feature_file(folder: Path, *parts: str) -> Path:
    """The file of a shard's features: ``parts`` are all that decides them."""
    return folder / f"{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:40]}.npy"


class ShardArrays:
    """A memory-mapped array for each shard of a catalogue, read by catalogue row."""

    def __init__(self, files: Sequence[Path], starts: npt.NDArray[np.int64]) -> None:
        self._arrays: list[Kept] = [np.load(file, mmap_mode="r") for file in files]
        self._starts = starts

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: npt.NDArray[np.int64]) -> Kept:
        """What is kept of catalogue rows, in the order asked for."""
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        shape = next((array.shape[1:] for array in self._arrays if len(array)), (0,))
        out = np.empty((len(rows), *shape), dtype=np.float16)
        for s in np.unique(shard):
            chosen = shard == s
            out[chosen] = self._arrays[s][rows[chosen] - self._starts[s]]
        return out


def write_arrays(files: Mapping[str, Path], rows: int, parts: Iterator[Mapping[str, Kept]]) -> None:
    """Publish an array of ``rows`` rows under each name's file, whole or not at all, part by part.

    Args:
        parts: the next rows of each array; others' names are passed over.
    """
    arrays: dict[str, Any] = {}
    at = 0
    with ExitStack() as stack:
        temporary = {name: stack.enter_context(published(file)) for name, file in files.items()}
        for part in parts:
            for name, path in temporary.items():
                if name not in arrays:
                    arrays[name] = _opened(path, (rows, *part[name].shape[1:]))
                arrays[name][at : at + len(part[name])] = part[name]
            at += len(next(iter(part.values())))
        for name, path in temporary.items():
            (arrays[name] if name in arrays else _opened(path, (0, 1))).flush()  # a shard without products


def _opened(path: Path, shape: tuple[int, ...]) -> Any:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)


class FeatureCache:
    """Picture features of every product, memory-mapped.

    Stages share them where they ask for the same: ``CELLS`` cells a side, ``FEATURE_BATCH`` at a time, in
    ``FEATURE_PRECISION``. With another ``listing.vision.grid`` the listing model looks at each picture once
    more, for its cells; with another ``precision`` or ``batch_size`` a stage does so for all features.

    Args:
        pixels: the pictures, or crops of them, as they are decoded. encoder: the frozen tower, in batches.
        cache: where the arrays are kept. grid: keep the features of so many cells a side too, from the same
            look at a picture. views: of each product, whose vector is the mean of theirs; None: of its main
            picture alone. They lie in ``pixels``.
    """

    def __init__(
        self,
        pixels: PixelCache,
        encoder: PictureEncoder,
        cache: Path,
        grid: int | None = None,
        views: Views | None = None,
    ) -> None:
        self._pixels, self._encoder, self._folder = pixels, encoder, cache / "features"
        self._grid, self._views = grid, views
        files = self._files()
        starts = np.cumsum([0, *(rows for _, rows in pixels.sizes())])
        self._pooled = ShardArrays([of["pooled"] for of in files], starts)
        self._cells = ShardArrays([of["cells"] for of in files], starts) if grid else None

    @classmethod
    def of_products(cls, catalogue: Path, encoder: PictureEncoder, cache: Path, threads: int) -> FeatureCache:
        """Whose vectors are products' as the encoder wants them, of main pictures or of all."""
        pixels, views = product_pictures(catalogue, encoder.encoder, cache, threads)
        return cls(pixels, encoder, cache, views=views)

    @classmethod
    def kept(cls, catalogue: Path, encoder: PictureEncoder, cache: Path, threads: int) -> FeatureCache | None:
        """As ``of_products``, if somebody has computed all features; None else, and nothing is computed."""
        pixels, views = product_pictures(catalogue, encoder.encoder, cache, threads)
        files = (feature_file(cache / "features", *_parts(pixels, encoder, s)) for s, _ in pixels.sizes())
        return cls(pixels, encoder, cache, views=views) if all(file.exists() for file in files) else None

    def _files(self) -> list[dict[str, Path]]:
        """Each shard's files, after what was missing is made."""
        files = []
        for shard, _ in self._pixels.sizes():
            parts = _parts(self._pixels, self._encoder, shard)
            named = {"pooled": feature_file(self._folder, *parts)}
            if self._grid:
                named["cells"] = feature_file(self._folder, *parts, f"cells {self._grid}")
            files.append(named)
        todo = [
            (shard, rows, named)
            for (shard, rows), named in zip(self._pixels.sizes(), files, strict=True)
            if not _there(named)
        ]
        progress = Progress("picture features", sum(rows for _, rows, _ in todo), "pictures")
        of = {named["pooled"]: (shard, rows, named) for shard, rows, named in todo}
        for file in shared_out(list(of), lambda file: _there(of[file][2])):
            shard, rows, named = of[file]
            missing = {name: each for name, each in named.items() if not each.exists()}
            write_arrays(missing, rows, self._computed(shard, progress))
        return files

    def _computed(self, shard: Path, progress: Progress) -> Iterator[dict[str, Kept]]:
        """Features of a shard's pictures as they are decoded."""
        for batch in self._pixels.decoded(shard):
            pixels = np.stack(batch)
            if self._grid is None:
                yield {"pooled": self._encoder.pixel_features(pixels)}
            else:
                pooled, cells = self._encoder.pixel_grid(pixels, self._grid)
                yield {"pooled": pooled, "cells": cells}
            progress.advance(len(batch))

    def __len__(self) -> int:
        return len(self._pooled)

    def take(self, rows: npt.NDArray[np.int64]) -> Features:
        """Features ``[len(rows), F]`` of catalogue rows, in the order asked for."""
        wide: Features = torch.from_numpy(self._pooled.take(rows)).float().numpy()  # faster than numpy's own
        return wide

    def vectors(self, rows: npt.NDArray[np.int64]) -> Features:
        """Vectors ``[len(rows), D]`` of catalogue rows."""
        main = self._encoder.image_vectors(self.take(rows))
        if self._views is None:
            return main
        places, counts = self._views.further(rows)
        return means_of(main, self._encoder.image_vectors(self.take(places)), counts) if len(places) else main

    def grid_vectors(self, rows: npt.NDArray[np.int64]) -> Kept:
        """Vectors ``[len(rows), 1 + grid², D]`` of catalogue rows and of their cells, the whole first."""
        assert self._cells is not None, "this cache was asked to keep no cells"
        return self._encoder.grid_vectors(self._pooled.take(rows), self._cells.take(rows))


def product_pictures(
    catalogue: Path, encoder: Encoder, cache: Path, threads: int
) -> tuple[PixelCache, Views | None]:
    """The pictures that the encoder makes products' vectors of, and the further ones of each product."""
    if encoder.all_pictures:
        return all_pictures(catalogue, encoder.image_px, cache, threads)
    return PixelCache(catalogue, encoder.image_px, cache, threads), None


def _parts(pixels: PixelCache, encoder: PictureEncoder, shard: Path) -> list[str]:
    """All that decides the features of a shard."""
    return [pixels.key(shard), *encoder.image_key]


def _there(files: Mapping[str, Path]) -> bool:
    return all(file.exists() for file in files.values())
