"""Fusion networks of the item tower: a product's text and picture vectors to one vector.

Beyond Text [S]: a mixture of modality experts with a bilinear interaction, in the item tower only, so that
item vectors are computed once and the query tower stays as it is. The shapes below are our choice [C].

Every network adds what it learned to a plain combination of both vectors and starts as that combination, so
that networks differ in what they learn and not in how fast they find the average. A missing modality comes
as a zero vector with its flag false; a product with neither gets the zero vector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.fusion.model.errors import FusionConfigurationError
from components.fusion.model.params import NetworkName, NetworkParams

EXPERTS = ("text", "image", "cross")
FAR_BELOW = -1e4  # a gate's logit where its expert cannot speak: finite, so that no row becomes NaN


def unit(vectors: Tensor) -> Tensor:
    """L2-normalised; a zero vector stays zero."""
    return F.normalize(vectors, dim=-1)


def _zero(layer: nn.Linear) -> nn.Linear:
    """A layer that says nothing until it is trained."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Perceptron(nn.Module):
    """Two layers; the second starts at zero."""

    def __init__(self, inputs: int, outputs: int, params: NetworkParams) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, params.hidden)
        self.drop = nn.Dropout(params.dropout)
        self.second = _zero(nn.Linear(params.hidden, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, inputs]`` to ``[N, outputs]``."""
        out: Tensor = self.second(self.drop(F.gelu(self.first(x))))
        return out


class Bilinear(nn.Module):
    """Low-rank bilinear interaction P((U t) * (V v)) (Kim et al. 2017, arXiv 1610.04325)."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__()
        self.text = nn.Linear(dimension, params.bilinear_rank, bias=False)
        self.image = nn.Linear(dimension, params.bilinear_rank, bias=False)
        self.drop = nn.Dropout(params.dropout)
        self.out = _zero(nn.Linear(params.bilinear_rank, dimension, bias=False))

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """``[N, D]`` and ``[N, D]`` to ``[N, D]``; zero where either is zero."""
        out: Tensor = self.out(self.drop(self.text(text) * self.image(image)))
        return out


class FusionNetwork(nn.Module):
    """Base of the networks: scales the inputs, normalises the output, leaves empty products zero.

    Subclasses give ``fused``. Inputs of learned layers are unit vectors times the square root of their
    dimension: entries of about unit variance, as the layers' initial weights expect.
    """

    def __init__(self, dimension: int) -> None:
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


class ConcatMlp(FusionNetwork):
    """The usual rival: a perceptron on both vectors side by side."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__(dimension)
        self.both = Perceptron(2 * dimension, dimension, params)

    def fused(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """unit(t + v) + MLP([t; v])."""
        learned: Tensor = self.both(self.gain * torch.cat([text, image], dim=-1))
        return unit(text + image) + learned / self.gain


class GatedSum(FusionNetwork):
    """A gate per dimension between the two vectors (gated multimodal unit, Arevalo et al. 2017)."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__(dimension)
        self.gate = _zero(nn.Linear(2 * dimension, dimension))

    def fused(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """g * t + (1 - g) * v with g = sigmoid(W [t; v]), a gate ``[N, D]``."""
        share = torch.sigmoid(self.gate(self.gain * torch.cat([text, image], dim=-1)))
        return share * text + (1 - share) * image


class CrossAttention(FusionNetwork):
    """Text and picture as two tokens that attend to each other; their mean is added to the average."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__(dimension)
        if dimension % params.heads:
            raise FusionConfigurationError(
                f"fuse.network.heads {params.heads} does not divide the towers' dimension {dimension}."
            )
        self.kind = nn.Parameter(torch.randn(2, dimension) * 0.1)
        self.attention = nn.MultiheadAttention(
            dimension, params.heads, dropout=params.dropout, batch_first=True
        )
        self.out = Perceptron(dimension, dimension, params)

    def fused(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """unit(t + v) + MLP of the mean over the modalities that are there."""
        there = torch.stack([has_text, has_image], dim=1)
        tokens = self.gain * torch.stack([text, image], dim=1) + self.kind
        # A product with neither attends to both of its empty tokens: no softmax over nothing.
        hidden = ~there & there.any(dim=1, keepdim=True)
        attended, _ = self.attention(tokens, tokens, tokens, key_padding_mask=hidden, need_weights=False)
        weight = there.to(attended.dtype)[:, :, None]
        mean = (attended * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
        learned: Tensor = self.out(mean)
        return unit(text + image) + learned / self.gain


class BilinearSum(FusionNetwork):
    """The average plus the bilinear interaction."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__(dimension)
        self.bilinear = Bilinear(dimension, params)

    def fused(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """unit(t + v) + P((U t) * (V v))."""
        learned: Tensor = self.bilinear(self.gain * text, self.gain * image)
        return unit(text + image) + learned / self.gain


class Moe(FusionNetwork):
    """Text, image and cross experts under a softmax gate that sees [t; v; t * v]."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__(dimension)
        self.text = _zero(nn.Linear(dimension, dimension, bias=False))
        self.image = _zero(nn.Linear(dimension, dimension, bias=False))
        self.cross = Perceptron(2 * dimension, dimension, params)
        self.gate = _zero(nn.Linear(3 * dimension, len(EXPERTS)))

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


class MoeBilinear(Moe):
    """The mixture of experts with the bilinear interaction added: Beyond Text's network [S]."""

    def __init__(self, dimension: int, params: NetworkParams) -> None:
        super().__init__(dimension, params)
        self.bilinear = Bilinear(dimension, params)

    def fused(self, text: Tensor, image: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
        """The mixture's vectors + P((U t) * (V v))."""
        mixed = super().fused(text, image, has_text, has_image)
        learned: Tensor = self.bilinear(self.gain * text, self.gain * image)
        return mixed + learned / self.gain


NETWORKS: dict[NetworkName, type[ConcatMlp | GatedSum | CrossAttention | BilinearSum | Moe]] = {
    "concat_mlp": ConcatMlp,
    "gated_sum": GatedSum,
    "cross_attention": CrossAttention,
    "moe": Moe,
    "bilinear": BilinearSum,
    "moe_bilinear": MoeBilinear,
}


def create_network(name: NetworkName, dimension: int, params: NetworkParams, seed: int) -> FusionNetwork:
    """A network with weights drawn from ``seed``.

    Raises:
        FusionConfigurationError: its sizes do not fit the towers.
    """
    torch.manual_seed(seed)
    return NETWORKS[name](dimension, params)
