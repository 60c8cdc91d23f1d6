"""Stage ``index``: embeddings that passed their gate, with their products' columns, as a search index."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.retrieval.embeddings import read_biases, read_embeddings
from components.retrieval.errors import RetrievalDataError
from components.retrieval.index import PRODUCT_COLUMNS, build_index
from components.retrieval.params import IndexParams
from components.stage.files.publish import published
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record
from components.stage.resume import sha256_file


class Blocks(Params):
    """The parameters of the stage: which index of faiss, and how it is built."""

    index: IndexParams


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Build and publish the index.

    Raises:
        RetrievalDataError: the embeddings have not passed their gate, or do not fit the catalogue.
    """
    require_passed_gate(paths.quality / "embeddings.json", paths.embeddings / "embeddings.parquet")
    with record.timed("read"):
        ids, vectors, meta = read_embeddings(paths.embeddings)
        products = products_of(paths.catalogue / "products", ids)
    with record.timed("build"), published(paths.index) as folder:
        build_index(folder, vectors, products, meta, params.index, biases=read_biases(paths.embeddings))
    record.metrics = {"products": float(len(ids)), "dimension": float(vectors.shape[1])}
    record.outputs = [paths.index.as_posix()]


def require_passed_gate(verdict: Path, file: Path) -> None:
    """Refuse embeddings whose quality gate has not passed, or passed for other bytes than these.

    Raises:
        RetrievalDataError: so it is, or ``verdict`` cannot be read.
    """
    try:
        report = json.loads(verdict.read_text(encoding="utf-8"))
        passed, seen = report["passed"], report["inputs"][file.as_posix()]
    except (OSError, ValueError, KeyError, TypeError):
        raise RetrievalDataError(
            f"{verdict} is missing or unreadable; run 'vitrine run --until embeddings_quality'."
        ) from None
    if passed is not True:
        raise RetrievalDataError(
            f"{verdict} says that the embeddings did not pass; mend them before indexing."
        )
    if not file.is_file() or sha256_file(file) != seen:
        raise RetrievalDataError(
            f"{verdict} judged another {file} than this one; run 'vitrine run --until embeddings_quality'."
        )


def products_of(shards: Path, product_ids: Sequence[str]) -> pa.Table:
    """Rows of a catalogue's ``products/`` folder in the order of ``product_ids``, without the image column.

    Raises:
        RetrievalDataError: no shards, unreadable shards, or an id that is missing or occurs more than once.
    """
    files = sorted(shards.glob("part-*.parquet"))
    if not files:
        raise RetrievalDataError(
            f"{shards} holds no part-*.parquet; run 'vitrine run --until catalog_quality'."
        )
    try:
        table = pa.concat_tables(pq.read_table(file, columns=list(PRODUCT_COLUMNS)) for file in files)
    except (OSError, pa.ArrowException) as error:
        raise RetrievalDataError(f"{shards} cannot be read: {' '.join(str(error).split())[:200]}.") from None
    places = pc.index_in(pa.array(product_ids, pa.string()), table["product_id"].combine_chunks())
    if places.null_count:
        first = product_ids[int(np.flatnonzero(places.is_null().to_numpy(zero_copy_only=False))[0])]
        raise RetrievalDataError(
            f"{places.null_count} embedded products are not in {shards} (first: '{first}'); run the "
            "embeddings stage."
        )
    if len(set(product_ids)) != len(product_ids) or table.num_rows != len(product_ids):
        raise RetrievalDataError(
            f"{shards} holds {table.num_rows} products, the embeddings {len(set(product_ids))} different "
            "ones; "
            "run 'vitrine run --until embeddings'."
        )
    return table.take(places)
