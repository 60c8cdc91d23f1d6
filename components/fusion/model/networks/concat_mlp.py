"""The usual baseline: a perceptron on both vectors side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from components.fusion.model.networks.layers import FusionNetwork, Perceptron, unit
from components.fusion.model.params import NetworkParams


class ConcatMlp(FusionNetwork):
    """The average plus a perceptron on both vectors side by side."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__(dimension, params)
        self.both = Perceptron(2 * dimension, dimension, params)

    def fused(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """unit(t + v) + MLP([t; v])."""
        learned: Tensor = self.both(self.gain * torch.cat([text, image], dim=-1))
        return unit(text + image) + learned / self.gain
