"""Hard negatives: products near a query that are not its answers, by the vectors a stage starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from components.fusion.model.data.judgements import Ints, Judgements
from components.fusion.model.params import PairParams
from components.retrieval.ranking import rank

Vectors = npt.NDArray[np.float32]
DEPTH = 4  # products ranked per product kept; the others are answers, or of an answer's group


class Pool(NamedTuple):
    """The products that are searched: places in the split, and their vectors ``[len(places), D]``."""

    places: Ints
    vectors: Vectors


@dataclass(frozen=True)
class Mined:
    """Hard negatives by query.

    Attributes:
        products: ``[Q, K]`` places in the split, nearest first, -1 where there are fewer.
        suspected_share: of the mined products, before any is dropped.
    """

    products: Ints
    suspected_share: float

    def draw(self, queries: Ints, per_query: float, rng: np.random.Generator) -> Ints:
        """About ``per_query`` negatives per query in one list; a fraction falls to the first queries."""
        asked = np.resize(queries, round(per_query * len(queries)))
        known = (self.products[asked] >= 0).sum(axis=1)
        column = (rng.random(len(asked)) * known).astype(np.int64)
        drawn: Ints = self.products[asked, column]
        return drawn[drawn >= 0]

    def frequency(self, products: int) -> npt.NDArray[np.float64]:
        """``[products]``: how often each is drawn, on average, when every query draws one."""
        known = self.products >= 0
        share = known / np.maximum(known.sum(axis=1, keepdims=True), 1)
        return np.bincount(self.products[known], share[known], products) / max(1, len(self.products))


def mining_pool(products: int, most: int, seed: int) -> Ints:
    """Places of the products that are searched: all, or ``most`` of them at random, in order."""
    if products <= most:
        return np.arange(products)
    return np.sort(np.random.default_rng((seed, 3)).permutation(products)[:most])


def _judged(judgements: Judgements, products: int, place: Ints, least: Ints) -> npt.NDArray[np.bool_]:
    """bool like ``place [Q, depth]``: that product is judged, with at least the grade ``least [Q]``."""
    keys = np.repeat(np.arange(len(judgements)), np.diff(judgements.starts)) * products + judgements.product
    good = judgements.grade >= np.repeat(least, np.diff(judgements.starts))
    asked = np.arange(len(judgements))[:, None] * products + place
    return np.isin(asked, keys[good])


def _mean_positive(queries: Vectors, pool: Pool, judgements: Judgements) -> Vectors:
    """Mean similarity ``[Q]`` of each query to its best-graded products of the pool; NaN without any."""
    places = pool.places
    at = np.full(max(int(judgements.product.max(initial=0)), int(places.max(initial=0))) + 1, -1)
    at[places] = np.arange(len(places))
    query = np.repeat(np.arange(len(judgements)), np.diff(judgements.starts))
    best = judgements.grade == judgements.best_grade()[query]
    inside = best & (at[judgements.product] >= 0)
    query, column = query[inside], at[judgements.product[inside]]
    similarity = np.einsum("nd,nd->n", queries[query], pool.vectors[column])
    total = np.bincount(query, similarity, len(judgements))
    count = np.bincount(query, minlength=len(judgements))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def mine(queries: Vectors, pool: Pool, judgements: Judgements, groups: Ints, params: PairParams) -> Mined:
    """The products of the pool nearest to each query, without its answers and their groups.

    A product left out is judged as good as the query's best, or shares the group of one that is. A mined
    product is a suspected false negative if nobody judged it and it is more similar than ``suspect_ratio``
    times the query's mean best product (the positive-aware threshold of NV-Retriever, Moreira et al. 2024,
    arXiv 2407.15831).

    Args:
        queries: ``[Q, D]``. groups: ``[P]`` group number of each product of the split.
    """
    keep = min(params.mined_per_query, len(pool.places))
    scores, ranked = rank(queries, pool.vectors, min(len(pool.places), keep * DEPTH))
    place = pool.places[ranked]
    nothing = np.ones(len(judgements), dtype=np.int64)
    allowed = ~_judged(judgements, len(groups), place, judgements.best_grade().astype(np.int64))
    allowed &= ~_in_answers_group(judgements, groups, place)
    unjudged = ~_judged(judgements, len(groups), place, nothing)
    positive = _mean_positive(queries, pool, judgements)
    suspected = unjudged & (scores > params.suspect_ratio * positive[:, None])
    first = allowed & (np.cumsum(allowed, axis=1) <= keep)
    share = float((suspected & first).sum() / max(1, first.sum()))
    if params.drop_suspected:
        allowed &= ~suspected
    order = np.argsort(~allowed, axis=1, kind="stable")[:, :keep]
    kept = np.where(np.take_along_axis(allowed, order, 1), np.take_along_axis(place, order, 1), -1)
    return Mined(kept, share)


def _in_answers_group(judgements: Judgements, groups: Ints, place: Ints) -> npt.NDArray[np.bool_]:
    """bool like ``place [Q, depth]``: the product shares the group of a best-graded one of the query."""
    query = np.repeat(np.arange(len(judgements)), np.diff(judgements.starts))
    best = judgements.grade == judgements.best_grade()[query]
    many = int(groups.max(initial=0)) + 1
    keys = query[best] * many + groups[judgements.product[best]]
    return np.isin(np.arange(len(judgements))[:, None] * many + groups[place], keys)
