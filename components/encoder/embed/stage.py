"""Stage ``embeddings``: every product's vector, of its picture or of all, and what its scores are less by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.encoder.embed.hubs import Hubs, learn_hubs
from components.encoder.embed.params import HubParams
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.pixels import ROWS_AT_ONCE, shard_paths
from components.encoder.model.params import EmbeddingsParams
from components.encoder.model.towers.files import load_encoder
from components.stage.files.publish import published
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.progress import Progress
from components.stage.record import Record


class EmbedStage(Params):
    """Parameters of the stage."""

    embeddings: EmbeddingsParams
    hubs: HubParams = HubParams()


def run(params: EmbedStage, paths: Paths, record: Record) -> None:
    """Write ``embeddings.parquet`` and ``meta.json``.

    Memory holds one batch of pictures at a time, and what :func:`learn_hubs` holds.
    """
    settings = params.embeddings
    torch.set_num_threads(settings.threads)
    model = load_encoder(paths.encoder)
    model.encoder.shorten(settings.dimensions)
    encoder = BatchEncoder(model, settings.batch_size, settings.precision, paths.cache / "vectors")
    features = FeatureCache.of_products(paths.catalogue, encoder, paths.cache, settings.threads)
    hubs = learn_hubs(paths.catalogue, encoder, features, params.hubs)
    encoder.cache.close()
    with published(paths.embeddings) as folder:
        folder.mkdir(parents=True)
        count = _write_vectors(folder / "embeddings.parquet", paths.catalogue, features, hubs)
        meta = {
            "count": count,
            "dimension": model.encoder.embed_dim,
            "hub_strength": hubs.strength,
            "kind": "image",
            "model_sha256": model.model_sha256,
            "preprocessing_sha256": model.preprocessing_sha256,
        }
        (folder / "meta.json").write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    record.metrics = {"products": float(count), "hub_strength": hubs.strength}
    record.outputs = [str(paths.embeddings)]


def _write_vectors(file: Path, catalogue: Path, features: FeatureCache, hubs: Hubs) -> int:
    """One row per product, ``product_id``, ``vector`` and ``bias``, in the catalogue's order; how many."""
    dimension = hubs.bank.shape[1]
    schema = pa.schema(
        [
            ("product_id", pa.string()),
            ("vector", pa.list_(pa.float32(), dimension)),
            ("bias", pa.float32()),  # taken from the scores of texts
        ]
    )
    progress, done = Progress("encoding", len(features), "pictures"), 0
    with pq.ParquetWriter(file, schema, compression="none") as writer:
        for shard in shard_paths(catalogue):
            for batch in pq.ParquetFile(shard).iter_batches(ROWS_AT_ONCE, columns=["product_id"]):
                vectors = features.vectors(np.arange(done, done + len(batch)))
                column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dimension)
                biases = pa.array(hubs.biases(vectors))
                writer.write_batch(
                    pa.record_batch([batch.column("product_id"), column, biases], schema=schema)
                )
                done += len(batch)
                progress.advance(len(batch))
    return done
