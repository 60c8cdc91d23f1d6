"""Judged products of the queries of one split, query by query, with the weight of each pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.fusion.model.errors import NoQueriesError
from components.fusion.model.params import SignalWeights

Ints = npt.NDArray[np.int64]


def pair_weights(
    relevance: npt.NDArray[np.integer], desirability: npt.NDArray[np.integer], weights: SignalWeights
) -> npt.NDArray[np.float64]:
    """Weight of each judgement: purchase > cart > click > relevance alone (arXiv 2609.31498).

    Our choice: engagement multiplies relevance. Otherwise the many products that match a query half, and are
    bought now and then, outweigh the few that match it wholly.

    Args:
        relevance: ``[n]`` grades 0..3. desirability: ``[n]`` 0..4 (2 click, 3 cart, 4 purchase), below 0
            unknown.
    """
    by_grade = np.array([0.0, *weights.relevance])[relevance]
    by_step = np.array([1.0, 1.0, weights.click, weights.cart, weights.purchase])[desirability.clip(min=0)]
    return np.asarray(by_grade * by_step, np.float64)


@dataclass(frozen=True)
class Judgements:
    """Entries ``starts[q] : starts[q + 1]`` judge products of query ``q``.

    Attributes:
        product: ``[n]`` positions in the split's list of products. grade: ``[n]`` relevance 1..3.
        weight: ``[n]`` see ``pair_weights``; every query has an entry above zero.
    """

    query_ids: list[str]
    texts: list[str]
    starts: Ints
    product: Ints
    grade: npt.NDArray[np.int8]
    weight: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.query_ids)

    @cached_property
    def _total(self) -> npt.NDArray[np.float64]:
        return np.concatenate([[0.0], np.cumsum(self.weight)])

    def entries(self, queries: Ints) -> tuple[Ints, Ints]:
        """All entries of ``queries``, and for each the place of its query in the list."""
        counts = self.starts[queries + 1] - self.starts[queries]
        place = np.repeat(np.arange(len(queries)), counts)
        first = np.cumsum(counts) - counts
        return np.arange(len(place)) - first[place] + self.starts[queries][place], place

    def draw(self, queries: Ints, rng: np.random.Generator) -> Ints:
        """One entry per query, with probability in proportion to its weight."""
        low, high = self._total[self.starts[queries]], self._total[self.starts[queries + 1]]
        at = np.searchsorted(self._total, low + rng.random(len(queries)) * (high - low), side="right") - 1
        # Rounding may fall on the border of the next query.
        return at.clip(self.starts[queries], self.starts[queries + 1] - 1)

    def frequency(self, products: int) -> npt.NDArray[np.float64]:
        """``[products]``: how often each is drawn, on average, when every query draws one."""
        query = np.repeat(np.arange(len(self)), np.diff(self.starts))
        share = self.weight / np.bincount(query, self.weight, len(self))[query]
        return np.bincount(self.product, share, products) / max(1, len(self))

    def best_product(self) -> Ints:
        """A product of the highest weight of each query, the first of equals."""
        query = np.repeat(np.arange(len(self)), np.diff(self.starts))
        order = np.lexsort((self.product, -self.weight, query))
        return self.product[order[self.starts[:-1]]]

    def best_grade(self) -> npt.NDArray[np.int8]:
        """The highest grade of each query."""
        return np.maximum.reduceat(self.grade, self.starts[:-1])


def read_judgements(
    catalogue: Path, split: str, product_ids: list[str], weights: SignalWeights
) -> Judgements:
    """The queries of ``split`` that have at least one positive among ``product_ids``.

    Raises:
        NoQueriesError: there is none.
    """
    queries = pq.read_table(catalogue / "queries.parquet", columns=["query_id", "text", "split"])
    queries = queries.filter(pc.equal(queries["split"], split))
    qrels = pq.read_table(catalogue / "qrels.parquet")
    query = pc.fill_null(pc.index_in(qrels["query_id"], queries["query_id"].combine_chunks()), -1).to_numpy()
    at = pc.index_in(qrels["product_id"], pa.array(product_ids, pa.string()))
    product = pc.fill_null(at, -1).to_numpy()
    grade = qrels["relevance"].to_numpy().astype(np.int8)
    step = pc.fill_null(qrels["desirability"], -1).to_numpy()
    weight = pair_weights(grade, step, weights)
    answered = np.zeros(queries.num_rows + 1, dtype=bool)
    answered[query[(product >= 0) & (weight > 0)]] = True
    answered[-1] = False  # judgements of other splits' queries point here
    kept = np.flatnonzero((product >= 0) & (grade > 0) & answered[query])
    if not len(kept):
        raise NoQueriesError(
            f"No query of the {split} split has a product of that split as its answer, and fusion retrieval "
            "learns from queries; add queries and qrels, or derive_queries, to the mapping of the import."
        )
    kept = kept[np.lexsort((product[kept], query[kept]))]
    chosen = np.flatnonzero(answered[:-1])
    renumbered = np.cumsum(answered[:-1]) - 1
    counts = np.bincount(renumbered[query[kept]], minlength=len(chosen))
    names, texts = (queries[c].take(pa.array(chosen)).to_pylist() for c in ("query_id", "text"))
    return Judgements(
        query_ids=names,
        texts=texts,
        starts=np.concatenate([[0], np.cumsum(counts)]),
        product=product[kept].astype(np.int64),
        grade=grade[kept],
        weight=weight[kept],
    )
