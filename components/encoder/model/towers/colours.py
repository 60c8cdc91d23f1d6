"""What colours a picture has: histograms in CIELAB, which a tower trained to ignore light does not keep."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 6  # per channel
REGIONS = 3  # the middle, the whole, and what stands out from the ground
COLOUR_WIDTH = REGIONS * BINS**3
LEAST_PX = 32  # pictures are averaged down to at least this side first: colours need no detail
STANDS_OUT = 10.0  # CIELAB distance from the rim's colour; 2.3 is just noticeable
# Of sRGB to XYZ under daylight D65 (IEC 61966-2-1), rows already divided by the white point.
TO_XYZ = (
    (0.4339530, 0.3762203, 0.1898267),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0177567, 0.1094680, 0.8727752),
)
LOW = (0.0, -60.0, -60.0)  # of the bins' range per channel; what lies outside falls into the outer bins
HIGH = (100.0, 60.0, 60.0)


def to_lab(pixels: Tensor) -> Tensor:
    """sRGB ``[B, 3, H, W]`` in 0..255 to CIELAB of the same shape (L in 0..100)."""
    value = (pixels.float() / 255).clamp(0, 1)
    linear = torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("ij,bjhw->bihw", torch.tensor(TO_XYZ, device=pixels.device), linear)
    root = torch.where(xyz > 216 / 24389, xyz.clamp_min(1e-9) ** (1 / 3), (24389 / 27 * xyz + 16) / 116)
    x, y, z = root.unbind(dim=1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def colour_statistics(pixels: Tensor) -> Tensor:
    """Pictures ``[B, 3, H, W]`` in 0..255 to ``[B, COLOUR_WIDTH]``: square roots of joint histograms.

    The square root (Hellinger kernel) keeps a large plain ground from drowning the product.
    """
    by = max(1, pixels.shape[-1] // LEAST_PX)
    lab = to_lab(F.avg_pool2d(pixels.float(), by))
    side = lab.shape[-1]
    edge = side // 4
    middle = torch.zeros(side, side, dtype=torch.bool, device=lab.device)
    middle[edge : side - edge, edge : side - edge] = True
    every = torch.ones_like(middle)
    rims = torch.cat([lab[:, :, 0], lab[:, :, -1], lab[:, :, :, 0], lab[:, :, :, -1]], dim=-1)
    ground = rims.median(dim=-1).values[:, :, None, None]
    seen = (lab - ground).norm(dim=1) > STANDS_OUT
    masks = torch.stack([middle.expand_as(seen), every.expand_as(seen), seen], dim=1)
    return _histograms(_bin_of(lab), masks).sqrt().flatten(1)


def _bin_of(lab: Tensor) -> Tensor:
    """The joint bin ``[B, H, W]`` of each pixel."""
    low, high = (torch.tensor(x, device=lab.device).view(1, 3, 1, 1) for x in (LOW, HIGH))
    cell = ((lab - low) / (high - low) * BINS).long().clamp(0, BINS - 1)
    return (cell[:, 0] * BINS + cell[:, 1]) * BINS + cell[:, 2]


def _histograms(bins: Tensor, masks: Tensor) -> Tensor:
    """Share of each bin in each region: ``[B, H, W]`` and ``[B, R, H, W]`` to ``[B, R, BINS**3]``.

    A region without pixels has zeros everywhere.
    """
    count = masks.shape[1]
    index = bins.flatten(1)[:, None].expand(-1, count, -1)
    out = torch.zeros(len(bins), count, BINS**3, device=bins.device)
    out.scatter_add_(2, index, masks.flatten(2).float())
    return out / out.sum(dim=-1, keepdim=True).clamp_min(1.0)
