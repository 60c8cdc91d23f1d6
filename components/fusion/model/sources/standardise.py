"""Scores of unlike sources on one scale."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from components.fusion.model.sources.bm25 import Scores

FLAT = 1e-6  # a spread below it is none


def standardised(scores: Scores, seen: npt.NDArray[np.bool_]) -> Scores:
    """Each query's scores less their mean, over their standard deviation ``[Q, N]``.

    Both are taken over the products that the source sees; one that it does not see, and all products where
    it tells none from another, get 0: no evidence either way.

    Args:
        seen: bool, ``[N]`` or ``[Q, N]``.
    """
    told = np.broadcast_to(seen, scores.shape)
    count = told.sum(axis=1, keepdims=True).clip(1)
    mean = np.where(told, scores, 0).sum(axis=1, keepdims=True) / count
    apart = np.where(told, scores - mean, 0)
    spread = np.sqrt((apart**2).sum(axis=1, keepdims=True) / count)
    out: Scores = np.where(spread > FLAT, apart / spread.clip(FLAT), 0).astype(np.float32)
    return out
