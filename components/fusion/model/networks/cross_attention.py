"""Text and picture as two tokens that attend to each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.fusion.model.errors import FusionConfigurationError
from components.fusion.model.networks.layers import FusionNetwork, Perceptron, unit
from components.fusion.model.params import NetworkParams


class CrossAttention(FusionNetwork):
    """Text and picture as two tokens that attend to each other; their mean is added to the average."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__(dimension, params)
        if dimension % params.heads:
            raise FusionConfigurationError(
                f"fuse.network.heads {params.heads} does not divide the towers' dimension {dimension}."
            )
        self.kind = nn.Parameter(torch.randn(2, dimension) * 0.1)
        self.attention = nn.MultiheadAttention(
            dimension, params.heads, dropout=params.dropout, batch_first=True
        )
        self.out = Perceptron(dimension, dimension, params)

    def fused(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """unit(t + v) + MLP of the mean over the modalities that are there."""
        there = torch.stack([has_text, has_image], dim=1)
        tokens = self.gain * torch.stack([text, image], dim=1) + self.kind
        # A product with neither attends to both of its empty tokens: no softmax over nothing.
        hidden = ~there & there.any(dim=1, keepdim=True)
        attended, _ = self.attention(tokens, tokens, tokens, key_padding_mask=hidden, need_weights=False)
        weight = there.to(attended.dtype)[:, :, None]
        mean = (attended * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
        learned: Tensor = self.out(mean)
        return unit(text + image) + learned / self.gain
