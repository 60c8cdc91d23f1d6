"""Tokens that stand for the whole picture's features, beside those of its places.

The tower's own tokens are what the encoder's head keeps of a picture: what products have in common with their
texts. Two more kinds say what is in the features besides. Some tokens are a learned linear map of all
features. Others are one of what linear heads, fitted beforehand and fixed, say about each value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.encoder.model.towers.heads import LEAST_SPREAD
from components.opal.model.language.value_heads import FOLDS, FittedHeads

MARK = 0.2  # standard deviation of the numbers that tell a token of heads from another


class FeatureTokens(nn.Module):
    """Features ``[B, F]`` to tokens ``[B, count, D]``.

    Args:
        inputs: features of a picture. size: of a token. learned: tokens of the features themselves.
        dropout: of features, in training. told, values: tokens of the heads, and the values they know.
    """

    def __init__(
        self, inputs: int, size: int, *, learned: int, dropout: float, told: int, values: int
    ) -> None:
        super().__init__()
        self.inputs, self.size, self.values = inputs, size, values if told else 0
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.dropout = nn.Dropout(dropout)
        self.learned: nn.Linear | None = None
        if learned:
            self.register_buffer("axes", torch.zeros(inputs, size))
            self.learned = nn.Linear(size, learned * size)
        self.told: nn.Linear | None = None
        if self.values:
            self.register_buffer("head_weight", torch.zeros(FOLDS, inputs, values))
            self.register_buffer("head_bias", torch.zeros(FOLDS, values))
            self.register_buffer("head_mean", torch.zeros(values))
            self.register_buffer("head_scale", torch.ones(values))
            self.told = nn.Linear(values, told * size)

    def rows(self, width: int) -> int:
        """How many rows of ``size`` numbers hold ``width`` numbers."""
        return -(-width // self.size)

    def packed(self, numbers: Tensor) -> Tensor:
        """Numbers ``[B, n]`` in rows of a token's size, ``[B, rows, size]``: so they travel with tokens."""
        rows = self.rows(numbers.shape[1])
        padded = nn.functional.pad(numbers, (0, rows * self.size - numbers.shape[1]))
        return padded.unflatten(1, (rows, self.size))

    def unpacked(self, packed: Tensor) -> Tensor:
        """The features ``[B, F]`` of packed ones."""
        return packed[:, : self.rows(self.inputs)].flatten(1)[:, : self.inputs].float()

    def standard(self, features: Tensor) -> Tensor:
        """Features ``[B, F]``, standardised."""
        return (features.float().to(self.mean.device) - self.mean) * self.scale

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def standardise(self, packed: Tensor) -> None:
        """Take mean and spread of the packed features of sample pictures."""
        features = self.unpacked(packed)
        self.mean.copy_(features.mean(dim=0))
        self.scale.copy_(1 / features.std(dim=0, correction=0).clamp_min(LEAST_SPREAD))
        if self.learned is not None:
            seen = self.standard(features)
            values, rows = torch.linalg.eigh(
                (seen @ seen.T).double()
            )  # as many as pictures: fewer than features
            kept = min(self.size, int((values > values[-1] * LEAST_SPREAD**2).sum()))
            scale = len(features) ** 0.5 / values[-kept:]
            self.axes.zero_()
            self.axes[:, :kept] = (seen.T.double() @ (rows[:, -kept:] * scale)).float()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def take_heads(self, heads: FittedHeads) -> None:
        """Use heads that were fitted on standardised features; their spread is that of held-out answers."""
        self.head_weight.copy_(heads.weight)
        self.head_bias.copy_(heads.bias)
        self.head_mean.copy_(heads.held_out.mean(dim=0))
        self.head_scale.copy_(1 / heads.held_out.std(dim=0, correction=0).clamp_min(LEAST_SPREAD))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def align(self, slots: Sequence[int], words: Tensor, marks: Tensor, generator: torch.Generator) -> None:
        """Let each head stand in one token, as its word ``[values, D]``, beside its mark ``[told, D]``."""
        assert self.told is not None
        weight = torch.zeros(self.told.out_features // self.size, self.size, self.values)
        for column, slot in enumerate(slots):
            weight[slot, :, column] = words[column]
        self.told.weight.copy_(weight.flatten(0, 1))
        self.told.bias.normal_(std=MARK, generator=generator)
        self.told.bias += marks.flatten()

    def scores(self, features: Tensor) -> Tensor:
        """What the heads say of features ``[B, F]`` that none of them has seen, ``[B, values]``."""
        with torch.autocast(features.device.type, enabled=False):
            seen = self.standard(features)
            said: Tensor = seen @ self.head_weight.mean(dim=0) + self.head_bias.mean(dim=0)
        return said

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def held_out_scores(self, features: Tensor, folds: Tensor) -> Tensor:
        """What the heads say of features that have not seen their fold, ``[B, values]``; -1: no fold."""
        said = self.scores(features)
        seen = self.standard(features)
        for fold in range(FOLDS):
            inside = (folds == fold).to(said.device)
            said[inside] = seen[inside] @ self.head_weight[fold] + self.head_bias[fold]
        return said

    def forward(self, packed: Tensor) -> Tensor:
        """Tokens of packed features, and, where they follow, of packed scores in place of the heads' own."""
        features = self.unpacked(packed)
        tokens = []
        if self.learned is not None:
            seen = self.dropout(self.standard(features) @ self.axes)
            tokens.append(self.learned(seen))
        if self.told is not None:
            given = packed[:, self.rows(self.inputs) :].flatten(1)[:, : self.values]
            said = given.float() if given.shape[1] else self.scores(features)
            tokens.append(self.told((said - self.head_mean) * self.head_scale))
        return torch.cat(tokens, dim=1).unflatten(1, (-1, self.size))


def feature_tokens(inputs: int, size: int, options: dict[str, Any] | None) -> FeatureTokens | None:
    """The module of a tower's configuration; None where it asks for no such token."""
    return FeatureTokens(inputs, size, **options) if options else None
