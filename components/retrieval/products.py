"""The product columns that an index keeps beside its vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.retrieval.errors import RetrievalDataError
from components.retrieval.index import PRODUCT_COLUMNS


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
