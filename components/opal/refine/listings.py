"""Listings as the judges see them, streamed from the catalogue together with their picture vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog.format.parquet import row_groups
from components.catalog.format.records import TEXT_COLUMNS
from components.catalog.format.shards import Catalogue
from components.evidence.listing import SellerListing, Vector, seller_listing
from components.opal.model.errors import ListingDataError


def _vectors(folder: Path) -> Iterator[tuple[str, Vector]]:
    """Product ids and picture vectors in file order, a few thousand in memory."""
    file = folder / "embeddings.parquet"
    try:
        for batch in pq.ParquetFile(file).iter_batches(2048, columns=["product_id", "vector"]):
            column = batch.column("vector")
            rows = np.asarray(column.flatten(), np.float32).reshape(len(column), -1)
            yield from zip(batch.column("product_id").to_pylist(), rows, strict=True)
    except (OSError, pa.ArrowException) as error:
        raise ListingDataError(
            f"{file} cannot be read ({error}); run 'vitrine run --until embeddings'."
        ) from None


def listing_batches(
    catalogue: Path,
    embeddings: Path | None,
    size: int,
    pictures: bool = False,
    wanted: Callable[[dict[str, Any]], bool] | None = None,
) -> Iterator[list[SellerListing]]:
    """Yield listings in catalogue order, at most ``size`` at a time; only those are in memory.

    Args:
        embeddings: folder of picture vectors in the same order; None leaves vectors empty.
        pictures: also read the encoded pictures. wanted: leaves out rows it says no to.

    Raises:
        ListingDataError: the vectors are missing, or are not of these products in this order.
        CatalogueError: the catalogue is missing or damaged.
    """
    vectors = _vectors(embeddings) if embeddings is not None else None
    columns = [*TEXT_COLUMNS, "image"] if pictures else TEXT_COLUMNS
    batch: list[SellerListing] = []
    for shard in Catalogue(catalogue).shards:
        for table in row_groups(shard, columns):
            for row in table.to_pylist():
                product_id, vector = next(vectors, ("", None)) if vectors else (row["product_id"], None)
                if product_id != row["product_id"]:
                    raise ListingDataError(
                        f"{embeddings} has the vector of {product_id!r} where {catalogue} has "
                        f"{row['product_id']!r}; embed this catalogue again."
                    )
                if wanted is not None and not wanted(row):
                    continue
                batch.append(seller_listing(row, vector))
                if len(batch) == size:
                    yield batch
                    batch = []
    if batch:
        yield batch
