"""Hubs: products that are near to every text, and what is taken from their scores for it.

Among vectors of many dimensions some are nearest to far too many queries. Nearest neighbour normalization
(Chowdhury et al. 2024, arXiv 2410.24114) takes from each score a part of the product's mean similarity to its
nearest texts of a bank:

    score(q, p) = cos(q, p) - strength * (mean of the ``nearest`` largest cos(b, p) of texts b of the bank)

With the strength 0.5 it is the product's half of cross-domain similarity local scaling (Lample et al. 2018,
arXiv 1710.04087), with a bank in the place of the queries, as in querybank normalisation (Bogolin et al.
2022, arXiv 2112.12777). It costs one number for each product.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from components.catalog.format.parquet import row_groups
from components.encoder.embed.params import HubParams
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import Task, query_task, title_task
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.pixels import shard_paths
from components.encoder.model.features.vector_cache import Vectors
from components.retrieval.metrics import judge, ndcg_at
from components.retrieval.ranking import top_k

T = TypeVar("T")
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
MOST = 2_000  # validation products that are asked for, at random: bounds time and memory
FEWEST = 20  # queries or titles: fewer choose nothing
RELEVANT = 3  # the grade from which a product answers a query
AT_ONCE = 4096  # products whose similarities to the bank are held


@dataclass(frozen=True)
class Hubs:
    """What tells hubs from other products.

    Attributes:
        bank: vectors ``[B, D]`` of texts that nobody is asked about. nearest: of them count. strength: of
            their mean similarity; 0 holds nothing back.
    """

    bank: Vectors
    nearest: int
    strength: float

    def biases(self, vectors: Vectors) -> Vectors:
        """What is taken from every score of products with these vectors ``[N, D]``: float32 ``[N]``."""
        found = np.zeros(len(vectors), dtype=np.float32)
        if self.strength:
            for at in range(0, len(vectors), AT_ONCE):
                part = slice(at, at + AT_ONCE)
                found[part] = self.strength * nearness(vectors[part], self.bank, self.nearest)
        return found


def nearness(vectors: Vectors, bank: Vectors, nearest: int) -> Vectors:
    """``[N]``: mean of the ``nearest`` largest inner products of vectors ``[N, D]`` and a bank ``[B, D]``."""
    largest = np.sort(vectors @ bank.T, axis=1)[:, -nearest:]
    found: Vectors = largest.mean(axis=1)
    return found


def learn_hubs(catalogue: Path, encoder: BatchEncoder, features: FeatureCache, params: HubParams) -> Hubs:
    """A bank of titles of the train split, and the strength: as told, or the best on the validation split.

    Memory holds the bank and at most ``MOST`` validation products, whatever the size of the catalogue.

    Args:
        encoder, features: of the catalogue's texts and pictures.
    """
    titles = text_bank(catalogue, params.bank) if params.strength else []
    if not titles:
        return Hubs(np.zeros((0, encoder.encoder.embed_dim), dtype=np.float32), params.nearest, 0.0)
    bank = encoder.texts(titles)
    if params.strength != "auto":
        return Hubs(bank, params.nearest, params.strength)
    rows = _validation(catalogue)
    asked = query_task(catalogue, "validation", [row["product_id"] for row in rows], RELEVANT)
    tasks = [task for task in (asked, title_task(rows)) if len(task.texts) >= FEWEST]
    if not tasks:
        return Hubs(bank, params.nearest, 0.0)
    images = features.vectors(np.array([row["place"] for row in rows], dtype=np.int64))
    near = nearness(images, bank, params.nearest)
    scores = ((task, encoder.texts(task.texts) @ images.T, -near) for task in tasks)
    return Hubs(bank, params.nearest, best_weight(STRENGTHS, scores))


def best_weight(weights: Sequence[float], asked: Iterable[tuple[Task, Vectors, Vectors]]) -> float:
    """The weight of a second score with the highest nDCG@10, every task counting alike; the least of equals.

    Args:
        asked: each task with its scores ``[queries, products]`` and the second ones, of the same shape or
            ``[products]``.
    """
    means = np.zeros(len(weights))
    for task, scores, second in asked:
        for at, weight in enumerate(weights):
            ranking = top_k(scores + np.float32(weight) * second, 10)
            means[at] += np.nanmean(ndcg_at(judge(ranking, task.qrels), 10))
    return weights[int(means.argmax())]


def text_bank(catalogue: Path, most: int) -> list[str]:
    """Distinct titles of the train split, ``most`` at random, whatever the order of its products."""
    titles = (row["title"].strip() for row in _rows(catalogue, "train"))
    return _drawn(((title, title) for title in titles if title), most)


def _validation(catalogue: Path) -> list[dict[str, Any]]:
    """At most ``MOST`` products of the validation split, at random, in the catalogue's order."""
    drawn = _drawn(((row["product_id"], row) for row in _rows(catalogue, "validation")), MOST)
    return sorted(drawn, key=lambda row: int(row["place"]))


def _drawn(named: Iterable[tuple[str, T]], most: int) -> list[T]:
    """``most`` of distinct names at random: which, depends on nothing but the names. Holds twice as many."""
    kept: dict[str, T] = {}
    for name, value in named:
        kept[hashlib.sha256(name.encode()).hexdigest()] = value
        if len(kept) > 2 * most:
            kept = dict(sorted(kept.items())[:most])
    return [kept[key] for key in sorted(kept)[:most]]


def _rows(catalogue: Path, split: str) -> Iterator[dict[str, Any]]:
    """Id, title, group and place of a split's products, a few at a time."""
    columns = ["product_id", "title", "group_id", "split"]
    tables = (table for shard in shard_paths(catalogue) for table in row_groups(shard, columns))
    for place, row in enumerate(row for table in tables for row in table.to_pylist()):
        if row["split"] == split:
            yield row | {"title": row["title"] or "", "place": place}
