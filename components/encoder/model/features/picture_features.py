"""Features of every picture of a catalogue, computed in one pass: training reads each of them many times.

The arrays are a cache under ``.vitrine/cache``, keyed by the pictures' bytes, what is done to them, and all
that decides a feature: delete them and nothing changes but time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.pixels import PixelCache, alone
from components.stage.progress import Progress
from components.stage.publish import published

Features = npt.NDArray[np.float32]


def _name(pixels: PixelCache, encoder: BatchEncoder, shard: Path) -> str:
    """The file of a shard's features: all that decides them."""
    key = " ".join([pixels.key(shard), *encoder.image_key])
    return f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.npy"


class FeatureCache:
    """Picture features of every product, memory-mapped.

    Args:
        pixels: the pictures, or crops of them, as they are decoded. encoder: the frozen tower, in batches.
        cache: where the arrays are kept.
    """

    def __init__(self, pixels: PixelCache, encoder: BatchEncoder, cache: Path) -> None:
        self._pixels, self._encoder, self._folder = pixels, encoder, cache / "features"
        self._starts = np.cumsum([0, *(rows for _, rows in pixels.sizes())])
        self._arrays = [np.load(file, mmap_mode="r") for file in self._files()]

    @classmethod
    def kept(cls, pixels: PixelCache, encoder: BatchEncoder, cache: Path) -> FeatureCache | None:
        """The features of all pictures, if somebody has computed them; None else, and nothing is computed."""
        folder = cache / "features"
        whole = all((folder / _name(pixels, encoder, shard)).exists() for shard, _ in pixels.sizes())
        return cls(pixels, encoder, cache) if whole else None

    def _files(self) -> list[Path]:
        files = [
            (shard, rows, self._folder / _name(self._pixels, self._encoder, shard))
            for shard, rows in self._pixels.sizes()
        ]
        missing = [(shard, rows, file) for shard, rows, file in files if not file.exists()]
        progress = Progress("picture features", sum(rows for _, rows, _ in missing), "pictures")
        for shard, rows, file in missing:
            with alone(file):
                if not file.exists():  # else another process has just made it
                    self._compute(shard, rows, file, progress)
        return [file for _, _, file in files]

    def _compute(self, shard: Path, rows: int, file: Path, progress: Progress) -> None:
        array, at = None, 0
        with published(file) as temporary:
            for batch in self._pixels.decoded(shard):
                features = self._encoder.pixel_features(np.stack(batch))
                if array is None:
                    shape = (rows, features.shape[1])
                    array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
                array[at : at + len(batch)] = features
                at += len(batch)
                progress.advance(len(batch))
            if array is None:  # a shard without products
                array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=(0, 1))
            array.flush()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: npt.NDArray[np.int64]) -> Features:
        """Features ``[len(rows), F]`` of catalogue rows, in the order asked for."""
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        width = self._arrays[0].shape[1] if self._arrays else 0
        out = np.empty((len(rows), width), dtype=np.float16)
        for s in np.unique(shard):
            chosen = shard == s
            out[chosen] = self._arrays[s][rows[chosen] - self._starts[s]]
        wide: Features = torch.from_numpy(out).float().numpy()  # several times faster than numpy's own
        return wide

    def vectors(self, rows: npt.NDArray[np.int64]) -> Features:
        """Vectors ``[len(rows), D]`` of catalogue rows."""
        return self._encoder.image_vectors(self.take(rows))
