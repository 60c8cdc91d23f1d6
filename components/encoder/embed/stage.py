"""The embeddings stage: one vector per product, streamed from the catalogue's shards."""

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
from components.stage.progress import Progress
from components.stage.publish import published
from components.stage.record import Record


def _pictures(catalogue: Path, ids: list[str]) -> Iterator[bytes]:
    for shard in shard_paths(catalogue):
        for batch in pq.ParquetFile(shard).iter_batches(ROWS_AT_ONCE, columns=["product_id", "image"]):
            ids += batch.column("product_id").to_pylist()
            yield from batch.column("image").field("bytes").to_pylist()


def embed_catalogue(
    catalogue: Path, model: Path, target: Path, params: EmbeddingsParams, cache: Path, record: Record
) -> None:
    """Write ``embeddings.parquet`` and ``meta.json``; memory holds one batch of pictures at a time."""
    torch.set_num_threads(params.threads)
    loaded = load_encoder(model)
    dimension = loaded.encoder.embed_dim
    schema = pa.schema([("product_id", pa.string()), ("vector", pa.list_(pa.float32(), dimension))])
    encoder = BatchEncoder(loaded, params.batch_size, params.precision, cache / "vectors.sqlite")
    pixels = PixelCache(catalogue, loaded.encoder.image_px, cache, params.threads)
    progress = Progress("encoding", len(pixels), "pictures")
    ids: list[str] = []
    done = 0
    with published(target) as folder:
        folder.mkdir(parents=True)
        with pq.ParquetWriter(folder / "embeddings.parquet", schema, compression="none") as writer:
            for vectors in encoder.catalogue_images(_pictures(catalogue, ids), pixels):
                names = ids[done : done + len(vectors)]
                column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dimension)
                writer.write_batch(pa.record_batch([pa.array(names), column], schema=schema))
                done += len(vectors)
                progress.advance(len(vectors))
        meta = {
            "count": done,
            "dimension": dimension,
            "kind": "image",
            "model_sha256": loaded.model_sha256,
            "preprocessing_sha256": loaded.preprocessing_sha256,
        }
        (folder / "meta.json").write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    record.metrics = {"products": float(done), "from_memo": float(encoder.memo.hits)}
    record.outputs = [str(target)]
    encoder.memo.close()
