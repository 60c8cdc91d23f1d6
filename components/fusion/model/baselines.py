"""Rows that train nothing: BM25, one tower alone, fixed shares of both, and sums of their rankings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from components.encoder.model.features.held_out import Task
from components.encoder.model.features.query_types import QueryTypes
from components.encoder.model.features.vector_cache import Vectors
from components.fusion.model.data.product_text import field_text
from components.fusion.model.fuse.item_vectors import QueryInputs, evidence_of, type_scores
from components.fusion.model.params import Bm25Params, FieldName, FusionParams
from components.fusion.model.sources.bm25 import Bm25, Scores
from components.fusion.model.sources.evidence import UNSEEN, SourceScores, standardised
from components.fusion.model.towers.towers import Flags, Items, Towers
from components.retrieval.metrics import Qrels, judge, ndcg_at
from components.retrieval.ranking import top_k

TYPE_WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of a log-probability beside standardised scores
FUSION_RANK = 60  # of reciprocal rank fusion (Cormack et al. 2009)


def weighted(items: Items, text_share: float) -> Vectors:
    """``text_share`` of the text and the rest of the picture, normalised ``[N, D]``; what is missing gives
    way to what is there."""
    total = text_share * items.text + (1 - text_share) * items.image
    out: Vectors = (total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-12)).astype(np.float32)
    return out


def cosine(queries: Vectors, vectors: Vectors, seen: Flags) -> Scores:
    """``[Q, N]``; products that are not ``seen`` come last."""
    scores: Scores = queries @ vectors.T
    scores[:, ~seen] = UNSEEN
    return scores


def unseen_last(scores: Scores, seen: Flags) -> Scores:
    """Scores ``[Q, N]`` with the products that are not ``seen`` below all others."""
    return np.where(seen, scores, scores.min(initial=0) + UNSEEN).astype(np.float32)


def mean_ndcg(scores: Scores, qrels: Qrels) -> float:
    """Mean nDCG@10 of a ranking by ``scores [Q, N]``."""
    return float(np.nanmean(ndcg_at(judge(top_k(scores, min(10, scores.shape[1])), qrels), 10)))


def best_text_share(queries: Vectors, items: Items, qrels: Qrels, shares: Sequence[float]) -> float:
    """The share with the highest nDCG@10; the first of equals. Call it on the validation split only."""
    seen = items.has_text | items.has_image
    return max(shares, key=lambda share: mean_ndcg(cosine(queries, weighted(items, share), seen), qrels))


def lexical_index(items: Items, fields: Sequence[FieldName], params: Bm25Params) -> Bm25:
    """The products' texts without markers; a product whose text is taken away has none."""
    texts = (" ".join(field_text(row, field) for field in fields) for row in items.rows)
    return Bm25([text if seen else "" for text, seen in zip(texts, items.has_text, strict=True)], params)


class Questions:
    """A split's queries, as they are asked of products.

    BM25 of the same products is asked for several times: it is computed once.
    """

    def __init__(self, task: Task, towers: Towers, fusion: FusionParams) -> None:
        self.task, self.towers, self._fusion = task, towers, fusion
        self.vectors, self._features = towers.queries(task.texts), towers.features(task.texts)
        self._asked: list[tuple[Items, Bm25, QueryInputs]] = []

    def asked(self, items: Items) -> QueryInputs:
        """The queries, as they are asked of these products."""
        return self._of(items)[1]

    def others(self, texts: list[str], items: Items) -> QueryInputs:
        """Other queries, as they are asked of these products."""
        return QueryInputs.of(self.towers.queries(texts), texts, self._of(items)[0])

    def _of(self, items: Items) -> tuple[Bm25, QueryInputs]:
        for known, index, asked in self._asked:
            if known is items:
                return index, asked
        index = lexical_index(items, self._fusion.text.fields, self._fusion.bm25)
        self._asked.append((items, index, QueryInputs.of(self.vectors, self.task.texts, index)))
        return self._asked[-1][1:]

    def types(self, types: QueryTypes, items: Items) -> Scores:
        """Log-probability ``[Q, N]`` of the products' types."""
        return type_scores(types, types.log_probabilities(self.task.texts, self._features), items)

    def evidence(self, items: Items, shown: Items, fused: Vectors, types: QueryTypes | None) -> SourceScores:
        """What all sources say of products; without ``types`` there is no source of that name.

        Args:
            shown: the products as the network that made ``fused [N, D]`` of them has seen them.
        """
        asked = self.asked(items)
        if types is not None:
            asked = asked._replace(types=self.types(types, items))
        return evidence_of(asked, shown, fused)


def reciprocal_rank_fusion(sources: Sequence[tuple[Scores, npt.NDArray[np.bool_]]]) -> Scores:
    """Sum of 1 / (60 + rank) over the sources ``[Q, N]`` (Cormack, Clarke and Büttcher 2009).

    Args:
        sources: scores ``[Q, N]``, and which of them are findings: a product that a source did not find gets
            nothing from it.
    """
    total = np.zeros(sources[0][0].shape, dtype=np.float32)
    for scores, found in sources:
        order = top_k(np.where(found, scores, scores.min(initial=0) - 1), scores.shape[1])
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(1, scores.shape[1] + 1)[None, :], axis=1)
        total += np.where(found, 1 / (FUSION_RANK + ranks), 0).astype(np.float32)
    return total


def hybrid_scores(asked: QueryInputs, items: Items) -> Scores:
    """BM25 and text vectors by reciprocal rank; BM25 finds the products that have a word of the query."""
    lexical, seen = asked.lexical, np.broadcast_to(items.has_text, asked.lexical.shape)
    text = cosine(asked.vectors, items.text, items.has_text)
    return reciprocal_rank_fusion([(lexical, lexical > 0), (text, seen)])


def hybrid_sources(asked: QueryInputs, items: Items) -> list[Scores]:
    """BM25, text and picture scores of each query, standardised over the products that have one."""
    plain = (asked.lexical, asked.vectors @ items.text.T, asked.vectors @ items.image.T)
    seen = (items.has_text, items.has_text, items.has_image)
    return [standardised(scores, there) for scores, there in zip(plain, seen, strict=True)]


def simplex(parts: int, sources: int) -> list[tuple[float, ...]]:
    """All weights of ``sources`` that are multiples of 1 / ``parts`` and sum to 1, corners included."""
    counts = product(range(parts + 1), repeat=sources - 1)
    return [
        tuple(count / parts for count in (*some, parts - sum(some))) for some in counts if sum(some) <= parts
    ]


def with_types(scores: Scores, types: Scores, weight: float) -> Scores:
    """``[Q, N]``: scores, and ``weight`` times the log-probability of the products' types."""
    return scores + np.float32(weight) * types


def best_type_weight(scores: Scores, types: Scores, qrels: Qrels) -> float:
    """The weight of ``TYPE_WEIGHTS`` with the highest nDCG@10; the first of equals. On validation only."""
    return max(TYPE_WEIGHTS, key=lambda weight: mean_ndcg(with_types(scores, types, weight), qrels))


def weighted_sum(sources: Sequence[Scores], weights: Sequence[float]) -> Scores:
    """``[Q, N]``."""
    total = np.zeros_like(sources[0])
    for weight, scores in zip(weights, sources, strict=True):
        total += np.float32(weight) * scores
    return total


def best_weights(sources: Sequence[Scores], qrels: Qrels, parts: int) -> tuple[float, ...]:
    """The weights of ``simplex`` with the highest nDCG@10; of equals the most even. On validation only.

    Queries derived from a small catalogue's own table may be answered perfectly by its words alone; that is
    no reason to look at no picture.
    """
    found = {
        weights: mean_ndcg(weighted_sum(sources, weights), qrels) for weights in simplex(parts, len(sources))
    }
    return max(found, key=lambda weights: (found[weights], -sum(weight**2 for weight in weights)))
