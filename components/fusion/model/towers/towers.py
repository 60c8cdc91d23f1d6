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
import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog.format.errors import ImageError
from components.catalog.format.parquet import row_groups
from components.catalog.format.records import MORE_IMAGES, TEXT_COLUMNS, Split
from components.encoder.model.features.encode import BatchEncoder, as_kept
from components.encoder.model.features.further import means_of
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.pixels import named_square, shard_paths, square
from components.encoder.model.features.query_types import QueryTypes, learn_types, type_examples
from components.encoder.model.features.rows import read_rows
from components.encoder.model.features.vector_cache import Vectors, key_of
from components.fusion.model.data.product_text import plain, product_text
from components.fusion.model.errors import FusionConfigurationError, FusionDataError
from components.fusion.model.params import EncodeParams, ProductTextParams
from components.fusion.model.towers.aligned import LoadedTowers
from components.fusion.model.towers.product_texts import FieldFeatures
from components.stage.resources.placement import leave_place

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
        """Ids of the products, in the order of their vectors."""
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


@dataclass(frozen=True)
class SplitPictures:
    """Features of a split's pictures.

    Attributes:
        source: of the whole catalogue, or float16 ``[P, F]`` of the split. rows: ``[P]`` places in it.
        there: bool ``[P]``: products that have a picture.
    """

    source: FeatureCache | npt.NDArray[np.float16]
    rows: npt.NDArray[np.int64]
    there: Flags

    def take(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Features ``[len(places), F]`` of products of the split."""
        at = self.rows[places]
        if isinstance(self.source, FeatureCache):
            return self.source.take(at)
        return self.source[at].astype(np.float32)


class PictureTower:
    """The image tower alone; its features are kept by its own weights, and the head on them is applied anew.

    Args:
        encoder: batches and their cache. cache: of the features of whole catalogues; None for none.
        threads: that decode pictures.
    """

    def __init__(self, encoder: BatchEncoder, cache: Path | None, threads: int) -> None:
        self.encoder, self.cache, self.threads = encoder, cache, threads

    def kept(self, catalogue: Path) -> FeatureCache | None:
        """What another stage with the same tower has left of the catalogue's pictures."""
        if self.cache is None:
            return None
        return FeatureCache.kept(catalogue, self.encoder, self.cache, self.threads)

    def columns(self, shard: Path) -> list[str]:
        """The columns of a shard that hold the pictures of which a product's vector is made."""
        several = self.encoder.encoder.all_pictures and MORE_IMAGES in pq.read_schema(shard).names
        return ["image", MORE_IMAGES] if several else ["image"]

    def features(self, pictures: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Features ``[N, F]`` of encoded pictures."""
        side = self.encoder.model.encoder.image_px
        items = [(key_of(*self.encoder.image_key, data), data) for data in pictures]

        def _compute(missing: list[object]) -> Vectors:
            with ThreadPoolExecutor(self.threads, initializer=leave_place) as pool:
                pixels = list(pool.map(lambda data: square(data, side), missing))
            return self.encoder.pixel_features(np.stack(pixels)).astype(np.float32)

        found = self.encoder.cache.fill(items, _compute, self.encoder.batch_size)
        return np.concatenate(list(found))

    def vectors(self, pictures: Sequence[bytes]) -> Vectors:
        """Vectors ``[N, D]`` of encoded pictures."""
        return self.encoder.image_vectors(self.features(pictures))

    def of_split(self, catalogue: Path, split: Split, rows: npt.NDArray[np.int64]) -> SplitPictures:
        """Features of a split's pictures.

        Args:
            rows: ``[P]`` places of the split's products in the catalogue.

        Raises:
            ImageError: a picture cannot be read; names the product.
        """
        if (whole := self.kept(catalogue)) is not None:
            return SplitPictures(whole, rows, np.ones(len(rows), dtype=bool))
        parts, there = [], []
        for shard in shard_paths(catalogue):
            for table in row_groups(shard, ["product_id", "image"], split):
                pictures = _bytes_of(table)
                there += [bool(data) for data in pictures]
                with named_pictures(
                    table["product_id"].to_pylist(), pictures, self.encoder.model.encoder.image_px
                ):
                    if found := [data for data in pictures if data]:
                        parts.append(as_kept(self.features(found)))
        seen = np.array(there, dtype=bool)
        encoder = self.encoder.encoder
        width = parts[0].shape[1] if parts else encoder.view_width or encoder.embed_dim
        features = np.zeros((len(seen), width), dtype=np.float16)
        if parts:
            features[seen] = np.concatenate(parts)
        return SplitPictures(features, np.arange(len(seen)), seen)


def _bytes_of(table: pa.Table) -> list[bytes]:
    """The pictures of a table, empty where there is none."""
    return [(image or {}).get("bytes") or b"" for image in table["image"].to_pylist()]


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

    Raises:
        FusionConfigurationError: the towers read other fields than ``text`` says.

    Args:
        model: aligned towers. text: how a product's fields are read.
        cache: folder of what is known; None keeps it in memory. threads: that decode pictures.
    """

    def __init__(
        self,
        model: LoadedTowers,
        text: ProductTextParams,
        params: EncodeParams,
        cache: Path | None,
        threads: int,
    ) -> None:
        if model.names and (not text.by_field or model.names != text.fields):
            raise FusionConfigurationError(
                f"These towers read the fields {', '.join(model.names)} of a product, each by itself; "
                "fusion.text says otherwise. Run align_text again."
            )
        self.model, self.text, self.params, self.cache = model, text, params, cache
        vectors = None if cache is None else cache / "vectors"
        self.encoder = BatchEncoder(model.encoder, params.batch_size, params.precision, vectors)
        self.dimension = model.encoder.encoder.embed_dim
        self._module = model.module.to(self.encoder.device).eval()
        self.pictures = PictureTower(self.encoder, cache, threads)

    def queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors ``[Q, D]`` of queries."""
        return self.encoder.texts([plain(text) for text in texts])

    def features(self, texts: Sequence[str]) -> npt.NDArray[np.float16]:
        """Frozen features ``[Q, F]`` of queries: what their types are inferred from."""
        return self.encoder.text_features([plain(text) for text in texts])

    def query_types(self, catalogue: Path) -> QueryTypes:
        """What tells the type of a query, learned from the catalogue."""
        return learn_types(type_examples(catalogue, read_rows(catalogue)), self.features)

    def texts(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Vectors, Flags]:
        """Vectors ``[N, D]`` of product texts, and which products have one."""
        if not self.text.by_field:
            texts = [product_text(row, self.text.fields) for row in rows]
            return where_present(texts, self.dimension, self.encoder.texts)
        found = FieldFeatures.of(rows, self.text, self.encoder)
        there: Flags = np.asarray(found.there.any(axis=1), dtype=bool)
        features = found.draw(np.arange(len(rows)), None).numpy()
        vectors = self.encoder.vectors_of(self._module.product_vectors, features)
        return np.where(there[:, None], vectors, 0).astype(np.float32), there

    def images(self, pictures: Sequence[bytes]) -> tuple[Vectors, Flags]:
        """Vectors ``[N, D]`` of encoded pictures, and which are there."""
        return where_present(pictures, self.dimension, self.pictures.vectors)

    def stream(self, catalogue: Path, split: Split | None = None) -> Iterator[Items]:
        """Products of a catalogue (of one split, or all), in its order, a row group at a time.

        Memory holds one row group, however large the catalogue.

        Raises:
            ImageError: a picture cannot be read; names the product.
        """
        whole, start = self.pictures.kept(catalogue), 0
        for shard in shard_paths(catalogue):
            pictures = [] if whole else self.pictures.columns(shard)
            for table in row_groups(shard, [*TEXT_COLUMNS, *pictures]):
                chosen = np.ones(table.num_rows, dtype=bool)
                if split is not None:
                    chosen = np.array(table["split"].to_pylist()) == split
                at = start + np.flatnonzero(chosen)
                start += table.num_rows
                if len(at):
                    yield self._items(table.filter(pa.array(chosen)), whole, at)

    def _items(self, table: pa.Table, whole: FeatureCache | None, at: npt.NDArray[np.int64]) -> Items:
        """The products of a table, with places ``at`` in the catalogue."""
        if whole is not None:
            rows, image, has_image = table.to_pylist(), whole.vectors(at), np.ones(len(at), dtype=bool)
        else:
            pictures, rows = _bytes_of(table), table.select(TEXT_COLUMNS).to_pylist()
            with named_pictures(
                [row["product_id"] for row in rows], pictures, self.model.encoder.encoder.image_px
            ):
                image, has_image = self.images(pictures)
                image = self._with_further(image, table)
        text, has_text = self.texts(rows)
        return Items(rows, text, image, has_text, has_image)

    def _with_further(self, main: Vectors, table: pa.Table) -> Vectors:
        """Vectors ``[N, D]`` of the products of a table by all their pictures, where it has further ones."""
        if MORE_IMAGES not in table.column_names:
            return main
        found = [cell or () for cell in table[MORE_IMAGES].to_pylist()]
        data = [image["bytes"] for cell in found for image in cell]
        counts = np.array([len(cell) for cell in found], dtype=np.int64)
        return means_of(main, self.pictures.vectors(data), counts) if data else main

    def close(self) -> None:
        """Close the cache of vectors."""
        self.encoder.cache.close()
