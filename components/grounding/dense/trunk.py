"""The maps of a frozen image tower that a dense head reads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from components.encoder.model.features.folded import folded
from components.encoder.model.towers.dual_encoder import Encoder
from components.grounding.dense.head import Maps
from components.stage.resources.accelerator import autocast, device

FINEST_STRIDE = 8  # pixels of a cell of the finest map that is read


def trunk_maps(encoder: Encoder, precision: str) -> Maps:
    """Maps of strides 8 and coarser of a convolutional trunk, or the one grid of a transformer.

    A transformer reads squares of its own size only, so pictures are stretched to it.

    Raises:
        EncoderConfigurationError: the tower gives no maps.
    """
    machine, own = device(), (encoder.image_px, encoder.image_px)
    encoder = folded(encoder.to(machine, memory_format=torch.channels_last).eval())

    def _seen(pixels: Tensor) -> list[Tensor]:
        with torch.inference_mode(), autocast(machine, precision):
            return encoder.stage_maps(pixels.to(machine))

    fixed = len(_seen(torch.zeros(1, 3, *own))) == 1

    def _maps(pixels: Tensor) -> list[Tensor]:
        if fixed:
            pixels = F.interpolate(pixels.float(), size=own, mode="bilinear", antialias=True)
        found = _seen(pixels)
        coarse = [m for m in found if m.shape[-1] * FINEST_STRIDE <= pixels.shape[-1]] or found[-1:]
        # Copies, or they could not be trained on outside of inference mode.
        return [m.clone() for m in coarse]

    return _maps
