"""Further pictures of products: shards of their own, and views that training draws from.

A catalogue may hold several pictures of a product. The main one is its picture; training may see any of
them, and where the validation split says so, a product's vector is the mean of all. They are laid out in
files that look like shards of products, one picture a row, so that all that is kept of pictures (pixels,
features) is kept of these as well. The files are a cache under ``.vitrine/cache``, keyed by the shard's
bytes: delete them and nothing changes but time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from components.catalog.format.parquet import RowWriter, row_groups
from components.catalog.format.records import MORE_IMAGES, PRODUCTS
from components.encoder.model.features.pixels import PixelCache, alone, shard_paths
from components.encoder.model.features.vector_cache import Vectors
from components.stage.files.publish import published
from components.stage.resume import sha256_file

Ints = npt.NDArray[np.int64]
LEAST_LENGTH = 1e-12  # of a sum of vectors
VERSION = "1"  # of the layout: raise it when the files change


@dataclass(frozen=True)
class Views:
    """Which pictures show each product.

    Attributes:
        starts: ``[P + 1]``, where each product's further pictures begin in ``places``. places: of further
            pictures, behind the catalogue's own rows.
    """

    starts: Ints
    places: Ints

    def drawn(self, rows: Ints, rng: np.random.Generator) -> Ints:
        """The place of one picture of each product, the main one or any other with equal chance."""
        first, several = self.starts[rows], np.diff(self.starts)[rows]
        which = rng.integers(0, several + 1)
        out = rows.copy()
        further = which > 0
        out[further] = self.places[(first + which - 1)[further]]
        return out

    def further(self, rows: Ints) -> tuple[Ints, Ints]:
        """The places of products' further pictures, one product after the other, and how many each has."""
        counts = np.diff(self.starts)[rows]
        spans = [self.places[self.starts[row] : self.starts[row + 1]] for row in rows]
        return np.concatenate([np.zeros(0, dtype=np.int64), *spans]), counts


def means_of(main: Vectors, further: Vectors, counts: Ints) -> Vectors:
    """L2-normalised means ``[N, D]`` of each product's vectors; of a single picture the very same bits.

    Args:
        main: ``[N, D]``, of main pictures. further: ``[sum(counts), D]``, one product after the other.
    """
    out, several = main.copy(), np.flatnonzero(counts)
    if len(several):
        starts = np.cumsum(counts[several]) - counts[several]
        sums = main[several] + np.add.reduceat(further, starts, axis=0)
        out[several] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), LEAST_LENGTH)
    return out


def further_shards(catalogue: Path, cache: Path) -> list[Path]:
    """Files of the catalogue's further pictures, a row each, laid out below ``cache``; perhaps none."""
    return [_laid_out(shard, cache / "further") for shard in shard_paths(catalogue) if _has(shard)]


def views_of(catalogue: Path) -> Views | None:
    """The views of every product, in the catalogue's order; None where no product has a further picture."""
    shards = shard_paths(catalogue)
    if not any(map(_has, shards)):
        return None
    counts: list[int] = []
    for shard in shards:
        rows = pq.read_metadata(shard).num_rows
        if not _has(shard):
            counts += [0] * rows
            continue
        for table in row_groups(shard, [MORE_IMAGES]):
            counts += [len(cell or ()) for cell in table[MORE_IMAGES].to_pylist()]
    starts = np.cumsum([0, *counts], dtype=np.int64)
    return Views(starts, len(counts) + np.arange(starts[-1], dtype=np.int64)) if starts[-1] else None


def all_pictures(
    catalogue: Path, image_px: int, cache: Path, threads: int
) -> tuple[PixelCache, Views | None]:
    """Pixels of every picture of a catalogue, main ones first, and which of them show each product."""
    further = further_shards(catalogue, cache)
    return PixelCache(catalogue, image_px, cache, threads, further), views_of(catalogue)


def _has(shard: Path) -> bool:
    return MORE_IMAGES in pq.read_schema(shard).names


def _laid_out(shard: Path, folder: Path) -> Path:
    file = folder / f"{sha256_file(shard)[:40]}-{VERSION}.parquet"
    with alone(file):
        if not file.exists():  # else another process has just made it
            with published(file) as temporary:
                _write(shard, temporary)
    return file


def _write(shard: Path, file: Path) -> None:
    with RowWriter(file, PRODUCTS) as writer:
        for table in row_groups(shard, ["product_id", MORE_IMAGES]):
            for row in table.to_pylist():
                for image in row[MORE_IMAGES] or ():
                    writer.add({"product_id": row["product_id"], "image": image}, len(image["bytes"]))
