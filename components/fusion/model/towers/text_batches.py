"""Texts in batches of like length: the tower cuts padding to the longest text of a batch, and no shorter.

Beside product texts of forty tokens stand queries of eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.vector_cache import Vectors, key_of
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.files import LoadedEncoder

PARTS = 4  # of a training step's texts: more parts cost more in small products than they save
SHORT = 16  # tokens
AT_ONCE = 1024  # texts that are parted into short and long ones: of few, each part would be mostly padding


def encoded_by_length(encoder: Encoder, tokens: Tensor) -> Tensor:
    """``encoder.encode_text`` of tokens ``[B, L]`` in parts of like length, in the order given."""
    order = tokens.argmax(dim=-1).argsort(stable=True)
    parts = [encoder.encode_text(tokens[at]) for at in order.tensor_split(min(PARTS, len(tokens)))]
    return torch.cat(parts)[order.argsort()]


class TextBatchEncoder(BatchEncoder):
    """A :class:`BatchEncoder` that has two shapes for texts: short ones and others.

    A text's own length says which one it gets, so a vector is the same bits whatever stands beside it.
    """

    def __init__(
        self, model: LoadedEncoder, batch_size: int, precision: str, cache: Path | None = None
    ) -> None:
        super().__init__(model, batch_size, precision, cache)
        shapes = f"{batch_size}, texts of {SHORT} tokens apart"
        self._identity = (*self._identity[:3], shapes, self.device.type)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors ``[N, D]`` of texts."""
        items = [(key_of("text", *self._identity, text), text) for text in texts]
        return np.concatenate(list(self.cache.fill(items, self._texts, AT_ONCE)))

    def _texts(self, texts: Sequence[Any]) -> Vectors:
        tokens = self.model.tokenizer(texts)
        is_short = tokens.argmax(axis=1) < SHORT
        out = np.empty((len(tokens), self.model.encoder.embed_dim), dtype=np.float32)
        for chosen, length in ((is_short, min(SHORT, tokens.shape[1])), (~is_short, tokens.shape[1])):
            if chosen.any():
                out[chosen] = self._of_length(tokens[chosen], length)
        return out

    def _of_length(self, tokens: npt.NDArray[np.int64], length: int) -> Vectors:
        """Vectors of tokens in batches of one shape; a row of full length keeps the tower from cutting."""
        longest = np.ones((1, length), dtype=np.int64)
        longest[0, -1] = self.model.tokenizer.vocabulary_size - 1
        vectors = []
        for batch in self._batches(tokens[:, :length]):
            missing = np.repeat(batch[-1:], self.batch_size - len(batch), axis=0)
            rows = np.concatenate([batch, missing, longest])
            vectors.append(self._run(self.encoder.encode_text, rows, len(batch)))
        return np.concatenate(vectors)
