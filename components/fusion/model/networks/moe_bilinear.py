"""Beyond Text's network: the mixture of experts with a bilinear interaction."""

from __future__ import annotations

from torch import Tensor

from components.fusion.model.networks.layers import LowRankProduct
from components.fusion.model.networks.moe import Moe
from components.fusion.model.params import NetworkParams


class MoeBilinear(Moe):
    """The mixture of experts with the bilinear interaction added."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__(dimension, params)
        self.bilinear = LowRankProduct(dimension, params)

    def fused(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """The mixture's vectors + P((U t) * (V v))."""
        mixed = super().fused(text, image, has_text, has_image)
        learned: Tensor = self.bilinear(self.gain * text, self.gain * image)
        return mixed + learned / self.gain
