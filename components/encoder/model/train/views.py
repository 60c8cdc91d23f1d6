"""Random views of pictures: crop, aspect, mirror and brightness, on a whole batch at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from components.encoder.model.params import Augmentation

Floats = npt.NDArray[np.float64]


def random_views(pixels: Tensor, side_px: int, params: Augmentation, rng: np.random.Generator) -> Tensor:
    """One random view of each picture.

    Args:
        pixels: ``[B, H, W, 3]`` uint8.
        side_px: side of the views.
        rng: draws everything; the same state gives the same views on any device.

    Returns:
        ``[B, 3, side_px, side_px]`` float32 in 0..255 (brightness may leave the range).
    """
    count = len(pixels)
    area = rng.uniform(params.minimum_area, 1.0, count)
    ratio = np.exp(rng.uniform(-params.aspect_jitter, params.aspect_jitter, count) / 2)
    width, height = np.minimum(np.sqrt(area) * ratio, 1), np.minimum(np.sqrt(area) / ratio, 1)
    shift_x, shift_y = (rng.uniform(-1, 1, count) * (1 - side) for side in (width, height))
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0) if params.flip else np.ones(count)
    light = 1 + rng.uniform(-params.brightness, params.brightness, count).astype(np.float32)
    grid = torch.from_numpy(crop_grid(width * mirror, height, shift_x, shift_y, side_px)).to(pixels.device)
    images = pixels.permute(0, 3, 1, 2).float()
    if images.shape[-1] > side_px:
        # Bilinear sampling reads four pixels: without this a smaller view would alias.
        images = F.interpolate(images, size=side_px, mode="area")
    views = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return views * torch.from_numpy(light).to(pixels.device).view(-1, 1, 1, 1)


def crop_grid(width: Floats, height: Floats, x: Floats, y: Floats, side_px: int) -> npt.NDArray[np.float32]:
    """Where a view's pixels lie in its picture, for ``grid_sample``: ``[B, side_px, side_px, 2]`` in -1..1.

    ``affine_grid`` of a scaling and a shift; without rotation, columns and rows are computed once each.

    Args:
        width, height: ``[B]`` of the crops in a picture's, negative to mirror. x, y: ``[B]`` their centres.
    """
    middle = (2 * np.arange(side_px) + 1) / side_px - 1
    grid = np.empty((len(width), side_px, side_px, 2), dtype=np.float32)
    grid[..., 0] = (middle * width[:, None] + x[:, None])[:, None, :]
    grid[..., 1] = (middle * height[:, None] + y[:, None])[:, :, None]
    return grid
