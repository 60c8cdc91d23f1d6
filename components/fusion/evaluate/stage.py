"""The stage ``fusion_eval``: one pass over the products, every row, as metrics and per-query files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.catalog.format.schema import read_schema
from components.encoder.model.features.held_out import query_task
from components.encoder.model.features.vector_cache import Vectors
from components.fusion.evaluate.conditions import carelessly_written, sparse, without_pictures, without_texts
from components.fusion.evaluate.evaluate import GATES, Question, Scorer, Table, gate_rows
from components.fusion.model.baselines import average, best_text_share, bm25_scores, cosine, weighted
from components.fusion.model.errors import FusionDataError
from components.fusion.model.fuse.fuse import fused_vectors, gate_weights
from components.fusion.model.networks.files import LoadedNetwork, load_network
from components.fusion.model.params import FusionEvaluationParams, FusionParams
from components.fusion.model.studies import MAIN
from components.fusion.model.towers.files import load_towers
from components.fusion.model.towers.towers import Items, Towers, joined
from components.retrieval.metrics import Qrels
from components.retrieval.published_figures import flat_figures, publish_figures
from components.stage.record import Record


def desirability_qrels(catalogue: Path, query_ids: list[str], product_ids: list[str]) -> Qrels:
    """Engagement grades of the queries' products; a query without any engagement is not judged."""
    rows = [
        (row["query_id"], row["product_id"], row["desirability"])
        for row in pq.read_table(catalogue / "qrels.parquet").to_pylist()
        if row["desirability"]
    ]
    inside = set(product_ids)
    return Qrels.from_ids([row for row in rows if row[1] in inside], query_ids, product_ids)


@dataclass(frozen=True)
class Split:
    """One split's products with their vectors, and the queries asked of them."""

    items: Items
    question: Question
    queries: Vectors


def read_split(catalogue: Path, towers: Towers, split: str, relevant_grade: int) -> Split:
    """Encode the products and the queries of a split.

    Raises:
        FusionDataError: the split has no products, or no query with a relevant one.
    """
    items = joined(towers.stream(catalogue, split))  # type: ignore[arg-type]
    task = query_task(catalogue, split, items.product_ids, relevant_grade)
    if not task.texts:
        raise FusionDataError(
            f"No query of the {split} split has a product of relevance {relevant_grade} there; add qrels or "
            "lower fusion_eval.relevant_grade."
        )
    wanted = desirability_qrels(catalogue, task.query_ids, items.product_ids)
    return Split(items, Question(task, wanted), towers.queries(task.texts))


def network_scorer(queries: Vectors, loaded: LoadedNetwork) -> Scorer:
    """Scores of a fusion network's item vectors."""
    return lambda items: cosine(
        queries, fused_vectors(loaded.network, items), items.has_text | items.has_image
    )


def without_sight(scorer: Scorer) -> Scorer:
    """The same network shown no picture: how much of its gain over text alone is not the picture's."""
    return lambda items: scorer(without_pictures(items, share=1.0, seed=0))


def plain_scorers(
    split: Split, text_share: float, fusion: FusionParams, params: FusionEvaluationParams
) -> dict[str, Scorer]:
    """The rows that train nothing."""
    queries, texts = split.queries, split.question.task.texts
    return {
        "bm25": lambda items: bm25_scores(texts, items, items.has_text, fusion.text.fields, params.bm25),
        "text_only": lambda items: cosine(queries, items.text, items.has_text),
        "image_only": lambda items: cosine(queries, items.image, items.has_image),
        "average": lambda items: cosine(queries, average(items), items.has_text | items.has_image),
        "fixed_weights": lambda items: cosine(
            queries, weighted(items, text_share), items.has_text | items.has_image
        ),
    }


def conditions(
    items: Items, towers: Towers, catalogue: Path, params: FusionEvaluationParams
) -> Iterator[tuple[str, Items]]:
    """Name and products of each condition."""
    yield "picture_missing", without_pictures(items, params.missing_share, params.seed)
    yield "text_missing", without_texts(items, params.missing_share, params.seed)
    schema = read_schema(catalogue / "schema.json")
    yield "text_degraded", carelessly_written(items, towers, schema, params.noise, params.seed)


def open_towers(folder: Path, fusion: FusionParams, params: FusionEvaluationParams, cache: Path) -> Towers:
    """The towers of a model folder, with the memo of vectors."""
    loaded = load_towers(folder)
    return Towers(loaded, fusion.text, params.encode, cache / "vectors.sqlite", params.threads)


def measure(
    table: Table,
    scorers: Mapping[str, Scorer],
    split: Split,
    worse: list[tuple[str, Items]],
    sparse_share: float,
) -> None:
    """All rows of ``scorers``, as they are and under worse conditions."""
    few_words = sparse(split.items, sparse_share)
    for variant, scorer in scorers.items():
        table.add(variant, split.items, scorer, few_words)
        for name, items in worse:
            table.add_condition(variant, name, items, scorer)


def evaluate_and_publish(
    fusion: FusionParams,
    params: FusionEvaluationParams,
    catalogue: Path,
    models: Path,
    cache: Path,
    record: Record,
) -> None:
    """Measure every row of the root graph on the held-out split and publish the figures."""
    torch.set_num_threads(params.threads)
    folders: dict[str, Path] = {name: models / name for name in params.networks}
    table, gates = main_table(fusion, params, catalogue, models / "align_image", folders, cache, record)
    with record.timed("intervals"):
        metrics = table.metrics()
    publish("fusion", metrics, {"fusion.parquet": table.per_query(), "gates.parquet": gates}, record)


def main_table(
    fusion: FusionParams,
    params: FusionEvaluationParams,
    catalogue: Path,
    towers_folder: Path,
    networks: Mapping[str, Path],
    cache: Path,
    record: Record,
) -> tuple[Table, pa.Table]:
    """The rows that train nothing and those of ``networks`` on one pair of towers, and the gates."""
    with record.timed("vectors"):
        towers = open_towers(towers_folder, fusion, params, cache)
        split = read_split(catalogue, towers, params.split, params.relevant_grade)
        worse = list(conditions(split.items, towers, catalogue, params))
        tuning = read_split(catalogue, towers, "validation", params.relevant_grade)
    share = best_text_share(tuning.queries, tuning.items, tuning.question.task.qrels, params.text_shares)
    record.metrics["fixed_text_share"] = share
    loaded = {n: load_network(folder, towers.model.model_sha256) for n, folder in networks.items()}
    scorers = plain_scorers(split, share, fusion, params)
    scorers |= {n: network_scorer(split.queries, network) for n, network in loaded.items()}
    if MAIN in loaded:
        scorers[f"{MAIN}_no_pictures"] = without_sight(scorers[MAIN])
    table = Table(params, split.question)
    with record.timed("rows"):
        measure(table, scorers, split, worse, params.sparse_share)
        gates = _gates(loaded, scorers, split, params)
    towers.close()
    return table, gates


def _gates(
    networks: Mapping[str, LoadedNetwork],
    scorers: Mapping[str, Scorer],
    split: Split,
    params: FusionEvaluationParams,
) -> pa.Table:
    rows: list[Mapping[str, Any]] = []
    for name, loaded in networks.items():
        weights = gate_weights(loaded.network, split.items)
        if weights is not None:
            scores = scorers[name](split.items)
            rows += gate_rows(name, split.question.task, split.items, scores, weights, params.gate_top)
    return pa.Table.from_pylist(rows, schema=GATES)


def publish(name: str, metrics: dict[str, Any], files: Mapping[str, pa.Table], record: Record) -> None:
    """Write ``metrics/NAME.json`` and ``results/per_query/NAME/``, and what the record says of them."""
    target, per_query = Path(f"metrics/{name}.json"), Path(f"results/per_query/{name}")
    record.outputs = publish_figures(metrics, files, target, per_query)
    record.metrics |= flat_figures(metrics)
