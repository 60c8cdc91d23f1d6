"""What fusion networks are built of: their base, and layers that start at zero.

Every network adds what it learned to a plain combination of both vectors and starts as that combination
(zero-initialised residual), so that networks differ in what they learn and not in how fast they find the
average. A missing modality comes as a zero vector with its flag false; a product with neither gets the zero
vector.
"""

from __future__ import annotations

from importlib import import_module

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.encoder.model.towers.dropout import Dropout
from components.fusion.model.params import NetworkName, NetworkParams


def unit(vectors: Tensor) -> Tensor:
    """L2-normalised; a zero vector stays zero."""
    return F.normalize(vectors, dim=-1)


def zero_initialised(layer: nn.Linear) -> nn.Linear:
    """The layer with all weights zero: it adds nothing until it is trained."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Perceptron(nn.Module):
    """Two layers; the second starts at zero."""

    def __init__(self, inputs: int, outputs: int, params: NetworkParams) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, params.hidden)
        self.drop = Dropout(params.dropout)
        self.second = zero_initialised(nn.Linear(params.hidden, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, inputs]`` to ``[N, outputs]``."""
        out: Tensor = self.second(self.drop(F.gelu(self.first(x))))
        return out


class LowRankProduct(nn.Module):
    """Low-rank bilinear interaction P((U t) * (V v)) (Kim et al. 2017, arXiv 1610.04325)."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__()
        self.text = nn.Linear(dimension, params.bilinear_rank, bias=False)
        self.image = nn.Linear(dimension, params.bilinear_rank, bias=False)
        self.drop = Dropout(params.dropout)
        self.out = zero_initialised(nn.Linear(params.bilinear_rank, dimension, bias=False))

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """``[N, D]`` and ``[N, D]`` to ``[N, D]``; zero where either is zero."""
        out: Tensor = self.out(self.drop(self.text(text) * self.image(image)))
        return out


class FusionNetwork(nn.Module):
    """Base of the networks: scales the inputs, normalises the output, leaves empty products zero.

    Subclasses give ``fused``, and their layers in an ``__init__`` of the same arguments. Inputs of learned
    layers are unit vectors times the square root of their dimension: entries of about unit variance, as the
    layers' initial weights expect.
    """

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__()
        self.dimension = dimension
        self.gain = dimension**0.5

    def forward(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """Vectors ``[N, D]``, zero where missing, and bool flags ``[N]``, to unit vectors ``[N, D]``."""
        return unit(self.fused(text, image, has_text, has_image)) * (has_text | has_image)[:, None]

    def fused(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """The vectors before normalisation."""
        raise NotImplementedError

    def gates(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor | None:
        """Weights ``[N, 3]`` of the text, image and cross experts; None for a network without experts."""
        return None


def network_class(name: NetworkName) -> type[FusionNetwork]:
    """The class of a network: ``gated_sum`` is ``GatedSum`` of the module ``gated_sum``."""
    module = import_module(f"components.fusion.model.networks.{name}")
    found: type[FusionNetwork] = getattr(module, name.title().replace("_", ""))
    return found


def create_network(name: NetworkName, dimension: int, params: NetworkParams, seed: int) -> FusionNetwork:
    """A network with weights drawn from ``seed``.

    Raises:
        FusionConfigurationError: its sizes do not fit the towers.
    """
    torch.manual_seed(seed)
    return network_class(name)(dimension, params)
