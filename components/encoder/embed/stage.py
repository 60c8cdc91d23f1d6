"""Stage ``embeddings``: the vector of every product's picture, streamed from the catalogue's shards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.pixels import ROWS_AT_ONCE, PixelCache, shard_paths
from components.encoder.model.params import EmbeddingsParams
from components.encoder.model.towers.files import load_encoder
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.progress import Progress
from components.stage.publish import published
from components.stage.record import Record


class EmbedStage(Params):
    """Parameters of the stage."""

    embeddings: EmbeddingsParams


def run(params: EmbedStage, paths: Paths, record: Record) -> None:
    """Write ``embeddings.parquet`` and ``meta.json``; memory holds one batch of pictures at a time."""
    settings = params.embeddings
    torch.set_num_threads(settings.threads)
    model = load_encoder(paths.encoder)
    encoder = BatchEncoder(model, settings.batch_size, settings.precision, paths.cache / "vectors")
    pixels = PixelCache(paths.catalogue, model.encoder.image_px, paths.cache, settings.threads)
    with published(paths.embeddings) as folder:
        folder.mkdir(parents=True)
        count = _write_vectors(folder / "embeddings.parquet", paths.catalogue, encoder, pixels)
        meta = {
            "count": count,
            "dimension": model.encoder.embed_dim,
            "kind": "image",
            "model_sha256": model.model_sha256,
            "preprocessing_sha256": model.preprocessing_sha256,
        }
        (folder / "meta.json").write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    record.metrics = {"products": float(count), "from_cache": float(encoder.cache.hits)}
    record.outputs = [str(paths.embeddings)]
    encoder.cache.close()


def _write_vectors(file: Path, catalogue: Path, encoder: BatchEncoder, pixels: PixelCache) -> int:
    """One row per product, ``product_id`` and ``vector``, in the catalogue's order; how many there are."""
    dimension = encoder.encoder.embed_dim
    schema = pa.schema([("product_id", pa.string()), ("vector", pa.list_(pa.float32(), dimension))])
    progress = Progress("encoding", len(pixels), "pictures")
    ids: list[str] = []
    done = 0
    with pq.ParquetWriter(file, schema, compression="none") as writer:
        for vectors in encoder.catalogue_images(_pictures(catalogue, ids), pixels):
            names = pa.array(ids[done : done + len(vectors)])
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dimension)
            writer.write_batch(pa.record_batch([names, column], schema=schema))
            done += len(vectors)
            progress.advance(len(vectors))
    return done


def _pictures(catalogue: Path, ids: list[str]) -> Iterator[bytes]:
    """Encoded pictures in the catalogue's order; the ids of those that were given are put into ``ids``."""
    for shard in shard_paths(catalogue):
        for batch in pq.ParquetFile(shard).iter_batches(ROWS_AT_ONCE, columns=["product_id", "image"]):
            ids += batch.column("product_id").to_pylist()
            yield from batch.column("image").field("bytes").to_pylist()
