"""What an encoder is measured on: the products, queries and judgements of one held-out split."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.catalog.format.schema import CatalogSchema, read_schema
from components.encoder.model.errors import TrainingDataError
from components.encoder.model.features.rows import read_rows, read_truth
from components.encoder.model.params import HeldOutParams
from components.retrieval.metrics import Qrels


@dataclass(frozen=True)
class Task:
    """One retrieval task: queries against the split's pictures. ``clusters`` are resampled together."""

    name: str
    query_ids: list[str]
    texts: list[str]
    kinds: list[str]
    qrels: Qrels
    clusters: list[str] | None


@dataclass(frozen=True)
class HeldOut:
    """One split: ``rows`` are its products, ``positions`` where their pixels lie in the catalogue."""

    rows: list[dict[str, Any]]
    positions: npt.NDArray[np.int64]
    train_rows: list[dict[str, Any]]
    train_positions: npt.NDArray[np.int64]
    schema: CatalogSchema
    truth: dict[str, dict[str, Any]]
    tasks: list[Task]

    @property
    def product_ids(self) -> list[str]:
        """Ids of the split's products, in order."""
        return [r["product_id"] for r in self.rows]


def title_task(rows: list[dict[str, Any]]) -> Task:
    """Each product's title must find its picture; every product of equal title or equal group is a hit."""
    asked = [i for i, r in enumerate(rows) if r["title"].strip()]
    by_title: dict[str, list[int]] = {}
    by_group: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        by_title.setdefault(row["title"].strip().casefold(), []).append(i)
        by_group.setdefault(row["group_id"], []).append(i)
    query, product = [], []
    for q, i in enumerate(asked):
        hits = sorted({*by_title[rows[i]["title"].strip().casefold()], *by_group[rows[i]["group_id"]]})
        query += [q] * len(hits)
        product += hits
    return Task(
        name="titles",
        query_ids=[rows[i]["product_id"] for i in asked],
        texts=[rows[i]["title"] for i in asked],
        kinds=["title"] * len(asked),
        qrels=Qrels.from_arrays(query, product, [3] * len(query), len(asked), len(rows)),
        clusters=[rows[i]["group_id"] for i in asked],
    )


def query_task(catalogue: Path, split: str, product_ids: list[str], relevant_grade: int) -> Task:
    """The split's own queries with a product of ``relevant_grade`` or more among ``product_ids``.

    Judgements of other products do not count, not even in the ideal ranking: nobody could find them.
    """
    queries = pq.read_table(catalogue / "queries.parquet")
    queries = queries.filter(pc.equal(queries["split"], split))
    inside = set(product_ids)
    rows = [
        (q["query_id"], q["product_id"], q["relevance"])
        for q in pq.read_table(catalogue / "qrels.parquet").to_pylist()
        if q["product_id"] in inside and q["relevance"] > 0
    ]
    answered = {q for q, _, grade in rows if grade >= relevant_grade}
    kept = [q for q in queries.to_pylist() if q["query_id"] in answered]
    ids = [q["query_id"] for q in kept]
    return Task(
        name="queries",
        query_ids=ids,
        texts=[q["text"] for q in kept],
        kinds=[q["kind"] for q in kept],
        qrels=Qrels.from_ids(rows, ids, product_ids),
        clusters=None,
    )


def one_spelling(text: str) -> str:
    """A query's text without upper case and extra spaces: what makes two queries one."""
    return " ".join(text.casefold().split())


def asked_in(catalogue: Path, splits: Collection[str]) -> frozenset[str]:
    """The texts of some splits' queries, in one spelling."""
    queries = pq.read_table(catalogue / "queries.parquet", columns=["text", "split"]).to_pylist()
    return frozenset(one_spelling(query["text"]) for query in queries if query["split"] in splits)


def read_held_out(catalogue: Path, truth: Path, split: str, relevant_grade: int) -> HeldOut:
    """Read one split for evaluation, with the train split for the baselines that look things up.

    Raises:
        TrainingDataError: the split has no product.
    """
    every = read_rows(catalogue)
    positions = np.array([i for i, r in enumerate(every) if r["split"] == split], dtype=np.int64)
    train = np.array([i for i, r in enumerate(every) if r["split"] == "train"], dtype=np.int64)
    if not len(positions):
        raise TrainingDataError(
            f"{catalogue} has no product in the {split} split; change the split fractions."
        )
    rows = [every[i] for i in positions]
    tasks = [query_task(catalogue, split, [r["product_id"] for r in rows], relevant_grade), title_task(rows)]
    return HeldOut(
        rows=rows,
        positions=positions,
        train_rows=[every[i] for i in train],
        train_positions=train,
        schema=read_schema(catalogue / "schema.json"),
        truth=read_truth(truth),
        tasks=[t for t in tasks if t.query_ids],
    )


def only(held_out: HeldOut, kept: npt.NDArray[np.bool_], catalogue: Path, params: HeldOutParams) -> HeldOut:
    """The same split with those of its products alone that ``kept`` marks, and what can be asked of them.

    Raises:
        TrainingDataError: none is left.
    """
    if not kept.any():
        raise TrainingDataError(
            f"No product of the {params.split} split of {catalogue} is left to measure on."
        )
    rows = [row for row, keep in zip(held_out.rows, kept, strict=True) if keep]
    ids = [r["product_id"] for r in rows]
    tasks = [query_task(catalogue, params.split, ids, params.relevant_grade), title_task(rows)]
    tasks = [t for t in tasks if t.query_ids]
    return replace(held_out, rows=rows, positions=held_out.positions[kept], tasks=tasks)
