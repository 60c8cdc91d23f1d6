"""What is learned on top of a tower: a small network on its features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_SPREAD = 1e-3  # a feature that never varies says nothing; it is not blown up


class Head(nn.Module):
    """Features ``[B, inputs]`` to L2-normalised vectors ``[B, outputs]``: standardise, one hidden layer.

    Frozen towers with small heads on their features: LiT (Zhai et al. 2022, arXiv 2111.07991).

    Args:
        dropout: of standardised features and of hidden units, in training.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(inputs, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, outputs),
        )

    def fit(self, features: Tensor) -> None:
        """Take mean and spread from features ``[N, inputs]`` of the train split."""
        self.mean.copy_(features.mean(dim=0))
        self.scale.copy_(1 / features.std(dim=0, correction=0).clamp_min(LEAST_SPREAD))

    def forward(self, features: Tensor) -> Tensor:
        """Vectors of features."""
        return F.normalize(self.layers((features - self.mean) * self.scale).float(), dim=-1)
