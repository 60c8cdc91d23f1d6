"""Search of the catalogue's index by text, by picture, or by a product that is in it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.encoder.model.errors import ModelFileError
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.pixels import LIMITS
from components.encoder.model.features.vector_cache import Vectors
from components.encoder.model.towers.files import load_encoder
from components.encoder.search.conditions import Condition, fulfilling
from components.retrieval.errors import RetrievalDataError
from components.retrieval.hits import Hit
from components.retrieval.index import ProductIndex, load_index
from components.stage.paths import Paths

DEFAULT = Paths()
PRODUCT_COLUMNS = ("product_id", "title", "product_type", "attributes")  # of a hit


def _hits(index: ProductIndex, scores: Vectors, rows: Any, leave_out: int | None = None) -> list[Hit]:
    pairs = zip(scores[0].tolist(), rows[0].tolist(), strict=True)
    kept = [(score, row) for score, row in pairs if row >= 0 and row != leave_out]
    products = [index.product(row) for _, row in kept]
    return [
        Hit(rank, score, *(product[column] for column in PRODUCT_COLUMNS))
        for rank, ((score, _), product) in enumerate(zip(kept, products, strict=True), 1)
    ]


def query_vector(encoder: BatchEncoder, text: str, image: Path | None) -> Vectors:
    """The vector ``[1, D]`` of a text, a picture, or both (their mean, normalised).

    Raises:
        ModelFileError: neither is given, or the picture cannot be read.
        ImageError: the picture is broken, too big, or no picture.
    """
    parts = [encoder.texts([text])] if text.strip() else []
    if image is not None:
        try:
            if image.stat().st_size > LIMITS.max_bytes:
                raise ModelFileError(f"{image} has over {LIMITS.max_bytes:,} bytes; give a smaller picture.")
            parts += list(encoder.images([image.read_bytes()]))
        except OSError as error:
            raise ModelFileError(f"{image} cannot be read: {error.strerror}.") from None
    if not parts:
        raise ModelFileError("Say what to search for: a text, --image, or both.")
    vector = np.sum(parts, axis=0)
    normalised: Vectors = (vector / np.linalg.norm(vector)).astype(np.float32)
    return normalised


def search(
    text: str, image: Path | None, k: int, where: Sequence[Condition], paths: Paths = DEFAULT
) -> list[Hit]:
    """The ``k`` products nearest to a text and/or picture, from saved files alone.

    Of a text alone, hubs are held back as far as the index says (``components.encoder.embed.hubs``).

    Raises:
        ModelFileError: no usable model, or nothing to search for.
        IndexFileError: no usable index, or one made with another model.
        FilterError: ``where`` asks for what no product has.
    """
    loaded = load_encoder(paths.encoder)
    found = load_index(paths.index, loaded.model_sha256, loaded.preprocessing_sha256)
    loaded.encoder.shorten(int(found.embeddings["dimension"]))
    vector = query_vector(BatchEncoder(loaded, batch_size=1, precision="fp32"), text, image)
    allowed, text_alone = _allowed(found, where), image is None
    return _hits(found, *found.search(vector, k, allowed, less_bias=text_alone))


def _allowed(index: ProductIndex, where: Sequence[Condition]) -> NDArray[np.bool_] | None:
    return fulfilling(index.products, where) if where else None


def similar(product_id: str, k: int, where: Sequence[Condition], paths: Paths = DEFAULT) -> list[Hit]:
    """The ``k`` products nearest to one that is in the index, itself left out.

    Raises:
        RetrievalDataError: the index does not hold the product.
        FilterError: ``where`` asks for what no product has.
    """
    found = load_index(paths.index)
    try:
        row = found.row_of(product_id)
    except RetrievalDataError as error:
        near = get_close_matches(product_id, found.products["product_id"].to_pylist(), n=1)
        raise RetrievalDataError(f"{error} Did you mean '{near[0]}'?") if near else error from None
    vector = found.vector(row)[None]
    return _hits(found, *found.search(vector, k + 1, _allowed(found, where)), leave_out=row)[:k]
