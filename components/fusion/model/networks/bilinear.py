"""A low-rank product of both vectors beside their average."""

from __future__ import annotations

from torch import Tensor

from components.fusion.model.networks.layers import FusionNetwork, LowRankProduct, unit
from components.fusion.model.params import NetworkParams


class Bilinear(FusionNetwork):
    """The average plus the bilinear interaction."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__(dimension, params)
        self.bilinear = LowRankProduct(dimension, params)

    def fused(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """unit(t + v) + P((U t) * (V v))."""
        learned: Tensor = self.bilinear(self.gain * text, self.gain * image)
        return unit(text + image) + learned / self.gain
