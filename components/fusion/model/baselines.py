"""Rows that train nothing: BM25, one tower alone, the average, fixed weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from components.encoder.model.features.vector_cache import Vectors
from components.fusion.model.data.product_text import field_text
from components.fusion.model.params import Bm25Params, FieldName
from components.fusion.model.towers.towers import Flags, Items
from components.retrieval.metrics import Qrels, judge, ndcg_at
from components.retrieval.ranking import top_k

Scores = npt.NDArray[np.float32]
UNSEEN = -2.0  # score of a product that a row cannot see: below every cosine


def weighted(items: Items, text_share: float) -> Vectors:
    """``text_share`` of the text and the rest of the picture, normalised ``[N, D]``; what is missing gives
    way to what is there."""
    total = text_share * items.text + (1 - text_share) * items.image
    out: Vectors = (total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-12)).astype(np.float32)
    return out


def average(items: Items) -> Vectors:
    """Both halves alike."""
    return weighted(items, 0.5)


def cosine(queries: Vectors, vectors: Vectors, seen: Flags) -> Scores:
    """``[Q, N]``; products that are not ``seen`` come last."""
    scores: Scores = queries @ vectors.T
    scores[:, ~seen] = UNSEEN
    return scores


def best_text_share(queries: Vectors, items: Items, qrels: Qrels, shares: Sequence[float]) -> float:
    """The share with the highest nDCG@10; the first of equals. Call it on the validation split only."""

    def _ndcg(share: float) -> float:
        scores = cosine(queries, weighted(items, share), items.has_text | items.has_image)
        return float(np.nanmean(ndcg_at(judge(top_k(scores, min(100, scores.shape[1])), qrels), 10)))

    return max(shares, key=_ndcg)


def bm25_scores(
    texts: Sequence[str], items: Items, fields: Sequence[FieldName], params: Bm25Params
) -> Scores:
    """BM25 of queries against product texts without markers ``[Q, N]`` (library bm25s)."""
    import bm25s

    documents = [
        " ".join(field_text(row, field) for field in fields) if seen else ""
        for row, seen in zip(items.rows, items.has_text, strict=True)
    ]
    words = bm25s.tokenize(documents, stopwords=None, return_ids=False, show_progress=False)
    index = bm25s.BM25(k1=params.k1, b=params.b)
    # An empty document keeps its place: one word that no query has.
    index.index([document or ["\0"] for document in words], show_progress=False)
    asked = bm25s.tokenize(list(texts), stopwords=None, return_ids=False, show_progress=False)
    known = index.vocab_dict
    out = np.zeros((len(texts), len(documents)), dtype=np.float32)
    for row, query in zip(out, asked, strict=True):
        if found := [word for word in query if word in known]:
            row[:] = index.get_scores(found)
    return out
