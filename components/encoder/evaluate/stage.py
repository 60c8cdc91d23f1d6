"""The evaluation stage: every row of the encoder's table, as metrics and per-query files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch

from components.encoder.evaluate.evaluate import Evaluation, evaluate_encoder, evaluate_rivals
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import read_held_out
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.params import EncoderParams, EvaluationParams
from components.encoder.model.towers.dual_encoder import create_encoder
from components.encoder.model.towers.files import LoadedEncoder, load_encoder
from components.retrieval.published_figures import flat_figures, publish_figures
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
    record.outputs = publish_figures(metrics, evaluation.tables(), METRICS, PER_QUERY)
    record.metrics = flat_figures(metrics)
