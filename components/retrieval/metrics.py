"""Retrieval metrics from rankings and graded judgements, one value per query, equal to trec_eval's.

A ranking is an int array ``[queries, depth]`` of product positions, best first, padded with -1 where a query
has fewer results. Metrics work on the grades found along it. A query without any judgement has no defined
value (NaN, trec_eval leaves it out); one whose judgements are all 0 scores 0, as in trec_eval.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.retrieval.errors import RetrievalDataError

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

# Cells of the dense grade table held at once (int16): bounds memory for any number of queries and products.
BLOCK_CELLS = 16_000_000


@dataclass(frozen=True)
class Qrels:
    """Sparse graded judgements: entry i says that ``product[i]`` answers ``query[i]`` with ``grade[i]``.

    ``product`` is -1 for a judged product outside the collection: it cannot be found, yet counts in every
    ideal.
    """

    query: Ints
    product: Ints
    grade: Ints
    queries: int
    products: int

    @classmethod
    def from_arrays(
        cls, query: ArrayLike, product: ArrayLike, grade: ArrayLike, queries: int, products: int
    ) -> Qrels:
        """Check and keep judgements given by position.

        Raises:
            RetrievalDataError: lengths differ, a position is out of range, a grade is negative or above
                32,767, or one product is judged twice for a query.
        """
        q, p, g = (np.asarray(a, np.int64).reshape(-1) for a in (query, product, grade))
        if not q.size == p.size == g.size:
            raise RetrievalDataError(f"Judgements need equal lengths, not {q.size}, {p.size} and {g.size}.")
        if q.size and (q.min() < 0 or q.max() >= queries or p.min() < -1 or p.max() >= products):
            raise RetrievalDataError(f"A judgement is outside {queries} queries and {products} products.")
        if g.size and (g.min() < 0 or g.max() > np.iinfo(np.int16).max):
            raise RetrievalDataError(
                f"Grades must be between 0 and {np.iinfo(np.int16).max}; correct the qrels."
            )
        inside = p >= 0
        cells = q[inside] * products + p[inside]
        if np.unique(cells).size != cells.size:
            raise RetrievalDataError(
                "A product is judged twice for the same query; keep one grade of each pair."
            )
        return cls(q, p, g, queries, products)

    @classmethod
    def from_ids(
        cls, rows: Iterable[tuple[str, str, int]], query_ids: Sequence[str], product_ids: Sequence[str]
    ) -> Qrels:
        """Judgements from ``(query_id, product_id, grade)`` rows; rows of other queries are left out.

        Raises:
            RetrievalDataError: see :meth:`from_arrays`.
        """
        query_at = {name: i for i, name in enumerate(query_ids)}
        product_at = {name: i for i, name in enumerate(product_ids)}
        found = [(query_at[q], product_at.get(p, -1), g) for q, p, g in rows if q in query_at]
        table = np.array(found, np.int64).reshape(-1, 3)
        return cls.from_arrays(table[:, 0], table[:, 1], table[:, 2], len(query_ids), len(product_ids))


@dataclass(frozen=True)
class RankedGrades:
    """Grades along a ranking, with what the whole judgement of each query allows.

    ``grades`` int16 ``[queries, depth]``, 0 for an unjudged product; ``ideal`` int16 ``[queries, most
    judged]``, every grade of the query in descending order, padded with 0; ``defined`` bool ``[queries]``.
    """

    grades: NDArray[np.int16]
    ideal: NDArray[np.int16]
    defined: NDArray[np.bool_]

    def relevant(self, level: int = 1) -> Ints:
        """Number of judged products of at least grade ``level``, int64 ``[queries]``."""
        return np.asarray(np.count_nonzero(self.ideal >= level, axis=1), np.int64)


def _ideal(qrels: Qrels) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    counts = np.bincount(qrels.query, minlength=qrels.queries)
    order = np.lexsort((-qrels.grade, qrels.query))
    starts = np.cumsum(counts) - counts
    place = np.arange(order.size) - np.repeat(starts, counts)
    ideal = np.zeros((qrels.queries, int(counts.max(initial=0))), np.int16)
    ideal[qrels.query[order], place] = qrels.grade[order]
    return ideal, counts > 0


def judge(ranking: NDArray[np.integer], qrels: Qrels) -> RankedGrades:
    """Look up the grade of every ranked product.

    Args:
        ranking: int ``[queries, depth]``, product positions best first, -1 where there is no result.
        qrels: the judgements of the same queries.

    Raises:
        RetrievalDataError: the ranking has another number of queries, or names a product out of range.
    """
    if ranking.ndim != 2 or ranking.shape[0] != qrels.queries:
        raise RetrievalDataError(
            f"A ranking of shape {ranking.shape} does not fit {qrels.queries} judged queries."
        )
    if ranking.size and (ranking.min() < -1 or ranking.max() >= qrels.products):
        raise RetrievalDataError(f"A ranking names a product outside the {qrels.products} of the collection.")
    ideal, defined = _ideal(qrels)
    inside = np.flatnonzero(qrels.product >= 0)
    by_query = inside[np.argsort(qrels.query[inside], kind="stable")]
    width = qrels.products + 1  # the last column stays 0, for position -1 to find
    height = max(1, BLOCK_CELLS // width)
    grades = np.zeros(ranking.shape, np.int16)
    for start in range(0, qrels.queries, height):
        stop = min(start + height, qrels.queries)
        low, high = np.searchsorted(qrels.query[by_query], [start, stop])
        rows = by_query[low:high]
        table = np.zeros((stop - start, width), np.int16)
        table[qrels.query[rows] - start, qrels.product[rows]] = qrels.grade[rows]
        flat = ranking[start:stop] + (np.arange(stop - start) * width)[:, None]
        # Position -1 falls on the last, empty cell of the row before (of the last row, for the first).
        grades[start:stop] = table.reshape(-1)[flat]
    return RankedGrades(grades, ideal, defined)


def _where_defined(values: Floats, judged: RankedGrades) -> Floats:
    return np.where(judged.defined, values, np.nan)


def _share(part: NDArray[np.integer] | Floats, whole: Ints | Floats) -> Floats:
    """``part / whole``, 0 where ``whole`` is 0 (trec_eval's convention)."""
    quotient = np.zeros(len(part), np.float64)
    np.divide(part, whole, out=quotient, where=np.asarray(whole) > 0)
    return quotient


def hits_at(judged: RankedGrades, k: int, level: int = 1) -> Floats:
    """1 where a product of grade ``level`` or more is among the first k, else 0 (trec_eval ``success_k``)."""
    return _where_defined(np.asarray((judged.grades[:, :k] >= level).any(axis=1), np.float64), judged)


def reciprocal_rank(judged: RankedGrades, level: int = 1) -> Floats:
    """1 / rank of the first relevant product, 0 if there is none (trec_eval ``recip_rank``): MRR's terms."""
    found = judged.grades >= level
    first = found.argmax(axis=1) if found.shape[1] else np.zeros(len(found), np.int64)
    return _where_defined(np.where(found.any(axis=1), 1.0 / (first + 1), 0.0), judged)


def recall_at(judged: RankedGrades, k: int, level: int = 1) -> Floats:
    """Relevant products among the first k, divided by all relevant ones (trec_eval ``recall_k``)."""
    found = np.count_nonzero(judged.grades[:, :k] >= level, axis=1)
    return _where_defined(_share(found, judged.relevant(level)), judged)


def ndcg_at(judged: RankedGrades, k: int) -> Floats:
    """nDCG of the first k: gain = grade, discount log2(rank + 1), ideal over all judged (``ndcg_cut_k``).

    Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques".
    """
    gain = judged.grades[:, :k] @ _discount(judged.grades[:, :k].shape[1])
    return _where_defined(_share(gain, judged.ideal[:, :k] @ _discount(judged.ideal[:, :k].shape[1])), judged)


def _discount(depth: int) -> Floats:
    return np.asarray(1.0 / np.log2(np.arange(2, depth + 2)), np.float64)
