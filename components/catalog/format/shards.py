"""A catalogue on disk: written product by product, read row group by row group.

Layout and column types are in ``components.catalog.format.records``. Nothing here ever holds more than one
row group of pictures (256 products), however large the catalogue.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.catalog.format.attributes import of_pairs, pairs
from components.catalog.format.errors import CatalogueError
from components.catalog.format.parquet import RowWriter, open_parquet, row_groups, write_columns
from components.catalog.format.records import (
    MORE_IMAGES,
    PRODUCTS,
    QRELS,
    QUERIES,
    SPLITS,
    TEXT_COLUMNS,
    WITH_MORE_IMAGES,
    Product,
    Qrel,
    QrelRow,
    Query,
    Split,
)
from components.catalog.format.schema import CatalogSchema, read_schema
from components.stage.files.publish import write_text


def product_row(product: Product) -> dict[str, Any]:
    """A product as a row of ``WITH_MORE_IMAGES``."""
    return {
        **product.model_dump(exclude={"image", "image_path", "more_images", "attributes"}),
        "image": {"bytes": product.image, "path": product.image_path},
        MORE_IMAGES: [{"bytes": data, "path": ""} for data in product.more_images],
        "attributes": pairs(product.attributes),
    }


def product_of(row: dict[str, Any]) -> Product:
    """A product from a row of ``PRODUCTS``; columns that were not read are empty.

    Raises:
        pydantic.ValidationError: the row is no product.
    """
    values = {name: value for name, value in row.items() if value is not None}
    image = values.pop("image", None) or {}
    values["image"], values["image_path"] = image.get("bytes") or b"", image.get("path") or ""
    values[MORE_IMAGES] = tuple(one["bytes"] for one in values.pop(MORE_IMAGES, None) or () if one["bytes"])
    values["attributes"] = of_pairs(values.get("attributes"))
    return Product(**{"category": "", "product_type": "", "group_id": "", **values})


class CatalogueWriter:
    """Write ``products/part-*.parquet`` under ``path``; use as a context manager.

    Products come one by one in ``product_id`` order. Equal ids may follow each other: finding them is the
    gate's work, and it can only count what it sees. Only where ``more_images`` is set has the catalogue a
    column of further pictures.
    """

    def __init__(self, path: Path, rows_per_shard: int, more_images: bool = False) -> None:
        self.path, self.rows_per_shard = path, rows_per_shard
        self._schema = WITH_MORE_IMAGES if more_images else PRODUCTS
        self.split_counts: dict[str, int] = dict.fromkeys(SPLITS, 0)
        self.product_count = 0
        self._last_id = ""
        self._shard: RowWriter | None = None
        self._shards = 0

    def add(self, product: Product) -> None:
        """Append one product.

        Raises:
            CatalogueError: it is out of order, or belongs to no split.
        """
        if product.product_id < self._last_id:
            raise CatalogueError(
                f"product {product.product_id!r} came after {self._last_id!r}; write by product_id."
            )
        if product.split is None:
            raise CatalogueError(
                f"product {product.product_id!r} belongs to no split; give it one before writing."
            )
        if self._shard is not None and self._shard.rows >= self.rows_per_shard:
            self._shard.close()
            self._shard = None
        if self._shard is None:
            file = self.path / "products" / f"part-{self._shards:05d}.parquet"
            self._shard = RowWriter(file, self._schema)
            self._shards += 1
        size = len(product.image) + sum(map(len, product.more_images))
        self._shard.add(product_row(product), size)
        self._last_id = product.product_id
        self.split_counts[product.split] += 1
        self.product_count += 1

    def __enter__(self) -> CatalogueWriter:
        (self.path / "products").mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._shard is not None:
            self._shard.__exit__(kind, error, at)
            self._shard = None


def write_queries(path: Path, queries: Iterable[Query]) -> int:
    """Write ``queries.parquet`` in the order given, which should be by query_id; returns the count."""
    return write_columns(path / "queries.parquet", QUERIES, queries)


def write_qrels(path: Path, qrels: Iterable[Qrel | QrelRow]) -> int:
    """Write ``qrels.parquet`` in the order given, which should be by query and product; returns the count."""
    return write_columns(path / "qrels.parquet", QRELS, qrels)


def write_manifest(path: Path, manifest: dict[str, object]) -> None:
    """Write ``manifest.json``: counts and origin, no clock, no path."""
    write_text(path / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True) + "\n")


class Catalogue:
    """Read a catalogue folder.

    Raises:
        CatalogueError: the folder or its products are missing; later, when a file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shards = sorted((path / "products").glob("part-*.parquet"))
        if not self.shards:
            raise CatalogueError(
                f"{path} is not a catalogue: it has no products/part-*.parquet; build it first."
            )

    @cached_property
    def schema(self) -> CatalogSchema:
        """The categories, product types and attributes of ``schema.json``."""
        return read_schema(self.path / "schema.json")

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Counts and origin, as ``write_manifest`` wrote them."""
        try:
            loaded = json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CatalogueError(f"{self.path / 'manifest.json'} cannot be read: {error}.") from None
        return dict(loaded)

    @cached_property
    def product_count(self) -> int:
        """Number of rows, from the footers of the shards."""
        try:
            return sum(pq.read_metadata(shard).num_rows for shard in self.shards)
        except (OSError, pa.ArrowException) as error:
            raise CatalogueError(f"a shard of {self.path} is damaged: {error}.") from None

    @cached_property
    def product_columns(self) -> list[str]:
        """The columns of products, with that of further pictures where the catalogue has it."""
        more = MORE_IMAGES in open_parquet(self.shards[0]).schema_arrow.names
        return list((WITH_MORE_IMAGES if more else PRODUCTS).names)

    @property
    def has_more_images(self) -> bool:
        """Whether products may have further pictures."""
        return MORE_IMAGES in self.product_columns

    def products(self, columns: Sequence[str] | None = None, split: Split | None = None) -> Iterator[Product]:
        """Yield products in ``product_id`` order; fields not in ``columns`` stay empty."""
        names = None if columns is None else list(dict.fromkeys(["product_id", *columns]))
        for shard in self.shards:
            for table in row_groups(shard, names, split):
                for row in table.to_pylist():
                    yield product_of(row)

    def table(self, columns: Sequence[str] | None = None, split: Split | None = None) -> pa.Table:
        """All rows of some columns; by default every column but ``image``, which is large."""
        names = TEXT_COLUMNS if columns is None else list(columns)
        groups = [table for shard in self.shards for table in row_groups(shard, names, split)]
        empty = pa.schema([PRODUCTS.field(name) for name in names]).empty_table()
        return pa.concat_tables(groups or [empty])

    def images(
        self, ids: Collection[str] | None = None, split: Split | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """Yield ``(product_id, encoded picture)`` in ``product_id`` order: of ``ids``, a split, or both.

        Raises:
            CatalogueError: one of ``ids`` is not in the catalogue (in that split); told at the end.
        """
        missing = set(ids) if ids is not None else set()
        value_set = pa.array(sorted(missing), pa.string())

        def _wanted(group: pa.Table) -> pa.Array:
            return pc.is_in(group["product_id"], value_set=value_set)

        for shard in self.shards:
            for table in row_groups(shard, ["product_id", "image"], split, None if ids is None else _wanted):
                for row in table.to_pylist():
                    missing.discard(row["product_id"])
                    yield row["product_id"], (row["image"] or {}).get("bytes") or b""
        if missing:
            names = ", ".join(sorted(missing)[:5])
            raise CatalogueError(
                f"{len(missing)} products are not in {self.path}: {names}; use ids of this catalogue."
            )

    def queries(self, split: Split | None = None) -> list[Query]:
        """The queries, in ``query_id`` order, of one split or of all."""
        tables = row_groups(self.path / "queries.parquet", QUERIES.names, split)
        return [Query(**row) for table in tables for row in table.to_pylist()]

    def qrels(self) -> list[Qrel]:
        """The judgements as typed rows; for millions of them use ``qrels_table``."""
        return [Qrel(**row) for row in self.qrels_table().to_pylist()]

    def qrels_table(self) -> pa.Table:
        """The judgements as columns: query_id, product_id, relevance, desirability."""
        groups = list(row_groups(self.path / "qrels.parquet", QRELS.names))
        return pa.concat_tables(groups or [QRELS.empty_table()])
