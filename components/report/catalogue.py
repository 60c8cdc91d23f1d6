"""What the report reads of the checked catalogue and of the truth beside it: counts, listings, judgements."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.catalog.records import SPLITS
from components.report.errors import ReportInputError

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Listing:
    """A product as its seller lists it, without the picture."""

    product_id: str
    split: str
    category: str
    product_type: str
    title: str
    description: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class TruthRow:
    """What is really in the picture. ``box`` is x0 y0 x1 y1 in fractions of width and height."""

    title: str
    attributes: dict[str, str]
    box: Box | None
    scene: str
    noise: tuple[tuple[str, str], ...]  # (field, kind)


@dataclass(frozen=True)
class Overview:
    """The catalogue's small columns: enough to count and to sample, never a picture."""

    types: dict[str, str] = field(default_factory=dict)  # product_id -> product type
    groups: dict[str, str] = field(default_factory=dict)  # product_id -> group
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # (category, split) -> products

    @property
    def categories(self) -> list[str]:
        """Categories in alphabetical order."""
        return sorted({category for category, _ in self.counts})

    @property
    def splits(self) -> list[str]:
        """Splits that hold a product, in the order train, validation, test."""
        held = {split for _, split in self.counts}
        return [*(s for s in SPLITS if s in held), *sorted(held.difference(SPLITS))]


@dataclass(frozen=True)
class QueryRow:
    """A search query."""

    text: str
    kind: str
    split: str


def read_table(path: Path, columns: list[str], ids: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Rows of a Parquet file, ``columns`` only; with ``ids``, the rows whose first column is among them.

    Raises:
        ReportInputError: the file is missing or unreadable, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                held = ", ".join(file.schema_arrow.names)
                raise ReportInputError(f"{path} has no column {', '.join(missing)} (it has {held}).")
            table = file.read(columns=columns)
    except FileNotFoundError:
        raise ReportInputError(f"{path} does not exist; run the stage that makes it, or all with `dvc repro`.") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise ReportInputError(f"{path} is not a readable Parquet file: {error}.") from None
    if ids is not None:
        wanted = pa.array(sorted(ids), pa.string())
        table = table.filter(pc.is_in(table.column(columns[0]).cast(pa.string()), value_set=wanted))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def shards(folder: Path) -> list[Path]:
    """The catalogue's product shards, in order.

    Raises:
        ReportInputError: there is none.
    """
    found = sorted((folder / "products").glob("part-*.parquet"))
    if not found:
        raise ReportInputError(f"{folder}/products holds no part-*.parquet; run the stage catalog_quality.")
    return found


def read_overview(folder: Path) -> Overview:
    """Count and place every product of the catalogue in ``folder``."""
    overview = Overview()
    for shard in shards(folder):
        for row in read_table(shard, ["product_id", "split", "category", "product_type", "group_id"]):
            overview.types[row["product_id"]] = row["product_type"] or ""
            overview.groups[row["product_id"]] = row["group_id"] or ""
            overview.counts[row["category"] or "", row["split"] or ""] += 1
    return overview


def listings(folder: Path, ids: Collection[str]) -> Iterator[tuple[Listing, bytes]]:
    """The wanted products with their encoded pictures, one row group in memory at a time."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = ["product_id", "split", "category", "product_type", "title", "description", "attributes", "image"]
    for shard in shards(folder):
        with pq.ParquetFile(shard) as file:
            for group in range(file.num_row_groups):
                held = file.read_row_group(group, columns=["product_id"]).column(0).to_pylist()
                places = [place for place, product_id in enumerate(held) if product_id in ids]
                if not places:
                    continue
                for row in pc.take(file.read_row_group(group, columns=columns), places).to_pylist():
                    yield _listing(row), (row["image"] or {}).get("bytes") or b""


def _pairs(value: Iterable[dict[str, str]] | None) -> dict[str, str]:
    return {pair["name"]: pair["value"] or "" for pair in value or ()}


def _listing(row: dict[str, Any]) -> Listing:
    texts = ("product_id", "split", "category", "product_type", "title", "description")
    return Listing(**{name: row[name] or "" for name in texts}, attributes=_pairs(row["attributes"]))


def read_queries(folder: Path) -> dict[str, QueryRow]:
    """All queries by id; a catalogue may hold none, the file must be there."""
    rows = read_table(folder / "queries.parquet", ["query_id", "text", "kind", "split"])
    return {row["query_id"]: QueryRow(row["text"] or "", row["kind"] or "", row["split"] or "") for row in rows}


def read_grades(folder: Path, query_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """Grades of the wanted queries: query → product → relevance 1–3."""
    grades: dict[str, dict[str, int]] = {query_id: {} for query_id in query_ids}
    for row in read_table(folder / "qrels.parquet", ["query_id", "product_id", "relevance"], query_ids):
        if row["relevance"]:
            grades[row["query_id"]][row["product_id"]] = row["relevance"]
    return grades


def count_rows(path: Path) -> int:
    """Rows of a Parquet file, from its footer."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def read_truth(path: Path, ids: Collection[str]) -> dict[str, TruthRow]:
    """Truth of the wanted products; empty when this catalogue comes without truth."""
    if not path.is_file():
        return {}
    columns = ["product_id", "title", "attributes", "box", "scene", "noise"]
    return {row["product_id"]: _truth(row) for row in read_table(path, columns, ids)}


def _truth(row: dict[str, Any]) -> TruthRow:
    box = tuple(row["box"]) if row["box"] and all(edge is not None for edge in row["box"]) else None
    acts = tuple((act["field"] or "", act["kind"] or "") for act in row["noise"] or ())
    return TruthRow(row["title"] or "", _pairs(row["attributes"]), box, row["scene"] or "unknown", acts)


def drawn(ids: Iterable[str], count: int, seed: int) -> list[str]:
    """``count`` of ``ids``, drawn at random by ``seed``; the same ids in any order give the same draw."""
    return sorted(ids, key=lambda each: (hashlib.sha256(f"{seed}|{each}".encode()).digest(), each))[:count]
