"""What validation prefers: the system that answers, the weights of text and picture, and the floor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from components.catalog.format.parquet import row_groups
from components.catalog.format.records import TEXT_COLUMNS
from components.catalog.format.schema import read_schema
from components.encoder.model.features.held_out import Task, query_task
from components.encoder.model.features.pixels import shard_paths
from components.encoder.model.features.query_types import QueryTypes
from components.encoder.model.features.vector_cache import Vectors
from components.fusion.answer.answer import BY_DEFAULT, FEWEST, Answer, Floor, Parts
from components.fusion.answer.composed import composed_queries
from components.fusion.model.baselines import (
    hybrid_scores,
    hybrid_sources,
    lexical_index,
    mean_ndcg,
    simplex,
    weighted_sum,
    with_types,
)
from components.fusion.model.fuse.item_vectors import Asked, type_scores
from components.fusion.model.networks.files import TrainedNetwork
from components.fusion.model.params import FusionParams
from components.fusion.model.sources.bm25 import Bm25, Scores
from components.fusion.model.sources.evidence import standardised
from components.fusion.model.towers.towers import Items, Towers

COMPOSED = 300  # queries of picture and changed value that choose their weights
STEPS = 10  # tried for them: weights in steps of 1 / this
WARNED = 0.05  # of the queries that have an answer
BARRED = -1e3  # below every standardised score
NONE = np.float32(-2)  # below every cosine


class Validation:
    """The validation products, and the queries asked of them."""

    def __init__(self, items: Items, towers: Towers, catalogue: Path, fusion: FusionParams) -> None:
        self.items, self.towers, self.catalogue = items, towers, catalogue
        self.task: Task = query_task(catalogue, "validation", items.product_ids, 1)
        self.index: Bm25 = lexical_index(items, fusion.text.fields, fusion.bm25)
        self.asked = self.ask(self.task.texts)

    def types(self, types: QueryTypes) -> Scores:
        """Log-probability ``[Q, N]`` of the products' types."""
        found = types.log_probabilities(self.task.texts, self.towers.features(self.task.texts))
        return type_scores(types, found, self.items)

    def ask(self, texts: list[str]) -> Asked:
        """Queries, as they are asked of the products."""
        return Asked.of(self.towers.queries(texts), texts, self.index)


def choose(
    validation: Validation,
    networks: Mapping[str, TrainedNetwork],
    weights: tuple[float, ...],
    types: QueryTypes,
    type_weight: float,
) -> Answer:
    """The best on validation; of equals what reads all that a product has. Too few queries choose nothing.

    Queries derived from a table are words of its titles: where keyword search alone finds them all, they do
    not say how it answers other words.

    Args:
        weights: of BM25, text and picture in ``hybrid_image``, from the same split. types: tell the type of a
            query. type_weight: of that in ``hybrid_image_type``.
    """
    asked, items, qrels = validation.asked, validation.items, validation.task.qrels
    lexical, text, image = weights
    plain = weighted_sum(hybrid_sources(asked, items), weights)
    found = {
        "bm25": mean_ndcg(asked.lexical, qrels),
        "hybrid": mean_ndcg(hybrid_scores(asked, items), qrels),
        "hybrid_image": mean_ndcg(plain, qrels),
        "hybrid_image_type": mean_ndcg(with_types(plain, validation.types(types), type_weight), qrels),
    }
    found |= {name: n.validation for name, n in networks.items() if n.validation is not None}
    parts, parts_ndcg = _parts(validation, weights)
    queries = len(validation.task.texts)
    return Answer(
        system=best_of(found) if queries >= FEWEST else BY_DEFAULT,
        towers_sha256=validation.towers.model.model_sha256,
        ndcg_at_10=found,
        queries=queries,
        hybrid_image=(lexical, text, image),
        type_weight=type_weight,
        parts=parts,
        parts_ndcg_at_10=parts_ndcg,
        floor=_floor(validation),
    )


def best_of(found: Mapping[str, float]) -> str:
    """The system with the highest figure; ``BY_DEFAULT`` where it is one of several, else the first."""
    return max(found, key=lambda name: (found[name], name == BY_DEFAULT))


def composed_scores(
    asked: Asked, pictures: Vectors, items: Items, weights: tuple[float, ...]
) -> list[Scores]:
    """What the text and what the picture of queries say, ``[Q, N]`` each, on one scale.

    Args:
        pictures: ``[Q, D]`` vectors of the queries' pictures. weights: of ``hybrid_image``, for the text.
    """
    said = weighted_sum(hybrid_sources(asked, items), weights)
    seen = items.has_text | items.has_image
    return [standardised(said, seen), standardised(pictures @ items.image.T, items.has_image)]


def _parts(validation: Validation, weights: tuple[float, ...]) -> tuple[Parts, dict[str, float]]:
    """Weights of text and picture; both keep some, for whoever gives both means both."""
    items = validation.items
    closed = read_schema(validation.catalogue / "schema.json").closed_attributes()
    queries = composed_queries(items.rows, closed, COMPOSED)
    if len(queries.texts) < FEWEST:
        return Parts(), {}
    pictures = items.image[queries.sources]
    sources = composed_scores(validation.ask(queries.texts), pictures, items, weights)
    text, image = (np.where(queries.barred, BARRED, scores).astype(np.float32) for scores in sources)
    tried = {pair: mean_ndcg(weighted_sum((text, image), pair), queries.qrels) for pair in simplex(STEPS, 2)}
    best = max((pair for pair in tried if min(pair) > 0), key=lambda pair: tried[pair])
    found = {"text": tried[1.0, 0.0], "image": tried[0.0, 1.0], "both": tried[best]}
    return Parts(text=best[0], image=best[1]), found


def _floor(validation: Validation) -> Floor | None:
    """The best score that few queries with an answer stay below, and how many without one do.

    Best among all products of the catalogue, as a search compares it; memory holds one row group of them.
    """
    if len(validation.task.texts) < FEWEST:
        return None
    types = _answers_types(validation)
    best = np.full(len(types), NONE, dtype=np.float32)
    without = best.copy()
    for rows in _row_groups(validation.catalogue):
        vectors, there = validation.towers.texts(rows)
        scores = np.where(there, validation.asked.vectors @ vectors.T, NONE)
        gone = np.array([[row["product_type"] in mine for row in rows] for mine in types], dtype=bool)
        best = np.maximum(best, scores.max(axis=1))
        without = np.maximum(without, np.where(gone, NONE, scores).max(axis=1))
    usable = without > NONE
    if usable.sum() < FEWEST:
        return None
    score = float(np.quantile(best, WARNED))
    warned, caught = float((best < score).mean()), float((without[usable] < score).mean())
    return Floor(score=score, warned=warned, caught=caught, queries=int(usable.sum()))


def _row_groups(catalogue: Path) -> Iterator[list[dict[str, Any]]]:
    """All products without pictures."""
    for shard in shard_paths(catalogue):
        for table in row_groups(shard, TEXT_COLUMNS):
            if table.num_rows:
                yield table.to_pylist()


def _answers_types(validation: Validation) -> list[set[str]]:
    """The product types of each query's judged products."""
    qrels, rows = validation.task.qrels, validation.items.rows
    types: list[set[str]] = [set() for _ in range(qrels.queries)]
    for query, product in zip(qrels.query.tolist(), qrels.product.tolist(), strict=True):
        if product >= 0:
            types[query].add(rows[product]["product_type"])
    return types
