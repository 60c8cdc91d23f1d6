"""The source that a manifest describes, open for reading.

A folder in the form of a catalogue holds what ``components.catalog.format.records`` describes: products,
queries, qrels and ``schema.json``; and ``truth.parquet``, if more is known of its products than they say.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
from components.catalog.source.importer import FileSource
from components.catalog.source.manifest import FILES, SourceManifest
from components.catalog.source.params import SourceParams


class CatalogueFolder:
    """Products, queries and judgements of a folder in the form of a catalogue, taken as they are.

    What is wrong with values is found by the gate; a row that has not the form of a product ends the build.

    Raises:
        CatalogueError: the folder is no catalogue.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._catalogue = folder, Catalogue(folder)
        self.product_count = self._catalogue.product_count
        self.has_more_images = self._catalogue.has_more_images

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
        tables = row_groups(self._folder / "qrels.parquet", QRELS.names)
        columns = ([column.to_pylist() for column in table.columns] for table in tables)
        return self._catalogue.queries(), (
            QrelRow(*row) for held in columns for row in zip(*held, strict=True)
        )

    def rejects(self) -> Iterable[dict[str, Any]]:
        """No row is set aside here."""
        return ()

    def worst(self) -> str:
        """Why there may be no product."""
        return f"{self._folder} is empty"


@contextmanager
def opened(
    manifest: SourceManifest, root: Path, params: SourceParams, work: Path
) -> Iterator[CatalogueFolder | FileSource]:
    """The source that ``manifest`` describes.

    ``root`` holds the manifest and, for ``kind: files``, the folder ``files``; ``work`` is a folder to make
    and to remove.

    Raises:
        CatalogueError: as ``CatalogueFolder``.
        SourceError, MappingError: as ``FileSource``.
    """
    if manifest.folder is not None:
        yield CatalogueFolder(manifest.folder)
        return
    assert manifest.mapping is not None  # one of the two, as the manifest has checked
    try:
        with FileSource(root / FILES, manifest.mapping, params, work) as source:
            yield source
    except sqlite3.OperationalError as error:
        if "full" in str(error):  # SQLite's words for a full disk, in those of the operating system
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(work)) from None
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
