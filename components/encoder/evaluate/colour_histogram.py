"""The baseline that learns no network: colour histograms of pictures, and a look-up of product types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.encoder.model.features.captions import attribute_text
from components.encoder.model.features.pixels import PixelCache

Floats = npt.NDArray[np.float32]
AT_ONCE = 512  # pictures
WORD = re.compile(r"[^\W\d_]+")


def words(text: str) -> set[str]:
    """Lower-cased words of a text, a plural ``s`` removed."""
    found = (w.lower() for w in WORD.findall(text))
    return {w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in found}


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
    parts = [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
    return np.concatenate(
        [np.zeros((0, bins**3), np.float32), *(histograms(pixels.take(p), bins) for p in parts)]
    )


class ColourHistogram:
    """Ranks pictures for a text by the type that the text names and the colours its words go with.

    Each word of the training captions gets the mean histogram of the pictures it describes, minus the mean
    of all: "red" points at red. A text's histogram is the sum over its words, rarer words counting more.
    It knows every candidate's product type from the catalogue, which the encoder has to see.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], histogram: Floats) -> None:
        self._mean = histogram.mean(axis=0)
        self._types = {r["product_type"]: words(r["product_type"]) for r in rows}
        postings: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            for word in words(f"{row['title']} {attribute_text(row['attributes'])}"):
                postings.setdefault(word, []).append(i)
        self._shift = {w: histogram[at].mean(axis=0) - self._mean for w, at in postings.items()}
        self._weight = {w: np.log(len(rows) / len(at)) for w, at in postings.items()}
        # Words that go with one type nearly always ("trainers" with shoe) also name it.
        self._type_of_word = {w: _dominant(rows, at) for w, at in postings.items()}

    def named_types(self, text: str) -> set[str]:
        """Product types that a text names, by their own words or by words that go with one type only."""
        asked = words(text)
        exact = {t for t, own in self._types.items() if own <= asked}
        return exact or {t for w in asked if (t := self._type_of_word.get(w))}

    def query(self, text: str) -> Floats:
        """The histogram that a text points at, ``[bins**3]``."""
        known = [w for w in words(text) if w in self._shift]
        total: Floats = np.zeros_like(self._mean)
        for word in sorted(known):
            total += self._weight[word] * self._shift[word]
        return total

    def scores(self, texts: Sequence[str], rows: Sequence[dict[str, Any]], histogram: Floats) -> Floats:
        """``[texts, rows]``: colour match, plus 10 where the candidate has a type that the text names."""
        wanted = np.stack([self.query(t) for t in texts])
        norm = np.linalg.norm(wanted, axis=1, keepdims=True)
        match: Floats = (wanted / np.maximum(norm, 1e-9)) @ (histogram - self._mean).T
        types = [r["product_type"] for r in rows]
        for row, text in zip(match, texts, strict=True):
            named = self.named_types(text)
            row += np.fromiter((10.0 * (t in named) for t in types), dtype=np.float32, count=len(types))
        return match


def _dominant(rows: Sequence[dict[str, Any]], at: Sequence[int]) -> str | None:
    types = [rows[i]["product_type"] for i in at]
    best = max(sorted(set(types)), key=types.count)
    return best if len(at) >= 5 and types.count(best) >= 0.9 * len(at) else None
