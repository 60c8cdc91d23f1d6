"""Contrastive losses of the dual encoder."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def no_negatives(groups: Tensor, entailed: Tensor) -> Tensor:
    """Pairs of picture i and text j that must not push each other away; never a positive (i = j).

    Args:
        groups: ``[B]`` numbers; products of one group show the same thing.
        entailed: bool ``[B, B]``, text j is true of product i.
    """
    excluded = (groups[:, None] == groups[None, :]) | entailed
    return excluded & ~torch.eye(len(groups), dtype=torch.bool, device=groups.device)


def info_nce(logits: Tensor, excluded: Tensor, texts_only: int = 0) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018; Radford et al. 2021).

    Args:
        logits: ``[B, B + texts_only]`` scaled similarities, row i's positive in column i.
        excluded: like ``logits``, pairs taken out of the softmax (known not to be negatives).
        texts_only: texts at the end that no picture belongs to: negatives of pictures (Yuksekgonul et al.
            2023, arXiv 2210.01936).

    Returns:
        The mean over both directions, in nats. Without exclusions equal to ``open_clip.loss.ClipLoss``.
    """
    logits = logits.float().masked_fill(excluded, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    square = logits[:, : logits.shape[1] - texts_only]
    return (F.cross_entropy(logits, target) + F.cross_entropy(square.T, target)) / 2


def topk_similarity(patches: Tensor, texts: Tensor, k: int) -> Tensor:
    """Mean of the ``k`` best patch-text similarities of each picture for each text.

    Mean-pooled InfoNCE alone loses where things are as it trains; asking only the best patches to match keeps
    the evidence in its place.

    Args:
        patches: ``[B, rows, columns, D]`` of any length, see ``Encoder.encode_grid``. texts: ``[T, D]``
            L2-normalised.

    Returns:
        float32 ``[B, T]`` similarities.
    """
    count, per_picture = len(patches), patches.shape[1] * patches.shape[2]
    # A kernel is compiled for each new shape, which takes longer than running it: whole sixteens of texts.
    rows = F.pad(texts, (0, 0, 0, -len(texts) % 16))
    similarity = (rows @ patches.reshape(count * per_picture, -1).T)[: len(texts)]
    similarity = similarity.view(len(texts), count, per_picture)
    best = similarity.topk(min(k, per_picture), dim=-1, sorted=False).values
    return best.float().mean(dim=-1).T


class _MeanLength(torch.autograd.Function):
    """``norm(dim=-1).mean(dim=(1, 2))`` in one pass each way, in the patches' own precision."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor) -> Tensor:
        """``[B, rows, columns, D]`` to float32 ``[B]``."""
        lengths = torch.linalg.vector_norm(patches, dim=-1, keepdim=True, dtype=torch.float32)
        ctx.save_for_backward(patches, lengths)
        return lengths.mean(dim=(1, 2, 3))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """``[B]`` to the patches' shape: each patch over its length and the number of patches."""
        patches, lengths = ctx.saved_tensors
        scale = gradient.view(-1, 1, 1, 1) / (lengths * lengths[0].numel()).clamp_min(1e-12)
        return patches * scale.to(patches.dtype)


def mean_length(patches: Tensor) -> Tensor:
    """The mean Euclidean length of each picture's patches: ``[B, rows, columns, D]`` to float32 ``[B]``."""
    length: Tensor = _MeanLength.apply(patches)
    return length.clamp_min(1e-6)
