"""The baseline that learns no network: colour histograms of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.query_types import words

Floats = npt.NDArray[np.float32]


def histograms(pixels: npt.NDArray[np.uint8], bins: int) -> Floats:
    """Joint RGB histogram of each picture's middle, ``[N, bins**3]``, square-rooted and L2-normalised.

    The outer sixth on every side is left out: it is mostly ground. The square root (Hellinger kernel) keeps
    a big plain background from drowning the product.
    """
    out = np.zeros((len(pixels), bins**3), dtype=np.float32)
    edge = pixels.shape[1] // 6
    for row, picture in zip(out, pixels, strict=True):
        middle = picture[edge : len(picture) - edge, edge : len(picture) - edge].reshape(-1, 3)
        cell = (middle.astype(np.int64) * bins) // 256
        index = (cell[:, 0] * bins + cell[:, 1]) * bins + cell[:, 2]
        row += np.bincount(index, minlength=bins**3)
    out = np.sqrt(out)
    normalised: Floats = out / np.linalg.norm(out, axis=1, keepdims=True)
    return normalised


def histograms_of(pixels: PixelCache, rows: npt.NDArray[np.int64], bins: int) -> Floats:
    """Histograms of catalogue rows; memory holds a part of the pictures at a time."""
    out = np.zeros((len(rows), bins**3), dtype=np.float32)
    for places, part in pixels.fresh(rows):
        out[places] = histograms(part, bins)
    return out


class ColourHistogram:
    """Ranks pictures for a text by the colours that its words go with.

    Each word of the training captions gets the mean histogram of the pictures it describes, minus the mean
    of all: "red" points at red. A text's histogram is the sum over its words, rarer words counting more.

    Args:
        histogram: of the train split's pictures. words_at: the rows of it that each word stands in.
    """

    def __init__(self, histogram: Floats, words_at: Mapping[str, list[int]]) -> None:
        self._mean = histogram.mean(axis=0)
        self._shift = {w: histogram[at].mean(axis=0) - self._mean for w, at in words_at.items()}
        self._weight = {w: np.log(len(histogram) / len(at)) for w, at in words_at.items()}

    def query(self, text: str) -> Floats:
        """The histogram that a text points at, ``[bins**3]``."""
        total: Floats = np.zeros_like(self._mean)
        for word in sorted(words(text) & self._shift.keys()):
            total += self._weight[word] * self._shift[word]
        return total

    def scores(self, texts: Sequence[str], histogram: Floats) -> Floats:
        """``[texts, rows]``: how well the colours of candidates match."""
        wanted = np.stack([self.query(t) for t in texts])
        norm = np.linalg.norm(wanted, axis=1, keepdims=True)
        match: Floats = (wanted / np.maximum(norm, 1e-9)) @ (histogram - self._mean).T
        return match
