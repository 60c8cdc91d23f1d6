"""Product texts as a text tower reads them, with fields masked anew in each training step.

A frozen tower reads phrases: the title, the type, each attribute, each sentence of the description. Most of
them stand in many products, so each is read once, and a field is the mean of its phrases' features, a product
the mean of its fields'. Masking a field then costs nothing. A tower that is tuned, or that has no head, reads
the whole text, every field behind its marker (markers and masking after arXiv 2609.31498).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.towers.tokenizer import TextTokenizer
from components.fusion.model.data.product_text import MARKERS, field_text, phrases
from components.fusion.model.params import ProductTextParams

Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class ProductTexts(Protocol):
    """The texts of some products, as ``AlignedTowers.product_vectors`` takes them."""

    def draw(self, rows: Ints, rng: np.random.Generator | None) -> Tensor:
        """``rng`` decides which fields are masked, None masks nothing."""


def hidden_fields(
    shape: tuple[int, int], params: ProductTextParams, rng: np.random.Generator | None
) -> Flags:
    """Which fields of which products a step does not see."""
    if rng is None:
        return np.zeros(shape, dtype=bool)
    hidden: Flags = rng.random(shape) < np.array([params.masking[field] for field in params.fields])
    return hidden


@dataclass(frozen=True)
class FieldFeatures:
    """Features of fields by a frozen text tower.

    Attributes:
        features: float16 ``[P, fields, F]``. there: bool ``[P, fields]``, fields that say something.
    """

    features: npt.NDArray[np.float16]
    there: Flags
    params: ProductTextParams

    @classmethod
    def of(
        cls, rows: Sequence[Mapping[str, Any]], params: ProductTextParams, encoder: BatchEncoder
    ) -> FieldFeatures:
        """Read every phrase of the products that the cache does not know."""
        said = [[phrases(row, field) for field in params.fields] for row in rows]
        places: dict[str, int] = {}
        flat = [
            places.setdefault(phrase, len(places)) for fields in said for field in fields for phrase in field
        ]
        counts = np.array([[len(field) for field in fields] for fields in said], dtype=np.int64)
        counts = counts.reshape(len(rows), len(params.fields))
        known = torch.from_numpy(encoder.text_features(list(places) or [""])).float()
        starts = torch.from_numpy(np.cumsum(counts) - counts.ravel())
        phrase = torch.tensor(flat, dtype=torch.int64)
        total = F.embedding_bag(phrase, known, starts, mode="sum").numpy()
        means = total / counts.reshape(-1, 1).clip(1)
        return cls(means.reshape(*counts.shape, -1).astype(np.float16), counts > 0, params)

    def draw(self, rows: Ints, rng: np.random.Generator | None) -> Tensor:
        """``[len(rows), fields (F + 1)]``: each field's features, zero where it is not seen, and then, for
        each field, 1 where it is. A product all of whose fields would be masked keeps them all."""
        there = self.there[rows]
        seen = there & ~hidden_fields(there.shape, self.params, rng)
        seen = np.where(seen.any(axis=1, keepdims=True), seen, there)
        shown = torch.from_numpy(self.features[rows]).float().numpy() * seen[..., None]
        return torch.from_numpy(
            np.concatenate([shown.reshape(len(rows), -1), seen.astype(np.float32)], axis=1)
        )


class WholeTexts:
    """Whole product texts as tokens.

    Args:
        rows: products. params: fields and how often each is masked. tokenizer: of the text tower.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], params: ProductTextParams, tokenizer: TextTokenizer
    ) -> None:
        self._params, self._tokenizer = params, tokenizer
        self._fields = [[field_text(row, field) for field in params.fields] for row in rows]

    def draw(self, rows: Ints, rng: np.random.Generator | None) -> Tensor:
        """Tokens ``[len(rows), context]``; a product all of whose fields would be masked keeps them all."""
        hidden = hidden_fields((len(rows), len(self._params.fields)), self._params, rng)
        texts = [self._text(row, mask) for row, mask in zip(rows, hidden, strict=True)]
        return torch.from_numpy(self._tokenizer(texts))

    def _text(self, row: int, hidden: Flags) -> str:
        own = list(zip(self._params.fields, self._fields[row], hidden, strict=True))
        kept = [(field, text) for field, text, masked in own if text and not masked]
        return " ".join(f"{MARKERS[f]} {t}" for f, t in kept or [(f, t) for f, t, _ in own if t])
