"""An image tower with its batch norms folded into its convolutions: the same features in fewer passes."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

from timm.layers.norm_act import BatchNormAct2d
from timm.models import EfficientNet
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from components.encoder.model.towers.dual_encoder import Encoder

M = TypeVar("M", bound=nn.Module)


def folded(encoder: Encoder) -> Encoder:
    """The encoder with a frozen EfficientNet's batch norms folded; any other encoder as it is.

    A narrow network on a processor waits for memory, and a batch norm reads and writes a whole map to scale
    it. Features differ by rounding. All but the image tower is shared with ``encoder``, which stays as it is.
    Only in an EfficientNet of timm is a batch norm known to follow the convolution that it stands behind.
    """
    if not isinstance(getattr(encoder.towers.visual, "trunk", None), EfficientNet):
        return encoder
    seeing = _shallow(encoder)
    seeing.towers = _shallow(encoder.towers)
    seeing.towers.visual = copy.deepcopy(encoder.towers.visual)
    for module in list(seeing.towers.visual.trunk.modules()):
        _fold(module)
    return seeing


def _shallow(module: M) -> M:
    """A copy whose parts can be replaced; the parts are the same."""
    out = copy.copy(module)
    out._modules = dict(module._modules)
    return out


def _fold(module: nn.Module) -> None:
    """Fold each batch norm of a module's own that stands behind a convolution; its activation stays."""
    children = list(module.named_children())
    for (before, convolution), (name, norm) in pairwise(children):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, BatchNormAct2d):
            setattr(module, before, fuse_conv_bn_eval(convolution, norm))
            setattr(module, name, nn.Sequential(norm.drop, norm.act))
