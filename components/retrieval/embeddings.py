"""Reading an embeddings folder: ``embeddings.parquet`` and ``meta.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.retrieval.errors import RetrievalDataError


def read_embeddings(folder: Path) -> tuple[list[str], NDArray[np.float32], dict[str, Any]]:
    """Product ids, vectors float32 ``[n, d]`` in the same order, and ``meta.json``.

    Raises:
        RetrievalDataError: a file is missing or unreadable, a vector is null, or counts and dimensions
            disagree.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        table = pq.read_table(folder / "embeddings.parquet", columns=["product_id", "vector"])
    except FileNotFoundError as error:
        raise RetrievalDataError(
            f"{error.filename or folder} does not exist; run 'vitrine run --until embeddings'."
        ) from None
    except (ValueError, pa.ArrowException) as error:
        raise RetrievalDataError(f"{folder} cannot be read: {' '.join(str(error).split())[:200]}.") from None
    column = table["vector"].combine_chunks()
    if not pa.types.is_fixed_size_list(column.type) or column.null_count or not isinstance(meta, dict):
        raise RetrievalDataError(
            f"{folder}/embeddings.parquet must hold a fixed-size vector for every product."
        )
    vectors = np.asarray(column.flatten(), np.float32).reshape(len(column), column.type.list_size)
    if vectors.shape != (meta.get("count"), meta.get("dimension")):
        raise RetrievalDataError(
            f"{folder}: meta.json states {meta.get('count')} vectors of {meta.get('dimension')} numbers, "
            f"embeddings.parquet holds {vectors.shape[0]} of {vectors.shape[1]}."
        )
    return table["product_id"].to_pylist(), vectors, meta


def read_biases(folder: Path) -> NDArray[np.float32] | None:
    """What is taken from each product's scores of texts, float32 ``[n]``; None where nothing is.

    Call it where :func:`read_embeddings` has read the folder.
    """
    file = folder / "embeddings.parquet"
    if "bias" not in pq.read_schema(file).names:
        return None
    biases: NDArray[np.float32] = pq.read_table(file, columns=["bias"])["bias"].to_numpy()
    return biases if biases.any() else None
