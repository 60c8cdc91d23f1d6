"""What validation prefers: the system that answers, the weights of text and picture, and the floor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.catalog.format.schema import read_schema
from components.encoder.model.features.held_out import Task, query_task
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
)
from components.fusion.model.fuse.item_vectors import Asked
from components.fusion.model.networks.files import TrainedNetwork
from components.fusion.model.params import FusionParams
from components.fusion.model.sources.bm25 import Bm25, Scores
from components.fusion.model.sources.standardise import standardised
from components.fusion.model.towers.towers import Items, Towers

COMPOSED = 300  # queries of picture and changed value that choose their weights
STEPS = 10  # tried for them: weights in steps of 1 / this
WARNED = 0.05  # of the queries that have an answer
BARRED = -1e3  # below every standardised score


class Validation:
    """The validation products, and the queries asked of them."""

    def __init__(self, items: Items, towers: Towers, catalogue: Path, fusion: FusionParams) -> None:
        self.items, self.towers, self.catalogue = items, towers, catalogue
        self.task: Task = query_task(catalogue, "validation", items.product_ids, 1)
        self.index: Bm25 = lexical_index(items, fusion.text.fields, fusion.bm25)
        self.asked = self.ask(self.task.texts)

    def ask(self, texts: list[str]) -> Asked:
        """Queries, as they are asked of the products."""
        return Asked.of(self.towers.queries(texts), texts, self.index)


def choose(
    validation: Validation, networks: Mapping[str, TrainedNetwork], weights: tuple[float, ...]
) -> Answer:
    """The best on validation; of equals the simplest. Too few queries choose nothing.

    Args:
        weights: of BM25, text and picture in ``hybrid_image``, from the same split.
    """
    asked, items, qrels = validation.asked, validation.items, validation.task.qrels
    lexical, text, image = weights
    found = {
        "bm25": mean_ndcg(asked.lexical, qrels),
        "hybrid": mean_ndcg(hybrid_scores(asked, items), qrels),
        "hybrid_image": mean_ndcg(weighted_sum(hybrid_sources(asked, items), weights), qrels),
    }
    found |= {name: n.validation for name, n in networks.items() if n.validation is not None}
    parts, parts_ndcg = _parts(validation, weights)
    queries = len(validation.task.texts)
    return Answer(
        system=max(found, key=lambda name: found[name]) if queries >= FEWEST else BY_DEFAULT,
        towers_sha256=validation.towers.model.model_sha256,
        ndcg_at_10=found,
        queries=queries,
        hybrid_image=(lexical, text, image),
        parts=parts,
        parts_ndcg_at_10=parts_ndcg,
        floor=_floor(validation),
    )


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
    """The best score that few queries with an answer stay below, and how many without one do."""
    items, task = validation.items, validation.task
    if len(task.texts) < FEWEST or not items.has_text.any():
        return None
    scores = np.where(items.has_text, validation.asked.vectors @ items.text.T, -1.0)
    gone = _of_answers_types(task, items)
    usable = (~gone & items.has_text).any(axis=1)
    if usable.sum() < FEWEST:
        return None
    best, without = scores.max(axis=1), np.where(gone, -1.0, scores).max(axis=1)[usable]
    score = float(np.quantile(best, WARNED))
    warned, caught = float((best < score).mean()), float((without < score).mean())
    return Floor(score=score, warned=warned, caught=caught, queries=int(usable.sum()))


def _of_answers_types(task: Task, items: Items) -> npt.NDArray[np.bool_]:
    """``[Q, N]``: products of a type that one of the query's judged products has."""
    names = sorted({row["product_type"] for row in items.rows})
    types = np.array([names.index(row["product_type"]) for row in items.rows], dtype=np.int64)
    inside = task.qrels.product >= 0
    has = np.zeros((task.qrels.queries, len(names)), dtype=bool)
    has[task.qrels.query[inside], types[task.qrels.product[inside]]] = True
    return np.asarray(has[:, types], dtype=bool)
