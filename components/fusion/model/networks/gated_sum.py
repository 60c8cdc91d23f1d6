"""A gate per dimension between the two vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.fusion.model.networks.layers import FusionNetwork, zero_initialised
from components.fusion.model.params import NetworkParams


class GatedSum(FusionNetwork):
    """A gate per dimension between the two vectors (gated multimodal unit, Arevalo et al. 2017)."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__(dimension, params)
        self.gate = zero_initialised(nn.Linear(2 * dimension, dimension))

    def fused(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """g * t + (1 - g) * v with g = sigmoid(W [t; v]), a gate ``[N, D]``."""
        share = torch.sigmoid(self.gate(self.gain * torch.cat([text, image], dim=-1)))
        return share * text + (1 - share) * image
