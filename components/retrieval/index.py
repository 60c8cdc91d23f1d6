"""The FAISS index over product vectors: built once, checked on load, searched with filters.

A folder: ``index.faiss``; ``products.parquet``, whose row i describes vector i; ``meta.json``, which binds
both to the model and preprocessing the vectors came from. Where something is taken from the scores of texts,
a vector has one number more, its product's bias, and a query has -1 or 0 there.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.retrieval.errors import IndexFileError, RetrievalDataError
from components.retrieval.params import IndexParams
from components.stage.resume import sha256_file

PRODUCT_COLUMNS = ("product_id", "title", "category", "product_type", "attributes", "group_id", "split")
# From this many queries on a matrix product beats one dot product after another, 3 times at 100 queries.
# FAISS counts queries times dimension, and would begin at 500 queries of 256 numbers.
BLAS_FROM_QUERIES = 20
FILES = ("index.faiss", "products.parquet")
EMBEDDING_KEYS = ("dimension", "count", "kind", "model_sha256", "preprocessing_sha256")


def _faiss() -> Any:
    """FAISS, untyped: its stubs lag behind the classes it really has."""
    return importlib.import_module("faiss")


@contextmanager
def _threads(count: int, dimension: int) -> Iterator[None]:
    """Let FAISS use ``count`` threads and its fast way for batches; both settings are global and put back."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_threshold
    faiss.omp_set_num_threads(count)
    faiss.cvar.distance_compute_blas_threshold = BLAS_FROM_QUERIES * dimension
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before[0])
        faiss.cvar.distance_compute_blas_threshold = before[1]


def _checked_vectors(vectors: NDArray[np.floating], what: str) -> NDArray[np.float32]:
    array = np.ascontiguousarray(vectors, np.float32)
    if array.ndim != 2:
        raise RetrievalDataError(f"{what} must be an array [rows, dimension], not of shape {array.shape}.")
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise RetrievalDataError(f"{what} hold a value that is not finite (first in row {bad}).")
    return array


def _faiss_index(vectors: NDArray[np.float32], params: IndexParams) -> Any:
    faiss = _faiss()
    dimension = vectors.shape[1]
    if params.kind == "flat":
        index = faiss.IndexFlatIP(dimension)
    else:
        index = faiss.IndexHNSWFlat(dimension, params.hnsw_m, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = params.ef_construction
        index.hnsw.efSearch = params.ef_search
    with _threads(1, dimension):  # parallel insertion links the graph in the order threads happen to run
        index.add(vectors)
    return index


def build_index(
    folder: Path,
    vectors: NDArray[np.floating],
    products: pa.Table,
    embeddings: Mapping[str, Any],
    params: IndexParams,
    *,
    biases: NDArray[np.floating] | None = None,
) -> None:
    """Write an index of ``vectors`` into the new folder ``folder``; equal input gives equal bytes.

    Args:
        folder: must not exist.
        vectors: float32 ``[n, d]``, L2-normalised, so that the inner product is the cosine.
        products: ``n`` rows in the order of the vectors, with at least the columns of ``PRODUCT_COLUMNS``.
        embeddings: the embeddings' ``meta.json``; must name ``EMBEDDING_KEYS``.
        params: kind and parameters of the index.
        biases: ``[n]``, taken from scores where a search asks for it; None where nothing is.

    Raises:
        RetrievalDataError: no vectors, counts or dimensions that differ, a missing column or key.
    """
    faiss = _faiss()
    array = _checked_vectors(vectors, "The product vectors")
    missing = [name for name in PRODUCT_COLUMNS if name not in products.column_names]
    missing += [key for key in EMBEDDING_KEYS if key not in embeddings]
    if missing:
        raise RetrievalDataError(f"An index cannot be built without {', '.join(missing)}.")
    stated = (embeddings["count"], embeddings["dimension"])
    if not len(array) or array.shape != stated or products.num_rows != len(array):
        raise RetrievalDataError(
            f"An index needs as many products as vectors: {products.num_rows} products, vectors of shape "
            f"{array.shape}, and the embeddings' meta.json states {stated}."
        )
    if biases is not None:
        array = _checked_vectors(np.column_stack([array, biases]), "The product vectors and biases")
    folder.mkdir(parents=True)
    faiss.write_index(_faiss_index(array, params), str(folder / "index.faiss"))
    pq.write_table(
        products.select(PRODUCT_COLUMNS).replace_schema_metadata(None),
        folder / "products.parquet",
        compression="zstd",
        row_group_size=16_384,
    )
    meta = {
        "embeddings": dict(embeddings),
        "index": params.model_dump(),
        "sha256": {name: sha256_file(folder / name) for name in FILES},
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class ProductIndex:
    """A loaded index. ``products`` has the columns of ``PRODUCT_COLUMNS``; row i belongs to vector i."""

    faiss_index: Any
    products: pa.Table
    embeddings: Mapping[str, Any]
    params: IndexParams

    @property
    def dimension(self) -> int:
        """Numbers of a product's vector, its bias left out."""
        return int(self.embeddings["dimension"])

    def __len__(self) -> int:
        return int(self.products.num_rows)

    def search(
        self,
        vectors: NDArray[np.floating],
        k: int,
        allowed: NDArray[np.bool_] | None = None,
        *,
        less_bias: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The ``k`` products nearest to each vector, among those that are allowed.

        Args:
            vectors: float ``[q, d]``, L2-normalised, from the model that the index was built with.
            k: how many to find.
            allowed: bool ``[n]``, by row; None allows all.
            less_bias: take each product's bias from its scores; for vectors of texts.

        Returns:
            Scores float32 ``[q, k]`` and rows int64 ``[q, k]``, best first; where fewer than ``k`` products
            are allowed, the rest is -inf and -1.

        Raises:
            RetrievalDataError: vectors of another dimension or not finite, or ``k`` < 1.
        """
        array = _checked_vectors(vectors, "The query vectors")
        if array.shape[1] != self.dimension or k < 1:
            raise RetrievalDataError(
                f"The index holds vectors of {self.dimension} numbers and finds at least 1 product; "
                f"asked were {array.shape[1]} numbers and k = {k}."
            )
        if self.faiss_index.d > self.dimension:
            last = np.full((len(array), 1), -1 if less_bias else 0, dtype=np.float32)
            array = np.concatenate([array, last], axis=1)
        with _threads(self.params.threads, array.shape[1]):
            scores, rows = self._nearest(array, k, allowed)
        return np.where(rows < 0, -np.inf, scores).astype(np.float32), rows

    def _nearest(
        self, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        faiss = _faiss()
        if self.params.kind == "flat" or allowed is None:
            return self._exact_or_graph(self.faiss_index, vectors, k, allowed)
        matching = int(allowed.sum())
        exact = faiss.downcast_index(self.faiss_index.storage)
        if matching < self.params.exact_filter_below * len(self):
            return self._exact_or_graph(exact, vectors, k, allowed)
        scores, rows = self._exact_or_graph(self.faiss_index, vectors, k, allowed)
        # The graph may have no allowed neighbour left before it has found k: then all are read.
        short = (rows >= 0).sum(axis=1) < min(k, matching)
        if short.any():
            scores[short], rows[short] = self._exact_or_graph(exact, vectors[short], k, allowed)
        return scores, rows

    def _exact_or_graph(
        self, index: Any, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        faiss = _faiss()
        graph = hasattr(index, "hnsw")
        options: dict[str, Any] = {"efSearch": max(self.params.ef_search, k)} if graph else {}
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            options["sel"] = faiss.IDSelectorBitmap(bits)
        kind = faiss.SearchParametersHNSW if graph else faiss.SearchParameters
        scores, rows = index.search(vectors, k, params=kind(**options))
        return scores, rows

    def row_of(self, product_id: str) -> int:
        """Row of a product.

        Raises:
            RetrievalDataError: the index does not hold it.
        """
        row = pc.index(self.products["product_id"], product_id).as_py()
        if row < 0:
            raise RetrievalDataError(f"The index holds no product '{product_id}'.")
        return int(row)

    def vector(self, row: int) -> NDArray[np.float32]:
        """The stored vector of a row, float32 ``[d]``."""
        return np.asarray(self.faiss_index.reconstruct(row), np.float32)[: self.dimension]

    def product(self, row: int) -> dict[str, Any]:
        """One product's columns, ``attributes`` as name -> value, or values."""
        found: dict[str, Any] = self.products.slice(row, 1).to_pylist()[0]
        stated: dict[str, list[str]] = {}
        for pair in found["attributes"] or []:
            stated.setdefault(pair["name"], []).append(pair["value"])
        found["attributes"] = {n: held[0] if len(held) == 1 else tuple(held) for n, held in stated.items()}
        return found


def _read_meta(folder: Path) -> tuple[dict[str, Any], IndexParams, dict[str, str]]:
    path = folder / "meta.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        embeddings = meta["embeddings"]
        if any(key not in embeddings for key in EMBEDDING_KEYS):
            raise KeyError("embeddings")
        return (
            embeddings,
            IndexParams.model_validate(meta["index"]),
            {name: meta["sha256"][name] for name in FILES},
        )
    except FileNotFoundError:
        raise IndexFileError(
            f"{path} does not exist: there is no index here; run 'vitrine run --until index'."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise IndexFileError(
            f"{path} does not describe an index ({reason}); build the index again."
        ) from None


def load_index(
    folder: Path, model_sha256: str | None = None, preprocessing_sha256: str | None = None
) -> ProductIndex:
    """Load an index after checking its files and what it was made from.

    Args:
        folder: as written by :func:`build_index`.
        model_sha256: hash of the model that will encode the queries; None skips the comparison.
        preprocessing_sha256: hash of the preprocessing, likewise.

    Raises:
        IndexFileError: a file is missing or its hash differs, counts or dimensions disagree, or the index was
            made with another model or preprocessing.
    """
    faiss = _faiss()
    embeddings, params, hashes = _read_meta(folder)
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file():
            raise IndexFileError(f"{path} is missing; build the index again.")
        if sha256_file(path) != expected:
            raise IndexFileError(
                f"{path} differs from what meta.json states; it is damaged, build the index again."
            )
    asked = {"model_sha256": model_sha256, "preprocessing_sha256": preprocessing_sha256}
    for key, value in asked.items():
        if value is not None and embeddings[key] != value:
            raise IndexFileError(
                f"{folder} was built with {key} {embeddings[key]}, the queries come from {value}; build the "
                "index again with this model, or search with the model it was built from."
            )
    try:
        index = faiss.read_index(str(folder / "index.faiss"))
        products = pq.read_table(folder / "products.parquet")
    except (RuntimeError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise IndexFileError(f"{folder} cannot be read ({reason}); build the index again.") from None
    counts = {index.ntotal, products.num_rows, embeddings["count"]}
    if (
        len(counts) != 1
        or index.d not in (embeddings["dimension"], embeddings["dimension"] + 1)
        or hasattr(index, "hnsw") != (params.kind == "hnsw")
    ):
        raise IndexFileError(
            f"{folder} is inconsistent: {index.ntotal} vectors of {index.d} numbers, {products.num_rows} "
            "products, "
            f"meta.json states {embeddings['count']} of {embeddings['dimension']}; build the index again."
        )
    return ProductIndex(index, products, embeddings, params)
