"""What validation prefers: the system that answers, the weights of text and picture, and the floor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.catalog.format.parquet import row_groups
from components.catalog.format.records import TEXT_COLUMNS
from components.catalog.format.schema import read_schema
from components.encoder.model.features.held_out import query_task
from components.encoder.model.features.pixels import shard_paths
from components.encoder.model.features.query_types import QueryTypes
from components.fusion.answer.answer import BY_DEFAULT, FEWEST, PLAIN, AnswerChoice, Floor, Parts
from components.fusion.answer.composed import BARRED, composed_queries, composed_scores
from components.fusion.evaluate.held_out import HeldOutQueries, Settings, without_texts
from components.fusion.evaluate.scorers import TunedBaselines, network_scorer, plain_scorers
from components.fusion.model.baselines import Questions, mean_ndcg, simplex, weighted_sum
from components.fusion.model.networks.files import TrainedNetwork
from components.fusion.model.towers.towers import Items
from components.retrieval.metrics import Qrels

COMPOSED = 300  # queries of picture and changed value that choose their weights
STEPS = 10  # tried for them: weights in steps of 1 / this
WARNED = 0.05  # of the queries that have an answer
NONE = np.float32(-2)  # below every cosine


def choose(
    validation: HeldOutQueries,
    settings: Settings,
    networks: Mapping[str, TrainedNetwork],
    types: QueryTypes,
    found: TunedBaselines,
) -> AnswerChoice:
    """The best on validation, as its products are and with a share of their texts taken away.

    Queries derived from a table are words of its titles: keyword search finds them all in a small catalogue,
    where shoppers use other words. Without those texts a system has to know the product.

    Args:
        types: tell the type of a query. found: weights of the rows that train nothing, from the same split.
    """
    items, towers, catalogue = validation.items, validation.questions.towers, settings.catalogue
    # A product of any relevance answers here, whatever counts as a hit in the table.
    task = query_task(catalogue, "validation", items.product_ids, 1)
    questions = Questions(task, towers, settings.fusion)
    plain = plain_scorers(questions, types, found)
    scorers = {name: plain[name] for name in PLAIN}
    figures = {name: mean_ndcg(scores(items), task.qrels) for name, scores in scorers.items()}
    for name, network in networks.items():
        if network.validation is not None:
            scorers[name], figures[name] = network_scorer(questions, network), network.validation
    fewer = without_texts(items, settings.params.missing_share, settings.params.seed)
    lexical, text, image = found.hybrid_image
    parts, parts_ndcg = _parts(questions, items, catalogue, found.hybrid_image)
    answer = AnswerChoice(
        system=BY_DEFAULT,
        towers_sha256=towers.model.model_sha256,
        ndcg_at_10=figures,
        text_missing_ndcg_at_10={name: mean_ndcg(of(fewer), task.qrels) for name, of in scorers.items()},
        queries=len(task.texts),
        hybrid_image=(lexical, text, image),
        type_weight=found.type_weight,
        parts=parts,
        parts_ndcg_at_10=parts_ndcg,
        floor=_floor(questions, items, catalogue),
    )
    return answer.model_copy(update={"system": answer.best()[0]}) if answer.chosen else answer


def _parts(
    questions: Questions, items: Items, catalogue: Path, weights: tuple[float, ...]
) -> tuple[Parts, dict[str, float]]:
    """Weights of text and picture; both keep some, for whoever gives both means both."""
    closed = read_schema(catalogue / "schema.json").closed_attributes()
    queries = composed_queries(items.rows, closed, COMPOSED)
    if len(queries.texts) < FEWEST:
        return Parts(), {}
    pictures = items.image[queries.sources]
    sources = composed_scores(questions.others(queries.texts, items), pictures, items, weights)
    text, image = (np.where(queries.barred, BARRED, scores).astype(np.float32) for scores in sources)
    tried = {pair: mean_ndcg(weighted_sum((text, image), pair), queries.qrels) for pair in simplex(STEPS, 2)}
    best = max((pair for pair in tried if min(pair) > 0), key=lambda pair: tried[pair])
    found = {"text": tried[1.0, 0.0], "image": tried[0.0, 1.0], "both": tried[best]}
    return Parts(text=best[0], image=best[1]), found


def _floor(questions: Questions, items: Items, catalogue: Path) -> Floor | None:
    """The best score that few queries with an answer stay below, and how many without one do.

    Best among all products of the catalogue, as a search compares it; memory holds one row group of them.
    """
    if len(questions.task.texts) < FEWEST:
        return None
    types = _answers_types(questions.task.qrels, items.rows)
    best = np.full(len(types), NONE, dtype=np.float32)
    without = best.copy()
    for rows in _row_groups(catalogue):
        vectors, there = questions.towers.texts(rows)
        scores = np.where(there, questions.vectors @ vectors.T, NONE)
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


def _answers_types(qrels: Qrels, rows: Sequence[Mapping[str, Any]]) -> list[set[str]]:
    """The product types of each query's judged products."""
    types: list[set[str]] = [set() for _ in range(qrels.queries)]
    for query, product in zip(qrels.query.tolist(), qrels.product.tolist(), strict=True):
        if product >= 0:
            types[query].add(rows[product]["product_type"])
    return types
