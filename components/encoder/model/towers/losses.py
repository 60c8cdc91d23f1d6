"""Contrastive losses of the dual encoder."""

from __future__ import annotations

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


def distillation(logits: Tensor, base: Tensor, texts_only: int = 0) -> Tensor:
    """How far the similarities of a batch have gone from a base's, in nats.

    Args:
        logits, base: ``[B, B + texts_only]`` scaled similarities; no gradient reaches ``base``.

    Returns:
        The Kullback-Leibler divergence from the base's distribution, over the texts of a picture and over the
        pictures of a text; the mean of both.
    """
    pairs = [(logits, base)]
    count = logits.shape[1] - texts_only
    pairs.append((logits[:, :count].T, base[:, :count].T))
    parts = [
        F.kl_div(a.float().log_softmax(1), b.float().log_softmax(1), reduction="batchmean", log_target=True)
        for a, b in pairs
    ]
    return (parts[0] + parts[1]) / 2


def sigmoid_loss(logits: Tensor, excluded: Tensor) -> Tensor:
    """Pairwise sigmoid loss (SigLIP, Zhai et al. 2023, arXiv 2303.15343): each pair is a question by itself.

    Args:
        logits: ``[B, B + S]`` scaled similarities plus bias, row i's positive in column i.
        excluded: like ``logits``, pairs that are not asked (known not to be negatives).

    Returns:
        The sum over pairs for each picture, in nats. Without exclusions equal to
        ``open_clip.loss.SigLipLoss``.
    """
    logits = logits.float()
    positive = torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
    signed = torch.where(positive, logits, -logits)
    return -F.logsigmoid(signed).masked_fill(excluded, 0.0).sum() / len(logits)
