"""A catalogue from a source: listings as sellers write them, pictures in shards, truth apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa

from components.catalog.build.careless_photos import take_photos
from components.catalog.build.opened_source import CatalogueFolder
from components.catalog.build.params import CatalogParams
from components.catalog.format.errors import SourceError
from components.catalog.format.parquet import write_rows
from components.catalog.format.schema import write_schema
from components.catalog.format.shards import CatalogueWriter, write_manifest, write_qrels, write_queries
from components.catalog.format.truth import TruthWriter
from components.catalog.noise.seller_text import SellerNoise
from components.catalog.source.importer import FileSource
from components.stage.progress import Progress

# Source rows that are no product, query or judgement, with where and why: the gate counts them as bad rows.
REJECTS = pa.schema(
    [
        ("kind", pa.string()),  # product | query | qrel
        ("product_id", pa.string()),  # as far as it is known
        ("file", pa.string()),
        ("row", pa.int64()),  # in that file, from 1
        ("field", pa.string()),
        ("reason", pa.string()),
    ]
)


def write_catalogue(
    source: CatalogueFolder | FileSource, params: CatalogParams, target: Path, truth: Path
) -> dict[str, float]:
    """Write the catalogue to the folder ``target`` and the truth to the file ``truth``.

    Returns:
        How many products, queries, qrels and rejects there are, acts of noise and pictures, by kind.

    Raises:
        SourceError: the source gives no product at all.
    """
    schema = source.schema()
    noise = SellerNoise(params.noise, schema, params.seed) if params.noise else None
    acts: Counter[str] = Counter()
    progress = Progress("catalogue", source.product_count, "products")
    last_id = None
    shards = CatalogueWriter(target, params.rows_per_shard, source.has_more_images)
    with shards as writer, TruthWriter(truth) as truths:
        for clean, known in source.products():
            listed, done = noise.apply(clean) if noise else (clean, ())
            writer.add(listed)
            if clean.product_id != last_id:  # of rows with one id, which the gate sorts out, the first counts
                truths.add(known.model_copy(update={"noise": known.noise + done}))
            last_id = clean.product_id
            acts.update(act.kind for act in done)
            progress.advance()
    rejects = write_rows(target / "rejects.parquet", REJECTS, source.rejects())
    if not writer.product_count:
        raise SourceError(f"the source gives no product: {source.worst()}.")
    write_schema(target / "schema.json", schema)
    queries, qrels = source.queries()
    counts = {
        "products": writer.product_count,
        "queries": write_queries(target, queries),
        "qrels": write_qrels(target, qrels),
        "rejects": rejects,
    }
    write_manifest(target, {**counts, "splits": writer.split_counts})
    photos = take_photos(target, truth, params, params.photo_noise) if params.photo_noise else {}
    by_kind = {f"noise.{kind}": n for kind, n in acts.items()} | {
        f"photos.{kind}": n for kind, n in photos.items()
    }
    return {name: float(number) for name, number in (by_kind | counts).items()}
