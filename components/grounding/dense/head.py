"""A small head on the maps of a frozen trunk: the product type of every cell, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Pixels ``[B, 3, H, W]`` in 0..255 to feature maps ``[B, C, h, w]``, finest first.
Maps = Callable[[Tensor], list[Tensor]]
OWN_SHARE = 0.5  # of a picture's own statistics in those that its maps are standardised by
LEAST_VARIANCE = 1e-6


class DenseHead(nn.Module):
    """Logits of every type and of nothing, on the finest of the maps that it reads.

    From the coarsest map to the finest (a top-down pathway, Lin et al. 2017, arXiv 1612.03144): the map is
    standardised and brought to ``hidden`` channels by a 1x1 convolution, what the coarser ones said is added,
    and a residual block of a depthwise 3x3 and a 1x1 convolution looks around. In training whole channels of
    the frozen features are dropped, or the head learns its scenes by heart.

    Args:
        channels: of each map, finest first. types: how many product types compete.
        dropout: share of channels.
    """

    def __init__(self, channels: Sequence[int], types: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.channels, self.types, self.hidden, self.dropout = list(channels), types, hidden, dropout
        for at, width in enumerate(channels):
            self.register_buffer(f"mean{at}", torch.zeros(width))
            self.register_buffer(f"variance{at}", torch.ones(width))
        self.inputs = nn.ModuleList(nn.Conv2d(width, hidden, 1) for width in channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
                nn.GELU(),
                nn.Conv2d(hidden, hidden, 1),
            )
            for _ in channels
        )
        self.classify = nn.Conv2d(hidden, types + 1, 1)

    def fit_scale(self, maps: Sequence[Tensor]) -> None:
        """Take mean and spread of every channel from maps ``[B, C, h, w]`` of training scenes."""
        for at, each in enumerate(maps):
            flat = each.float()
            getattr(self, f"mean{at}").copy_(flat.mean(dim=(0, 2, 3)))
            getattr(self, f"variance{at}").copy_(flat.var(dim=(0, 2, 3)))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits ``[B, types + 1, h, w]``; the last is that of nothing."""
        x: Tensor | None = None
        for at in reversed(range(len(self.channels))):
            level = self._standardised(maps[at], at)
            level = self.inputs[at](F.dropout2d(level, self.dropout, self.training))
            if x is not None:
                level = level + F.interpolate(x, size=level.shape[-2:], mode="bilinear", align_corners=False)
            x = F.gelu(level)
            x = x + self.blocks[at](x)
        logits: Tensor = self.classify(F.gelu(x))
        return logits

    def _standardised(self, maps: Tensor, at: int) -> Tensor:
        """Maps by a mixture of the training scenes' statistics and the picture's own.

        Composed scenes and photos differ in their features' statistics (style); a share of the picture's own,
        drawn for each scene in training, bridges that.
        """
        maps = maps.float()
        own_variance, own_mean = torch.var_mean(maps, dim=(2, 3), keepdim=True, correction=0)
        own = torch.rand(len(maps), 1, 1, 1, device=maps.device) if self.training else OWN_SHARE
        mean = own * own_mean + (1 - own) * getattr(self, f"mean{at}")[:, None, None]
        variance = own * own_variance + (1 - own) * getattr(self, f"variance{at}")[:, None, None]
        found: Tensor = (maps - mean) * torch.rsqrt(variance + LEAST_VARIANCE)
        return found
