"""A ResNet trunk for small pictures: timm's, with a patch embedding instead of its convolutional stem.

At 64 px the stem of three convolutions, its batch norms and the max pooling cost as much as the two deepest
stages together. One 4 x 4 convolution of stride 4 (as in ViT and ConvNeXt) gives the same grid at a tenth of the
cost.
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from timm.models._builder import build_model_with_cfg
from timm.models.resnet import BasicBlock, ResNet
from torch import nn


@register_model
def resnet10_patch4(pretrained: bool = False, **settings: Any) -> ResNet:
    """ResNet of one basic block per stage (64, 128, 256, 512 channels) behind 4 x 4 patches; no weights exist."""
    model: ResNet = build_model_with_cfg(
        ResNet,
        "resnet10_patch4",
        pretrained,
        block=BasicBlock,
        layers=(1, 1, 1, 1),
        avg_down=True,
        **settings,
    )
    model.conv1 = nn.Conv2d(3, 64, kernel_size=4, stride=4, bias=False)
    model.maxpool = nn.Identity()
    return model
