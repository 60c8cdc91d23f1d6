"""An embeddings folder is read whole or refused with what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.retrieval.embeddings import read_embeddings
from components.retrieval.errors import RetrievalDataError

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)
META = {"count": 4, "dimension": 3, "kind": "image"}


def fixed(vectors: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def write(folder: Path, column: pa.Array | None = None) -> Path:
    vectors = fixed(VECTORS) if column is None else column
    table = pa.table({"product_id": ["b", "a", "d", "c"], "vector": vectors})
    pq.write_table(table, folder / "embeddings.parquet", row_group_size=3)
    (folder / "meta.json").write_text(json.dumps(META))
    return folder


def test_rows_keep_the_order_of_the_file_across_row_groups(tmp_path: Path) -> None:
    ids, vectors, meta = read_embeddings(write(tmp_path))
    assert ids == ["b", "a", "d", "c"] and meta == META
    assert vectors.dtype == np.float32 and np.array_equal(vectors, VECTORS)


def holed(folder: Path) -> None:
    write(folder, pa.array([[1.0, 2, 3], None, [1, 2, 3], [1, 2, 3]], pa.list_(pa.float32(), 3)))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            lambda f: (f / "meta.json").unlink(),
            "meta.json does not exist; run 'vitrine run --until embeddings'",
        ),
        (
            lambda f: (f / "embeddings.parquet").unlink(),
            "does not exist; run 'vitrine run --until embeddings'",
        ),
        (lambda f: (f / "meta.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "embeddings.parquet").write_bytes(b"PAR1"), "cannot be read"),
        (lambda f: (f / "meta.json").write_text("[]"), "a fixed-size vector for every product"),
        (holed, "cannot be read|a fixed-size vector for every product"),
        (lambda f: write(f, pa.array(VECTORS.tolist())), "a fixed-size vector for every product"),
        (lambda f: write(f, fixed(VECTORS[:, :2])), "states 4 vectors of 3 numbers, .* holds 4 of 2"),
        (lambda f: (f / "meta.json").write_text('{"count": 5, "dimension": 3}'), "states 5 vectors"),
    ],
)
def test_embeddings_that_contradict_their_meta_file_are_refused(
    tmp_path: Path, damage: Callable[[Path], object], told: str
) -> None:
    write(tmp_path)
    damage(tmp_path)
    with pytest.raises(RetrievalDataError, match=told):
        read_embeddings(tmp_path)
