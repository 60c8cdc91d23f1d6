"""Exact ranking: the k best products of each query, with ties broken as trec_eval breaks them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.retrieval.errors import RetrievalDataError

# Scores held at once: 4M float32 and as many 64-bit keys are about 50 MB, whatever the catalogue's size.
BLOCK_SCORES = 4_000_000
BLOCK_PRODUCTS = 65_536
SIGN = np.uint64(0x80000000)
LOW = np.uint64(0xFFFFFFFF)


def _keys(scores: NDArray[np.float32], preference: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Pack score and preference into one integer that sorts by score, then by preference.

    The bits of an IEEE float sort like a signed integer once the magnitude of the negatives is flipped.
    Distinct keys leave nothing to chance where scores are equal, and integers sort faster than index arrays.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # adding zero turns -0.0, which would sort lower, into 0.0
    ordered = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    keys = ordered.view(np.uint32).astype(np.uint64)
    keys ^= SIGN
    keys <<= np.uint64(32)
    keys |= preference
    return keys


def _best(keys: NDArray[np.uint64], k: int) -> NDArray[np.uint64]:
    """The k largest keys of each row, unordered."""
    if keys.shape[1] <= k:
        return keys
    return np.partition(keys, keys.shape[1] - k, axis=1)[:, -k:]


def _ordered(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.sort(keys, axis=1)[:, ::-1]


def _scores_of(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    """The scores that were packed into ``keys``."""
    ordered = ((keys >> np.uint64(32)) ^ SIGN).astype(np.uint32).view(np.int32)
    return (ordered ^ ((ordered >> 31) & np.int32(0x7FFFFFFF))).view(np.float32)


def _finite(scores: NDArray[np.float32], what: str) -> NDArray[np.float32]:
    # A sum is a hundred times cheaper than a mask, and any NaN or infinity shows in it.
    if not np.isfinite(scores.sum(dtype=np.float64)):
        bad = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise RetrievalDataError(
            f"{what} hold a value that is not finite (first in row {bad}); they cannot be ranked."
        )
    return scores


def top_k(
    scores: NDArray[np.floating], k: int, product_ids: Sequence[str] | None = None
) -> NDArray[np.int64]:
    """Positions of the ``k`` highest scores of each row, best first.

    Equal scores (compared as float32) are ordered as trec_eval orders them: the greater product id first.
    Without ``product_ids`` the columns are taken to be in ascending order of product id, as catalogues and
    embeddings are.

    Args:
        scores: ``[queries, products]``, finite.
        k: how many to keep; at most ``products`` come back.
        product_ids: id of each column, needed only when the columns are not in that order.

    Returns:
        int64 ``[queries, min(k, products)]``.

    Raises:
        RetrievalDataError: a score is not finite, or ``k`` is not positive.
    """
    _check_k(k)
    columns = scores.shape[1]
    order = np.arange(columns)
    if product_ids is not None:
        order = np.argsort(np.asarray(product_ids, dtype=np.str_), kind="stable")
    preference = np.empty(columns, np.uint64)
    preference[order] = np.arange(columns, dtype=np.uint64)
    rows = max(1, BLOCK_SCORES // max(1, columns))
    result = np.empty((scores.shape[0], min(k, columns)), np.int64)
    for start in range(0, scores.shape[0], rows):
        block = _finite(np.asarray(scores[start : start + rows], np.float32), "The scores")
        result[start : start + rows] = order[_ordered(_best(_keys(block, preference), k)) & LOW]
    return result


def rank(
    queries: NDArray[np.float32], products: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The ``k`` products with the highest inner product to each query, exactly, in bounded memory.

    Args:
        queries: float32 ``[q, d]``.
        products: float32 ``[n, d]``, in ascending order of product id (the order of an embeddings file), so
            that equal scores come out as trec_eval would put them: the greater id first.
        k: how many to keep.

    Returns:
        Scores float32 ``[q, min(k, n)]`` and positions int64 of the same shape, best first.

    Raises:
        RetrievalDataError: the dimensions differ, a vector is not finite, or ``k`` is not positive.
    """
    _check_k(k)
    if queries.ndim != 2 or products.ndim != 2 or queries.shape[1] != products.shape[1]:
        raise RetrievalDataError(
            f"Queries of shape {queries.shape} cannot be ranked against products of shape {products.shape}: "
            "both must be two-dimensional with the same number of columns."
        )
    width = max(1, min(products.shape[0], BLOCK_PRODUCTS))
    height = max(1, BLOCK_SCORES // width)
    keys = np.empty((queries.shape[0], min(k, products.shape[0])), np.uint64)
    for top in range(0, queries.shape[0], height):
        best = np.empty((min(height, queries.shape[0] - top), 0), np.uint64)
        for left in range(0, products.shape[0], width):
            part = products[left : left + width]
            scores = _finite(queries[top : top + height] @ part.T, "The products of the vectors")
            places = np.arange(left, left + part.shape[0], dtype=np.uint64)
            best = _best(np.concatenate([best, _best(_keys(scores, places), k)], axis=1), k)
        keys[top : top + height] = _ordered(best)
    return _scores_of(keys), (keys & LOW).astype(np.int64)


def _check_k(k: int) -> None:
    if k < 1:
        raise RetrievalDataError(f"k must be at least 1, not {k}.")
