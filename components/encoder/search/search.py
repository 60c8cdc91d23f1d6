"""Search of the catalogue's index by text, by picture, or by a product that is in it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.vector_cache import Vectors
from components.encoder.model.towers.files import load_encoder
from components.encoder.search.conditions import Condition, fulfilling
from components.retrieval.errors import RetrievalDataError
from components.retrieval.hits import Hit
from components.retrieval.index import ProductIndex, load_index
from components.stage.paths import Paths

PRODUCT_COLUMNS = ("product_id", "title", "product_type", "attributes")  # of a hit


def _hits(index: ProductIndex, scores: Vectors, rows: Any, leave_out: int | None = None) -> list[Hit]:
    pairs = zip(scores[0].tolist(), rows[0].tolist(), strict=True)
    kept = [(score, row) for score, row in pairs if row >= 0 and row != leave_out]
    products = [index.product(row) for _, row in kept]
    return [
        Hit(rank, score, *(product[column] for column in PRODUCT_COLUMNS))
        for rank, ((score, _), product) in enumerate(zip(kept, products, strict=True), 1)
    ]


def query_vector(encoder: BatchEncoder, text: str, picture: bytes | None) -> Vectors:
    """The vector ``[1, D]`` of a text, an encoded picture, or both (their mean, normalised).

    Raises:
        ImageError: the picture is broken, too big, or no picture.
    """
    parts = [encoder.texts([text])] if text else []
    parts += encoder.images([picture] if picture is not None else [])
    vector = np.sum(parts, axis=0)
    normalised: Vectors = (vector / np.linalg.norm(vector)).astype(np.float32)
    return normalised


def search(text: str, picture: bytes | None, k: int, where: Sequence[Condition]) -> list[Hit]:
    """The ``k`` products nearest to a text and/or encoded picture, from saved files alone.

    Of a text alone, hubs are held back as far as the index says (``components.encoder.embed.hubs``).

    Raises:
        ModelFileError: no usable model.
        IndexFileError: no usable index, or one made with another model.
        FilterError: ``where`` asks for what no product has.
    """
    loaded = load_encoder(Paths().encoder)
    found = load_index(Paths().index, loaded.model_sha256, loaded.preprocessing_sha256)
    loaded.encoder.shorten(int(found.embeddings["dimension"]))
    vector = query_vector(BatchEncoder(loaded, batch_size=1, precision="fp32"), text, picture)
    allowed = fulfilling(found.products, where) if where else None
    return _hits(found, *found.search(vector, k, allowed, less_bias=picture is None))


def similar(product_id: str, k: int, where: Sequence[Condition]) -> list[Hit]:
    """The ``k`` products nearest to one that is in the index, itself left out.

    Raises:
        RetrievalDataError: the index does not hold the product.
        FilterError: ``where`` asks for what no product has.
    """
    found = load_index(Paths().index)
    try:
        row = found.row_of(product_id)
    except RetrievalDataError as error:
        near = get_close_matches(product_id, found.products["product_id"].to_pylist(), n=1)
        raise RetrievalDataError(f"{error} Did you mean '{near[0]}'?") if near else error from None
    allowed = fulfilling(found.products, where) if where else None
    return _hits(found, *found.search(found.vector(row)[None], k + 1, allowed), leave_out=row)[:k]
