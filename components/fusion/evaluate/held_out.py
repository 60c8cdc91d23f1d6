"""A split of the catalogue as one pair of towers sees it, as it is and under worse conditions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from components.catalog.format.attributes import pairs
from components.catalog.format.records import Split
from components.catalog.format.schema import CatalogSchema, read_schema
from components.catalog.format.shards import product_of
from components.catalog.noise.params import NoiseParams
from components.catalog.noise.seller_text import SellerNoise
from components.encoder.model.features.held_out import asked_in, one_spelling, query_task
from components.fusion.evaluate.params import FusionEvaluationParams
from components.fusion.evaluate.table import QuerySet, Scorer, Table
from components.fusion.model.baselines import Questions
from components.fusion.model.data.product_text import field_text
from components.fusion.model.errors import NoQueriesError
from components.fusion.model.params import FusionParams
from components.fusion.model.towers.aligned import load_towers
from components.fusion.model.towers.towers import Flags, Items, Towers, joined
from components.retrieval.metrics import Qrels


def _chosen(items: Items, share: float, seed: int) -> Flags:
    """About ``share`` of the products, by a hash of their ids."""

    def _draw(product_id: str) -> float:
        digest = hashlib.sha256(f"missing\x1f{seed}\x1f{product_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    return np.array([_draw(name) < share for name in items.product_ids])


def without_pictures(items: Items, share: float, seed: int) -> Items:
    """A share of the products loses its picture."""
    gone = _chosen(items, share, seed)
    return replace(items, image=np.where(gone[:, None], 0, items.image), has_image=items.has_image & ~gone)


def without_texts(items: Items, share: float, seed: int) -> Items:
    """The same share of the products loses all of its text."""
    gone = _chosen(items, share, seed)
    return replace(items, text=np.where(gone[:, None], 0, items.text), has_text=items.has_text & ~gone)


def carelessly_written(
    items: Items, towers: Towers, schema: CatalogSchema, noise: NoiseParams, seed: int
) -> Items:
    """Every listing as a far more careless seller would write it, encoded again."""
    writer = SellerNoise(noise, schema, seed)
    rows = []
    for row in items.rows:
        listing, _ = writer.apply(product_of(row))
        changed = {"title": listing.title, "description": listing.description}
        rows.append({**row, **changed, "attributes": pairs(listing.attributes)})
    text, has_text = towers.texts(rows)
    return replace(items, rows=rows, text=text, has_text=has_text)


def sparse(items: Items, share: float) -> Flags:
    """About ``share`` of the products: those with the fewest words in title, attributes and description."""
    fields = ("title", "attributes", "description")
    words = np.array([sum(len(field_text(row, f).split()) for f in fields) for row in items.rows])
    few: Flags = words <= np.quantile(words, share, method="lower")
    return few


class Settings(NamedTuple):
    """What stays the same whatever is measured."""

    fusion: FusionParams
    params: FusionEvaluationParams
    catalogue: Path
    cache: Path


@dataclass(frozen=True)
class HeldOutQueries:
    """One split's products with their vectors, and the queries asked of them."""

    items: Items
    question: QuerySet
    questions: Questions


def open_towers(folder: Path, settings: Settings) -> Towers:
    """The towers of a model folder, with the cache of vectors."""
    fusion, params, _, cache = settings
    loaded = load_towers(folder)
    return Towers(loaded, fusion.text, params.encode, cache, params.threads)


def read_split(towers: Towers, split: Split, settings: Settings) -> HeldOutQueries:
    """Encode the products and the queries of a split.

    Raises:
        NoQueriesError: the split has no query with a relevant one.
    """
    catalogue, grade = settings.catalogue, settings.params.relevant_grade
    items = joined(towers.stream(catalogue, split))
    task = query_task(catalogue, split, items.product_ids, grade)
    if not task.texts:
        raise NoQueriesError(
            f"No query of the {split} split has a product of relevance {grade} there; add qrels or "
            "lower fusion_eval.relevant_grade."
        )
    wanted = _desirability(catalogue, task.query_ids, items.product_ids)
    known = asked_in(catalogue, {"train", "validation"} - {split})
    taught = np.array([one_spelling(text) in known for text in task.texts], dtype=bool)
    question = QuerySet(task, wanted, taught)
    return HeldOutQueries(items, question, Questions(task, towers, settings.fusion))


def _desirability(catalogue: Path, query_ids: list[str], product_ids: list[str]) -> Qrels:
    """Engagement grades of the queries' products; a query without any engagement is not judged."""
    inside = set(product_ids)
    rows = [
        (row["query_id"], row["product_id"], row["desirability"])
        for row in pq.read_table(catalogue / "qrels.parquet").to_pylist()
        if row["desirability"] and row["product_id"] in inside
    ]
    return Qrels.from_ids(rows, query_ids, product_ids)


def _conditions(items: Items, towers: Towers, settings: Settings) -> Iterator[tuple[str, Items]]:
    """Name and products of each condition."""
    params = settings.params
    yield "picture_missing", without_pictures(items, params.missing_share, params.seed)
    yield "text_missing", without_texts(items, params.missing_share, params.seed)
    schema = read_schema(settings.catalogue / "schema.json")
    yield "text_degraded", carelessly_written(items, towers, schema, params.noise, params.seed)


class Measurement:
    """Adds rows to a table: each on the split as it is, among sparse products, and under every condition."""

    def __init__(self, held_out: HeldOutQueries, towers: Towers, settings: Settings) -> None:
        self.items = held_out.items
        self.worse = list(_conditions(self.items, towers, settings))
        self.few_words = sparse(self.items, settings.params.sparse_share)

    def add(self, table: Table, scorers: Mapping[str, Scorer]) -> None:
        """Add a row for each scorer, and what it gives where products lack a picture or a text."""
        for variant, scorer in scorers.items():
            table.add(variant, self.items, scorer, self.few_words)
            for name, items in self.worse:
                table.add_condition(variant, name, items, scorer)
