"""The towers' vectors of queries and products: one pass over the shards, never computed twice.

A missing picture or text is a normal case: its vector is zero and a flag says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.errors import ImageError
from components.catalog.format.parquet import row_groups
from components.catalog.format.records import TEXT_COLUMNS, Split
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.pixels import named_square, shard_paths, square
from components.encoder.model.features.vector_cache import Vectors, key_of
from components.encoder.model.towers.files import LoadedEncoder
from components.fusion.model.data.product_text import plain, product_text
from components.fusion.model.errors import FusionDataError
from components.fusion.model.params import EncodeParams, ProductTextParams
from components.stage.placement import leave_place

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Items:
    """Products with the vectors of both towers ``[N, D]``; zero where ``has_text``/``has_image`` is false."""

    rows: list[dict[str, Any]]
    text: Vectors
    image: Vectors
    has_text: Flags
    has_image: Flags

    @property
    def product_ids(self) -> list[str]:
        """Ids of the products, in order."""
        return [row["product_id"] for row in self.rows]


def joined(parts: Iterable[Items]) -> Items:
    """Many parts as one.

    Raises:
        FusionDataError: there is no part.
    """
    found = list(parts)
    if not found:
        raise FusionDataError("There is no product to encode: the split, or the catalogue, is empty.")
    return Items(
        rows=[row for part in found for row in part.rows],
        text=np.concatenate([part.text for part in found]),
        image=np.concatenate([part.image for part in found]),
        has_text=np.concatenate([part.has_text for part in found]),
        has_image=np.concatenate([part.has_image for part in found]),
    )


@contextmanager
def named_pictures(product_ids: Sequence[str], pictures: Sequence[bytes], image_px: int) -> Iterator[None]:
    """Let what stops at a picture say whose it is; only then are they read once more, one by one.

    Raises:
        ImageError: a picture cannot be read; names the product.
    """
    try:
        yield
    except ImageError:
        for product_id, data in zip(product_ids, pictures, strict=True):
            if data:
                named_square(product_id, partial(square, data, image_px))
        raise


class PictureTower:
    """The image tower alone; its features are kept by its own weights, and the head on them is applied anew.

    Args:
        encoder: batches and their cache. threads: that decode pictures.
    """

    def __init__(self, encoder: BatchEncoder, threads: int) -> None:
        self.encoder, self.threads = encoder, threads

    def vectors(self, pictures: Sequence[bytes]) -> Vectors:
        """Vectors ``[N, D]`` of encoded pictures."""
        side = self.encoder.model.encoder.image_px
        items = [(key_of(*self.encoder.image_key, data), data) for data in pictures]

        def _compute(missing: list[object]) -> Vectors:
            with ThreadPoolExecutor(self.threads, initializer=leave_place) as pool:
                pixels = list(pool.map(lambda data: square(data, side), missing))
            return self.encoder.pixel_features(np.stack(pixels)).astype(np.float32)

        features = self.encoder.cache.fill(items, _compute, self.encoder.batch_size)
        return self.encoder.image_vectors(np.concatenate(list(features)))

    def of_split(self, catalogue: Path, split: Split) -> Vectors:
        """Vectors ``[N, D]`` of a split's pictures in catalogue order, zero where there is no picture.

        Raises:
            ImageError: a picture cannot be read; names the product.
        """
        encoder = self.encoder.model.encoder
        out = [np.zeros((0, encoder.embed_dim), dtype=np.float32)]
        for shard in shard_paths(catalogue):
            for table in row_groups(shard, ["product_id", "image"], split):
                pictures = [(image or {}).get("bytes") or b"" for image in table["image"].to_pylist()]
                with named_pictures(table["product_id"].to_pylist(), pictures, encoder.image_px):
                    out.append(where_present(pictures, encoder.embed_dim, self.vectors)[0])
        return np.concatenate(out)


def where_present(
    items: Sequence[Any], dimension: int, encode: Callable[[list[Any]], Vectors]
) -> tuple[Vectors, Flags]:
    """Vectors ``[N, dimension]``, zero for empty items, and which are not empty."""
    present = np.array([bool(item) for item in items], dtype=bool)
    out = np.zeros((len(items), dimension), dtype=np.float32)
    if present.any():
        out[present] = encode([item for item in items if item])
    return out, present


class Towers:
    """Frozen towers.

    Args:
        model: the aligned encoder. text: how a product's fields become its text.
        cache: file of known vectors; None keeps them in memory. threads: that decode pictures.
    """

    def __init__(
        self,
        model: LoadedEncoder,
        text: ProductTextParams,
        params: EncodeParams,
        cache: Path | None,
        threads: int,
    ) -> None:
        self.model, self.fields = model, text.fields
        self.encoder = BatchEncoder(model, params.batch_size, params.precision, cache)
        self.dimension = model.encoder.embed_dim
        self.pictures = PictureTower(self.encoder, threads)

    def queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors ``[Q, D]`` of queries."""
        return self.encoder.texts([plain(text) for text in texts])

    def texts(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Vectors, Flags]:
        """Vectors ``[N, D]`` of product texts, and which products have one."""
        texts = [product_text(row, self.fields) for row in rows]
        return where_present(texts, self.dimension, self.encoder.texts)

    def images(self, pictures: Sequence[bytes]) -> tuple[Vectors, Flags]:
        """Vectors ``[N, D]`` of encoded pictures, and which are there."""
        return where_present(pictures, self.dimension, self.pictures.vectors)

    def stream(self, catalogue: Path, split: Split | None = None) -> Iterator[Items]:
        """Products of a catalogue (of one split, or all), in its order, a row group at a time.

        Memory holds one row group, however large the catalogue.

        Raises:
            ImageError: a picture cannot be read; names the product.
        """
        side = self.model.encoder.image_px
        for shard in shard_paths(catalogue):
            for table in row_groups(shard, [*TEXT_COLUMNS, "image"], split):
                pictures = [(image or {}).get("bytes") or b"" for image in table["image"].to_pylist()]
                rows = table.drop_columns(["image"]).to_pylist()
                if rows:
                    text, has_text = self.texts(rows)
                    with named_pictures([row["product_id"] for row in rows], pictures, side):
                        image, has_image = self.images(pictures)
                    yield Items(rows, text, image, has_text, has_image)

    def close(self) -> None:
        """Close the cache."""
        self.encoder.cache.close()
