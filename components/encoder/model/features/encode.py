"""Encoding pictures and texts in fixed-size batches, with the cache of vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.encoder.model.features.pixels import PixelCache, square
from components.encoder.model.features.vector_cache import VectorCache, Vectors, key_of
from components.encoder.model.towers.files import LoadedEncoder
from components.stage.accelerator import autocast, device


def _padded(batch: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Repeat the last row up to ``size`` rows.

    A kernel is chosen by shape, and its rounding with it: with every batch of one shape, a vector is the same
    bits whichever of its neighbours were in the cache.
    """
    return (
        np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
        if len(batch) < size
        else batch
    )


class BatchEncoder:
    """Encodes with one model, batch size and precision.

    Args:
        model: weights, tokenizer and preprocessing. batch_size: rows per forward pass.
        precision: ``bf16`` or ``fp32``. cache: folder of known vectors; None keeps them in memory.
    """

    def __init__(
        self, model: LoadedEncoder, batch_size: int, precision: str, cache: Path | None = None
    ) -> None:
        self.model, self.batch_size, self.precision = model, batch_size, precision
        self.device = device()
        self.encoder = model.encoder.to(self.device).eval()
        self.cache = VectorCache(cache)
        self._identity = (
            model.model_sha256,
            model.preprocessing_sha256,
            precision,
            str(batch_size),
            self.device.type,
        )

    def _run(self, forward: Callable[[Tensor], Tensor], rows: npt.NDArray[Any], keep: int) -> Vectors:
        tensor = torch.from_numpy(rows).to(self.device)
        with torch.inference_mode(), autocast(self.device, self.precision):
            vectors: Vectors = forward(tensor)[:keep].cpu().numpy()
        return vectors

    def _batches(self, rows: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
        return (rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size))

    def pixel_vectors(self, pixels: npt.NDArray[np.uint8]) -> Vectors:
        """Vectors ``[N, D]`` of square pictures ``[N, px, px, 3]``, computed afresh."""
        forward = self.encoder.encode_image
        return np.concatenate(
            [
                self._run(lambda t: forward(t.permute(0, 3, 1, 2)), _padded(b, self.batch_size), len(b))
                for b in self._batches(pixels)
            ]
        )

    def patch_vectors(self, pixels: npt.NDArray[np.uint8]) -> Vectors:
        """Patch vectors ``[N, rows, columns, D]`` of square pictures, computed afresh."""
        forward = self.encoder.encode_patches
        return np.concatenate(
            [
                self._run(lambda t: forward(t.permute(0, 3, 1, 2))[1], _padded(b, self.batch_size), len(b))
                for b in self._batches(pixels)
            ]
        )

    def images(self, images: Iterable[bytes]) -> Iterator[Vectors]:
        """Vectors of encoded pictures, ``[<= batch_size, D]`` at a time."""
        items = ((key_of("image", *self._identity, data), data) for data in images)
        return self.cache.fill(items, self._image_bytes, self.batch_size)

    def catalogue_images(self, images: Iterable[bytes], pixels: PixelCache) -> Iterator[Vectors]:
        """The same for the pictures of a catalogue in its order, read where they lie decoded."""
        items = ((key_of("image", *self._identity, data), row) for row, data in enumerate(images))

        def _vectors(rows: Sequence[Any]) -> Vectors:
            return self.pixel_vectors(pixels.take(np.asarray(rows, dtype=np.int64)))

        return self.cache.fill(items, _vectors, self.batch_size)

    def _image_bytes(self, images: Sequence[Any]) -> Vectors:
        return self.pixel_vectors(np.stack([square(data, self.encoder.image_px) for data in images]))

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors ``[N, D]`` of texts."""
        items = [(key_of("text", *self._identity, text), text) for text in texts]
        return np.concatenate(list(self.cache.fill(items, self._texts, self.batch_size)))

    def _texts(self, texts: Sequence[Any]) -> Vectors:
        tokens = self.model.tokenizer(texts)
        # The encoder cuts padding to the longest text of a batch: one full-length row keeps the shape fixed.
        longest = np.ones((1, tokens.shape[1]), dtype=np.int64)
        longest[0, -1] = self.model.tokenizer.vocabulary_size - 1
        return np.concatenate(
            [
                self._run(
                    self.encoder.encode_text, np.concatenate([_padded(b, self.batch_size), longest]), len(b)
                )
                for b in self._batches(tokens)
            ]
        )
