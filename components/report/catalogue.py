"""What the report reads of the checked catalogue, the truth beside it, and results per query or product."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.catalog.format.parquet import row_groups
from components.catalog.format.records import SPLITS, TRUTH, Product, Query, Truth
from components.catalog.format.shards import Catalogue, product_of
from components.catalog.format.truth import truth_of
from components.report.errors import ReportInputError


@dataclass(frozen=True)
class CheckedCatalogue:
    """The catalogue's queries and small columns: enough to count and to sample, never a picture."""

    reader: Catalogue
    queries: dict[str, Query]  # by query_id
    types: dict[str, str] = field(default_factory=dict)  # product_id -> product type
    groups: dict[str, str] = field(default_factory=dict)  # product_id -> group
    titles: dict[str, str] = field(default_factory=dict)  # product_id -> title, as titles are compared
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # (category, split) -> products

    @property
    def categories(self) -> list[str]:
        """Categories in alphabetical order."""
        return sorted({category for category, _ in self.counts})

    @property
    def splits(self) -> list[str]:
        """Splits that hold a product, in the order train, validation, test."""
        return [split for split in SPLITS if split in {held for _, held in self.counts}]


def read_catalogue(folder: Path) -> CheckedCatalogue:
    """Read the queries, and count and place every product.

    Raises:
        CatalogueError: the folder is no catalogue, or a file of it is damaged.
    """
    reader = Catalogue(folder)
    checked = CheckedCatalogue(reader, {query.query_id: query for query in reader.queries()})
    columns = ["product_id", "split", "category", "product_type", "group_id", "title"]
    for row in reader.table(columns).to_pylist():
        checked.types[row["product_id"]] = row["product_type"] or ""
        checked.groups[row["product_id"]] = row["group_id"] or ""
        checked.titles[row["product_id"]] = (row["title"] or "").strip().casefold()
        checked.counts[row["category"] or "", row["split"] or ""] += 1
    return checked


def _among(ids: Collection[str]) -> Callable[[Any], Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    value_set = pa.array(sorted(ids), pa.string())
    return lambda group: pc.is_in(group["product_id"], value_set=value_set)


def listings(catalogue: Catalogue, ids: Collection[str]) -> Iterator[Product]:
    """The wanted products with their pictures, one row group in memory at a time."""
    for shard in catalogue.shards:
        for table in row_groups(shard, catalogue.product_columns, wanted=_among(ids)):
            for row in table.to_pylist():
                yield product_of(row)


def read_grades(catalogue: Catalogue, query_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """Grades of the wanted queries: query → product → relevance 1–3."""
    import pyarrow as pa
    import pyarrow.compute as pc

    qrels = catalogue.qrels_table()
    kept = qrels.filter(pc.is_in(qrels["query_id"], value_set=pa.array(sorted(query_ids), pa.string())))
    grades: dict[str, dict[str, int]] = {query_id: {} for query_id in query_ids}
    for row in kept.to_pylist():
        if row["relevance"]:
            grades[row["query_id"]][row["product_id"]] = row["relevance"]
    return grades


def read_truth(path: Path, ids: Collection[str]) -> dict[str, Truth]:
    """Truth of the wanted products; empty when this catalogue comes without truth."""
    if not path.is_file():
        return {}
    tables = row_groups(path, TRUTH.names, wanted=_among(ids))
    return {row["product_id"]: truth_of(row) for table in tables for row in table.to_pylist()}


def read_results(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    """All rows of a file of ``results/per_query`` with all their columns; ``columns`` must be among them.

    Raises:
        ReportInputError: the file is missing or unreadable, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            held = file.schema_arrow.names
            rows: list[dict[str, Any]] = file.read().to_pylist()
    except FileNotFoundError:
        raise ReportInputError(f"{path} does not exist; run the evaluation that makes it.") from None
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReportInputError(f"{path} is not a readable Parquet file: {reason}.") from None
    if missing := [name for name in columns if name not in held]:
        raise ReportInputError(f"{path} has no column {', '.join(missing)} (it has {', '.join(held)}).")
    return rows


def drawn(ids: Iterable[str], count: int, seed: int) -> list[str]:
    """``count`` of ``ids``, drawn at random by ``seed``; the same ids in any order give the same draw."""
    return sorted(ids, key=lambda each: (hashlib.sha256(f"{seed}|{each}".encode()).digest(), each))[:count]
