"""Stage ``encoder_eval``: every row of the encoder's table on held-out products."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch

from components.encoder.evaluate.figures import Evaluation, evaluate_baselines, evaluate_encoder
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import read_held_out
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.params import EncoderParams, EvaluationParams
from components.encoder.model.towers.dual_encoder import create_encoder
from components.encoder.model.towers.files import LoadedEncoder, load_encoder
from components.retrieval.published_figures import flat_figures, publish_figures
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class EncoderEvaluationStage(Params):
    """Parameters of the stage: ``encoder`` says what the network was before its first step."""

    encoder: EncoderParams
    encoder_eval: EvaluationParams


def untrained(model: LoadedEncoder, params: EncoderParams) -> LoadedEncoder:
    """The same network before its first step (or as it came from elsewhere)."""
    encoder = create_encoder(params, model.tokenizer.vocabulary_size).eval()
    name = hashlib.sha256(f"untrained {params.model_dump_json()}".encode()).hexdigest()
    return replace(model, encoder=encoder, model_sha256=name)


def run(params: EncoderEvaluationStage, paths: Paths, record: Record) -> None:
    """Measure untrained, fine_tuned and the baselines on the held-out split, and publish the figures."""
    settings = params.encoder_eval
    torch.set_num_threads(settings.threads)
    held_out = read_held_out(paths.catalogue, paths.truth, settings.split, settings.relevant_grade)
    model = load_encoder(paths.encoder)
    pixels = PixelCache(paths.catalogue, model.encoder.image_px, paths.cache, settings.threads)
    evaluation = Evaluation(held_out, settings)
    variants = {"untrained": untrained(model, params.encoder), "fine_tuned": model}
    for name, variant in variants.items():
        with record.timed(name):
            batch = BatchEncoder(variant, settings.batch_size, settings.precision)
            evaluate_encoder(evaluation, name, batch, pixels)
    with record.timed("baselines"):
        evaluate_baselines(evaluation, pixels)
    with record.timed("intervals"):
        metrics = evaluation.metrics()
    record.outputs = publish_figures(
        metrics, evaluation.tables(), paths.metrics / "encoder.json", paths.per_query / "encoder"
    )
    record.metrics = flat_figures(metrics)
