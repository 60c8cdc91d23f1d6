"""A mixture of a text, an image and a cross expert."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.fusion.model.networks.layers import FusionNetwork, Perceptron, unit, zero_initialised
from components.fusion.model.params import NetworkParams

EXPERTS = ("text", "image", "cross")
FAR_BELOW = -1e4  # a gate's logit where its expert cannot speak: finite, so that no row becomes NaN


class Moe(FusionNetwork):
    """Text, image and cross experts under a softmax gate that sees [t; v; t * v]."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__(dimension, params)
        self.text = zero_initialised(nn.Linear(dimension, dimension, bias=False))
        self.image = zero_initialised(nn.Linear(dimension, dimension, bias=False))
        self.cross = Perceptron(2 * dimension, dimension, params)
        self.gate = zero_initialised(nn.Linear(3 * dimension, len(EXPERTS)))

    def gates(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """Weights ``[N, 3]`` that sum to 1; an expert whose modality is missing gets 0."""
        t, v = self.gain * text, self.gain * image
        logits: Tensor = self.gate(torch.cat([t, v, t * v], dim=-1))
        can_speak = torch.stack([has_text, has_image, has_text & has_image], dim=1)
        return logits.masked_fill(~can_speak, FAR_BELOW).softmax(dim=-1)

    def fused(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """Sum of the experts t + A t, v + B v and unit(t + v) + MLP([t; v]), weighted by ``gates``."""
        both = self.cross(self.gain * torch.cat([text, image], dim=-1)) / self.gain
        experts = (text + self.text(text), image + self.image(image), unit(text + image) + both)
        gates = self.gates(text, image, has_text, has_image)
        return sum((gates[:, i, None] * e for i, e in enumerate(experts)), torch.zeros_like(text))
