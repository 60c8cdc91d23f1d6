"""What a fusion network makes of products: their vectors, and the gates between its experts."""

from __future__ import annotations

import torch
from torch import Tensor

from components.encoder.model.features.vector_cache import Vectors
from components.fusion.model.networks.layers import FusionNetwork
from components.fusion.model.towers.towers import Items


def _tensors(network: FusionNetwork, items: Items) -> list[Tensor]:
    """A network's inputs, on its device."""
    where = next(network.parameters()).device
    arrays = (items.text, items.image, items.has_text, items.has_image)
    return [torch.from_numpy(array).to(where) for array in arrays]


def fused_vectors(network: FusionNetwork, items: Items) -> Vectors:
    """Item vectors ``[N, D]`` of a network in evaluation mode."""
    with torch.inference_mode():
        out: Vectors = network(*_tensors(network, items)).cpu().numpy()
    return out


def gate_weights(network: FusionNetwork, items: Items) -> Vectors | None:
    """Gate weights ``[N, 3]`` of each product (text, image, cross); None without experts."""
    with torch.inference_mode():
        gates = network.gates(*_tensors(network, items))
    return None if gates is None else gates.cpu().numpy()
