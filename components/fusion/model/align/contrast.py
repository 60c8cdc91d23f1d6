"""InfoNCE from queries to products, with products that are no negatives left out."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def query_to_product(
    queries: Tensor,
    products: Tensor,
    scale: Tensor | float,
    target: Tensor,
    excluded: Tensor,
    correction: Tensor,
) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) over in-batch and mined negatives, in nats.

    Args:
        queries: ``[B, D]``. products: ``[C, D]``, both L2-normalised. scale: 1 / temperature.
        target: ``[B]`` column of each positive. excluded: bool ``[B, C]``, taken out of the softmax.
        correction: ``[C]`` log-probability of each product to be in the batch, taken off its logits (Yi et
            al. 2019, "Sampling-bias-corrected neural modeling"); zeros for none.
    """
    logits = (scale * queries @ products.T).float() - correction
    logits = logits.masked_fill(excluded, float("-inf"))
    return F.cross_entropy(logits, target)
