"""A source that has the form of a catalogue already: its rows are taken as they are.

The folder holds what ``components.catalog.format.records`` describes: ``products/``, ``queries.parquet``,
``qrels.parquet``, ``schema.json``; and ``truth.parquet``, if more is known of its products than they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.catalog.format.errors import SourceError
from components.catalog.format.parquet import row_groups
from components.catalog.format.records import QRELS, Product, QrelRow, Query, Truth
from components.catalog.format.schema import CatalogSchema
from components.catalog.format.shards import Catalogue
from components.catalog.format.truth import read_truth, truth_of_listing


class CatalogueFolder:
    """Products, queries and judgements of a folder in the form of a catalogue.

    What is wrong with values is found by the gate; a row that has not the form of a product ends the build.

    Raises:
        CatalogueError: the folder is no catalogue.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._catalogue = Catalogue(folder)

    @property
    def product_count(self) -> int:
        """Number of products."""
        return self._catalogue.product_count

    @property
    def has_more_images(self) -> bool:
        """Whether products may have further pictures."""
        return self._catalogue.has_more_images

    def schema(self) -> CatalogSchema:
        """The categories, types and attributes of ``schema.json``."""
        return self._catalogue.schema

    def products(self) -> Iterator[tuple[Product, Truth]]:
        """Yield products in their order, with the truth of ``truth.parquet`` or else as they are listed.

        Raises:
            SourceError: a row is no product, or ``truth.parquet`` is about other products.
        """
        file = self._folder / "truth.parquet"
        try:
            if not file.exists():
                for product in self._catalogue.products():
                    yield product, truth_of_listing(product)
                return
            for listed, known in zip_longest(self._catalogue.products(), read_truth(file)):
                if listed is None or known is None or listed.product_id != known.product_id:
                    raise SourceError(
                        f"{file} does not tell of the products of {self._folder} one by one, in their order;"
                        " make the two together."
                    )
                yield listed, known
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise SourceError(f"a row of {self._folder} is no product: {field}: {first['msg']}.") from None

    def queries(self) -> tuple[Iterable[Query], Iterable[QrelRow]]:
        """Queries and judgements in their order."""
        return self._catalogue.queries(), self._qrels()

    def _qrels(self) -> Iterator[QrelRow]:
        for table in row_groups(self._folder / "qrels.parquet", QRELS.names):
            yield from map(
                QrelRow._make, zip(*(table[name].to_pylist() for name in QRELS.names), strict=True)
            )

    def rejects(self) -> Iterable[dict[str, Any]]:
        """No row is set aside here."""
        return ()

    def worst(self) -> str:
        """Why there may be no product."""
        return f"{self._folder} is empty"
