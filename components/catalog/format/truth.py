"""Truth: the clean listing, the box and the noise of each product; read by evaluation stages only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from components.catalog.format.attributes import of_pairs, pairs
from components.catalog.format.parquet import RowWriter, row_groups
from components.catalog.format.records import TRUTH, Product, Truth


class TruthWriter:
    """Write ``truth.parquet`` row by row, in the order of the catalogue; use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = RowWriter(path, TRUTH)

    def add(self, truth: Truth) -> None:
        """Append one product's truth."""
        self._file.add({**truth.model_dump(), "attributes": pairs(truth.attributes)})

    def __enter__(self) -> TruthWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, at)


def truth_of(row: dict[str, Any]) -> Truth:
    """Truth from a row of ``TRUTH``."""
    return Truth(**{**row, "attributes": of_pairs(row["attributes"]), "noise": tuple(row["noise"] or ())})


def truth_of_listing(product: Product) -> Truth:
    """The truth of a product of which nothing is known but its listing."""
    return Truth(**product.model_dump(include={"product_id", "title", "description", "attributes"}))


def read_truth(path: Path) -> Iterator[Truth]:
    """Yield the truth of each product in ``product_id`` order.

    Raises:
        CatalogueError: the file is missing or damaged.
    """
    for table in row_groups(path, TRUTH.names):
        for row in table.to_pylist():
            yield truth_of(row)
