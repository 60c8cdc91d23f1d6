"""An image tower with its batch norms folded into its convolutions: the same features in fewer passes.

On a processor the activation behind a convolution is computed by the convolution, too, before its result is
written: a narrow network waits for memory.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.padding import get_same_padding
from timm.models import EfficientNet
from torch import Tensor, nn
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
            alone = fuse_conv_bn_eval(convolution, norm)
            fused = _FusedConvolution.of(alone, norm)
            setattr(module, before, fused or alone)
            setattr(module, name, nn.Identity() if fused else nn.Sequential(norm.drop, norm.act))


class _FusedConvolution(nn.Module):
    """A convolution with the activation behind it, in one of oneDNN's kernels, for inference alone.

    In bfloat16 the bits are those of one after the other: sums are clipped before they are rounded, and the
    limits are numbers that rounding keeps. In float32 torch has kernels of its own for small maps, which
    round differently in the last digits.
    """

    def __init__(self, convolution: nn.Conv2d, act: nn.Module, clip: tuple[str, list[float]]) -> None:
        super().__init__()
        self.convolution, self.act, self.clip = convolution, act, clip

    @classmethod
    def of(cls, convolution: nn.Conv2d, norm: BatchNormAct2d) -> _FusedConvolution | None:
        """None where there is no such kernel: for another device or activation."""
        kernels = convolution.weight.is_cpu and torch.backends.mkldnn.is_available()
        same = type(convolution) is Conv2dSame
        symmetric = type(convolution) is nn.Conv2d and not isinstance(convolution.padding, str)
        if not (kernels and isinstance(norm.drop, nn.Identity) and (same or symmetric)):
            return None
        if isinstance(norm.act, nn.ReLU6):
            return cls(convolution, norm.act, ("hardtanh", [0.0, 6.0]))
        return cls(convolution, norm.act, ("none", [])) if isinstance(norm.act, nn.Identity) else None

    def forward(self, images: Tensor) -> Tensor:
        """What convolution and activation give, in autocast's precision."""
        of = self.convolution
        precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images.dtype
        images, padding = images.to(precision), [int(n) for n in of.padding]
        if isinstance(of, Conv2dSame):
            images, padding = _padded(images, of), [0, 0]
        assert of.bias is not None  # folding has made one
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, of.weight.to(precision), of.bias.to(precision), padding, of.stride, of.dilation,
            of.groups, *self.clip, "",
        )  # fmt: skip
        return out


def _padded(images: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Zeros around maps as TensorFlow's "same" has them; no more than the rim is filled with them."""
    sides = images.shape[2:]
    of = zip(sides, convolution.kernel_size, convolution.stride, convolution.dilation, strict=True)
    more = [get_same_padding(*each) for each in of]
    if not any(more):
        return images
    top, left = (n // 2 for n in more)
    height, width = (side + n for side, n in zip(sides, more, strict=True))
    bottom, right = top + sides[0], left + sides[1]
    size = (*images.shape[:2], height, width)
    out = torch.empty(size, dtype=images.dtype, memory_format=torch.channels_last)
    for rim in (out[:, :, :top], out[:, :, bottom:], out[..., :left], out[..., right:]):
        rim.zero_()
    out[:, :, top:bottom, left:right] = images
    return out
