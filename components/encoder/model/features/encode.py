"""Pictures and texts to features and vectors, in batches of fixed shapes, each computed once.

A tower's features are what costs time, and they are kept by all that decides them; the heads on them cost
next to nothing and are computed afresh. A kernel is chosen by shape, and its rounding with it: every batch
has one of a few shapes, so a vector is the same bits whichever of its neighbours were in the cache.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import timm
import torch
from torch import Tensor

from components.encoder.model.features.folded import folded
from components.encoder.model.features.pixels import square
from components.encoder.model.features.vector_cache import VectorCache, Vectors, key_of
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.files import LoadedEncoder
from components.stage.resources.accelerator import autocast, computed_in, device

VERSION = "2"  # of a picture's features: raise it when the same tower gives others
TEXT_STEP = 2  # a text's row is padded to a multiple of so many tokens
ONE_VIEW = (
    "This encoder reads a picture together with the box of its product (vlclip); without a box the whole "
    "picture stands for both, which finds less on cluttered pictures."
)
# so many batches of texts are put in order of length together: one batch of each length is not full
SORTED_TEXTS = 256
LIBRARIES = tuple(f"{m.__name__} {m.__version__}" for m in (torch, timm, open_clip))  # that compute features
FEATURE_BATCH, FEATURE_PRECISION = 64, "bf16"  # the same in every stage, so that all share one cache


def as_kept(features: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    """Features as caches keep them: half precision, finer than the bfloat16 they are computed in."""
    limit = np.finfo(np.float16).max
    return features.clip(-limit, limit).astype(np.float16)


def _padded(batch: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Repeat the last row up to ``size`` rows."""
    return (
        np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
        if len(batch) < size
        else batch
    )


class PictureEncoder:
    """Encodes pictures with one image tower, batch size and precision.

    Args:
        encoder: in evaluation mode from now on; its image tower must not change while this is in use.
        image_sha256: of all that decides a picture's features. batch_size: rows per forward pass.
        precision: asked for, of the tower (:func:`computed_in`); heads compute in fp32.
    """

    def __init__(self, encoder: Encoder, image_sha256: str, batch_size: int, precision: str) -> None:
        self.batch_size, self.device = batch_size, device()
        self.precision = computed_in(precision, self.device)
        self.encoder = encoder.to(self.device, memory_format=torch.channels_last).eval()
        self.computed = (self.precision, str(batch_size), self.device.type, *LIBRARIES)
        self.image_sha256 = image_sha256
        self.image_key = (f"image features {VERSION}", image_sha256, *self.computed)

    @cached_property
    def _eyes(self) -> Encoder:
        """The encoder as it looks at pictures."""
        return folded(self.encoder)

    def _run(
        self, forward: Callable[[Tensor], Tensor], rows: npt.NDArray[Any], size: int, precision: str
    ) -> Vectors:
        """``forward`` of ``rows`` in batches of ``size`` rows."""
        parts = []
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            tensor = torch.from_numpy(_padded(part, size)).to(self.device)
            with torch.inference_mode(), autocast(self.device, precision):
                parts.append(forward(tensor)[: len(part)].float().cpu().numpy())
        found: Vectors = np.concatenate(parts)
        return found

    def vectors_of(self, head: Callable[[Tensor], Tensor], features: npt.NDArray[Any]) -> Vectors:
        """What a head makes of features ``[N, F]``, in fp32."""
        return self._run(head, features.astype(np.float32), self.batch_size, "fp32")

    def image_vectors(self, features: npt.NDArray[Any]) -> Vectors:
        """Vectors ``[N, D]`` of picture features ``[N, F]``, or of all views (:meth:`Encoder.image_vectors`).

        An encoder of several views warns where it gets the whole picture alone.
        """
        if self.encoder.views > 1 and features.shape[1] == self.encoder.view_width:
            warnings.warn(ONE_VIEW, stacklevel=2)
        return self.vectors_of(self.encoder.image_vectors, features)

    def pixel_features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
        """Features ``[N, F]`` of square pictures ``[N, px, px, 3]``, computed afresh."""
        forward = self._eyes.image_features
        found = self._run(lambda t: forward(t.permute(0, 3, 1, 2)), pixels, self.batch_size, self.precision)
        return as_kept(found)

    def pixel_grid(
        self, pixels: npt.NDArray[np.uint8], grid: int
    ) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]]:
        """Features ``[N, F]`` and those of their cells ``[N, grid², C]``, in one pass."""
        eyes = self._eyes  # made here: within a forward pass its weights would be of that pass

        def _together(batch: Tensor) -> Tensor:
            features, cells = eyes.grid_features(batch.permute(0, 3, 1, 2), grid)
            return torch.cat([features.float(), cells.float().flatten(1)], dim=1)

        found = as_kept(self._run(_together, pixels, self.batch_size, self.precision))
        width = self.encoder.feature_width
        return found[:, :width], found[:, width:].reshape(len(found), grid**2, -1)

    def grid_vectors(self, features: npt.NDArray[Any], cells: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
        """Vectors ``[N, 1 + grid², D]`` of features ``[N, F]`` and cells ``[N, grid², C]``; whole first."""
        width = features.shape[1]

        def _together(rows: Tensor) -> Tensor:
            parts = rows[:, width:].unflatten(1, cells.shape[1:])
            whole, vectors = self.encoder.grid_vectors(rows[:, :width], parts)
            return torch.cat([whole[:, None], vectors], dim=1)

        rows = np.concatenate([features, cells.reshape(len(cells), -1)], axis=1).astype(np.float32)
        return as_kept(self._run(_together, rows, self.batch_size, "fp32"))

    def pixel_vectors(self, pixels: npt.NDArray[np.uint8]) -> Vectors:
        """Vectors ``[N, D]`` of square pictures ``[N, px, px, 3]``, computed afresh."""
        return self.image_vectors(self.pixel_features(pixels))


class BatchEncoder(PictureEncoder):
    """Encodes pictures and texts with one model, batch size and precision.

    Args:
        model: weights, tokenizer and preprocessing. batch_size: rows per forward pass.
        precision: asked for, of the towers (:func:`computed_in`); heads compute in fp32.
        cache: folder of known features; None keeps them in memory.
    """

    def __init__(
        self, model: LoadedEncoder, batch_size: int, precision: str, cache: Path | None = None
    ) -> None:
        super().__init__(model.encoder, model.image_sha256, batch_size, precision)
        self.model, self.cache = model, VectorCache(cache)
        self.text_key = ("text features", model.text_sha256, *self.computed)

    def text_vectors(self, features: npt.NDArray[Any]) -> Vectors:
        """Vectors ``[N, D]`` of text features ``[N, F]``."""
        return self.vectors_of(self.encoder.text_vectors, features)

    def images(self, images: Iterable[bytes]) -> Iterator[Vectors]:
        """Vectors of encoded pictures, ``[<= batch_size, D]`` at a time."""
        items = ((key_of(*self.image_key, data), data) for data in images)
        for features in self.cache.fill(items, self._of_bytes, self.batch_size):
            yield self.image_vectors(features)

    def _of_bytes(self, images: Sequence[Any]) -> Vectors:
        pixels = np.stack([square(data, self.encoder.image_px) for data in images])
        return self.pixel_features(pixels).astype(np.float32)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors ``[N, D]`` of texts."""
        return self.text_vectors(self.text_features(texts))

    def text_features(self, texts: Sequence[str]) -> npt.NDArray[np.float16]:
        """Features ``[N, F]`` of texts; equal texts are encoded once."""
        places: dict[str, int] = {}
        at = [places.setdefault(text, len(places)) for text in texts]
        items = [(key_of(*self.text_key, text), text) for text in places]
        found = self.cache.fill(items, self._of_texts, self.batch_size * SORTED_TEXTS)
        features = as_kept(np.concatenate(list(found)))
        return features[at]

    def _of_texts(self, texts: Sequence[Any]) -> Vectors:
        tokens = self.model.tokenizer(texts)
        lengths = self._shapes(tokens)
        out: Vectors | None = None
        for length in np.unique(lengths):
            chosen = lengths == length
            rows = tokens[chosen, :length]
            part = self._run(self.encoder.text_features, rows, self.batch_size, self.precision)
            out = np.empty((len(tokens), part.shape[1]), dtype=np.float32) if out is None else out
            out[chosen] = part
        assert out is not None
        return as_kept(out).astype(np.float32)

    def _shapes(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many tokens of each row are read: a text's own length alone says so."""
        full = tokens.shape[1]
        if not self.encoder.trims_texts:
            return np.full(len(tokens), full, dtype=np.int64)
        lengths = self.model.tokenizer.lengths(tokens)
        stepped: npt.NDArray[np.int64] = np.minimum(-(-lengths // TEXT_STEP) * TEXT_STEP, full)
        return stepped
