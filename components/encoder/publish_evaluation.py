"""The evaluation stage: every row of the encoder's table, as metrics and per-query files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import torch

from components.encoder.encode import BatchEncoder
from components.encoder.evaluate import Evaluation, evaluate_encoder, evaluate_rivals
from components.encoder.files import LoadedEncoder, load_encoder
from components.encoder.heldout import read_held_out
from components.encoder.model import create_encoder
from components.encoder.params import EncoderParams, EvaluationParams
from components.encoder.pixels import PixelCache
from components.stage.publish import published, write_text
from components.stage.record import Record

METRICS, PER_QUERY = Path("metrics/encoder.json"), Path("results/per_query/encoder")


def untrained(model: LoadedEncoder, params: EncoderParams) -> LoadedEncoder:
    """The same network before its first step (or as it came from elsewhere)."""
    encoder = create_encoder(params, model.tokenizer.vocabulary_size).eval()
    name = hashlib.sha256(f"untrained {params.model_dump_json()}".encode()).hexdigest()
    return replace(model, encoder=encoder, model_sha256=name)


def evaluate_and_publish(
    params: EvaluationParams,
    encoder_params: EncoderParams,
    catalogue: Path,
    truth: Path,
    model: Path,
    cache: Path,
    record: Record,
) -> None:
    """Measure untrained, fine_tuned and the rivals on the held-out split, and publish the figures."""
    torch.set_num_threads(params.threads)
    held_out = read_held_out(catalogue, truth, params.split, params.relevant_grade)
    loaded = load_encoder(model)
    pixels = PixelCache(catalogue, loaded.encoder.image_px, cache, params.threads)
    evaluation = Evaluation(held_out, params)
    variants = {"untrained": untrained(loaded, encoder_params), "fine_tuned": loaded}
    for name, variant in variants.items():
        with record.timed(name):
            batch = BatchEncoder(variant, params.batch_size, params.precision)
            evaluate_encoder(evaluation, name, batch, pixels)
    with record.timed("rivals"):
        evaluate_rivals(evaluation, pixels)
    with record.timed("intervals"):
        metrics = evaluation.metrics()
    write_text(METRICS, json.dumps(metrics, indent=1, sort_keys=True) + "\n")
    with published(PER_QUERY) as folder:
        folder.mkdir(parents=True)
        for name, table in evaluation.tables().items():
            pq.write_table(table, folder / name, compression="zstd")
    record.outputs = [str(METRICS), str(PER_QUERY)]
    record.metrics = {
        f"{variant}.{name}": figure["value"]
        for variant, row in metrics.items()
        if variant != "_tests"
        for name, figure in row.items()
    }
