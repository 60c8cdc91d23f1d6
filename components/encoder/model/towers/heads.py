"""What is learned on top of a tower: a small network on its features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.encoder.model.errors import EncoderConfigurationError
from components.encoder.model.towers.dropout import Dropout

ALONE = 0.3  # share of training in which a further view is read in the first one's place
LEAST_SPREAD = 1e-3  # a feature that never varies says nothing; it is not blown up


class Head(nn.Module):
    """Features to L2-normalised vectors ``[B, outputs]``: standardise, one hidden layer.

    Frozen towers with small heads on their features: LiT (Zhai et al. 2022, arXiv 2111.07991).

    A head of several views reads ``[B, views * inputs + views - 1]``: the features of each view, then how
    sure each view after the first is, in 0..1. Every view is standardised alike. To the hidden layer is added
    what each further view shows that the first does not: their difference, times a trust that is learned and
    depends on how sure the view is. With a trust of zero a head that gets further views computes what it did;
    a view that equals the first adds nothing, ever. In training a further view is at times read in the first
    one's place, or the head would lean on first views that it knows by heart.

    Args:
        inputs: features of one view. dropout: of standardised features and of hidden units, in training.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float, views: int = 1) -> None:
        super().__init__()
        self.inputs, self.views = inputs, views
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.layers = nn.Sequential(
            Dropout(dropout),
            nn.Linear(inputs, hidden),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(hidden, outputs),
        )
        self.further: nn.Linear | None = None
        self.trust: nn.Linear | None = None
        if views > 1:
            self.add_views(views)

    @property
    def width(self) -> int:
        """How many numbers the head reads of a picture."""
        return self.views * self.inputs + self.views - 1

    def add_views(self, views: int, trust: float = 0.0) -> None:
        """Read ``views`` views from now on, each as the first is read, and trusted so much at first."""
        first, self.views = self.layers[1], views
        self.further = nn.Linear((views - 1) * self.inputs, first.out_features, bias=False)
        self.further.weight.data.copy_(first.weight.data.repeat(1, views - 1))
        self.trust = nn.Linear(1, 1)
        nn.init.zeros_(self.trust.weight)
        nn.init.constant_(self.trust.bias, trust)
        self.to(first.weight.device)

    def complete(self, features: Tensor) -> Tensor:
        """Features of the first view alone ``[..., inputs]`` stand for every view, at no confidence.

        Raises:
            EncoderConfigurationError: the features are neither of one view nor of all.
        """
        if features.shape[-1] == self.width:
            return features
        if features.shape[-1] != self.inputs:
            raise EncoderConfigurationError(
                f"A picture came with {features.shape[-1]} features; this encoder reads {self.inputs}"
                + (f", or {self.width} of {self.views} views." if self.views > 1 else ".")
            )
        unsure = features.new_zeros(*features.shape[:-1], self.views - 1)
        return torch.cat([*[features] * self.views, unsure], dim=-1)

    def fit(self, features: Tensor) -> None:
        """Take mean and spread from features ``[N, inputs]`` of the train split."""
        self.mean.copy_(features.mean(dim=0))
        self.scale.copy_(1 / features.std(dim=0, correction=0).clamp_min(LEAST_SPREAD))

    def forward(self, features: Tensor) -> Tensor:
        """Vectors of features."""
        features = self.complete(features)
        seen = features[..., : self.views * self.inputs].unflatten(-1, (self.views, self.inputs))
        views = (seen - self.mean) * self.scale
        dropout, first, *rest = self.layers
        hidden = first(dropout(views[..., 0, :]))
        if self.further is not None and self.trust is not None:
            trust = self.trust(features[..., self.views * self.inputs :, None])
            if self.training:
                trust = torch.where(torch.rand_like(trust) < ALONE, torch.ones_like(trust), trust)
            others = (views[..., 1:, :] - views[..., :1, :]) * trust
            hidden = hidden + self.further(dropout(others.flatten(-2)))
        for layer in rest:
            hidden = layer(hidden)
        return F.normalize(hidden.float(), dim=-1)
