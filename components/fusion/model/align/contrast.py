"""InfoNCE from queries to products, with products that are no negatives left out."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from components.fusion.model.data.pairs import PairBatch


class Contrast(NamedTuple):
    """Which products of a step are contrasted with which of its queries.

    Attributes:
        target: ``[B]`` column of each positive. excluded: bool ``[B, C]``, taken out of the softmax.
        correction: ``[C]`` log-probability of each product to be in the batch, taken off its logits (Yi et
            al. 2019, "Sampling-bias-corrected neural modeling"); zeros for none.
    """

    target: Tensor
    excluded: Tensor
    correction: Tensor

    @classmethod
    def of(cls, batch: PairBatch, device: torch.device) -> Contrast:
        """That of a batch of pairs, on ``device``."""
        arrays = (batch.target, batch.excluded, batch.correction)
        return cls(*(torch.from_numpy(values).to(device) for values in arrays))


def query_to_product(queries: Tensor, products: Tensor, scale: Tensor | float, contrast: Contrast) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) over in-batch and mined negatives, in nats.

    Args:
        queries: ``[B, D]``. products: ``[C, D]``, both L2-normalised. scale: 1 / temperature.
    """
    logits = (scale * queries @ products.T).float() - contrast.correction
    logits = logits.masked_fill(contrast.excluded, float("-inf"))
    return F.cross_entropy(logits, contrast.target)
