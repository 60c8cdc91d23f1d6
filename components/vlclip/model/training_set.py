"""What one variant trains on: its pictures, its texts, and the check on the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from components.catalog.format.schema import read_schema
from components.encoder.model.features.captions import Captions
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import query_task
from components.encoder.model.features.rows import read_rows
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.files import LoadedEncoder
from components.encoder.model.train.contrastive import TrainingSet, Validate
from components.encoder.model.train.training_set import (
    FEATURE_BATCH,
    Inputs,
    split_rows,
    train_queries,
    train_rows,
    training_set,
)
from components.retrieval.metrics import judge, reciprocal_rank
from components.retrieval.ranking import top_k
from components.stage.paths import Paths
from components.vlclip.model.params import VlclipParams
from components.vlclip.model.variants import PictureSize, Variant, pictures_of, texts_of

RELEVANT = 3  # the grade that validation counts as a hit: the product has everything that the query asks


def encoder_params(params: VlclipParams, model: LoadedEncoder) -> EncoderParams:
    """The encoder's parameters with this block's training in the place of its own; the model is made."""
    return EncoderParams(
        seed=params.seed,
        threads=params.threads,
        image_px=model.encoder.image_px,
        captions=params.captions,
        augmentation=params.augmentation,
        training=params.training,
    )


def make_training_set(
    variant: Variant, params: VlclipParams, model: LoadedEncoder, paths: Paths
) -> tuple[TrainingSet, Validate | None]:
    """The train split as the variant sees and reads it, and its check on the validation split.

    Groups come from the sellers' records in every variant, so that all have the same negatives.

    Raises:
        TrainingDataError: the train split is empty.
    """
    rows = read_rows(paths.catalogue)
    schema = read_schema(paths.catalogue / "schema.json")
    train, at = train_rows(rows, paths.catalogue)
    size = PictureSize(params.margin, model.encoder.image_px, params.threads)
    pixels = pictures_of(variant, rows, paths, size)
    texts, closed = texts_of(variant, train, paths), schema.closed_attributes()
    queries = train_queries(paths.catalogue, [r["product_id"] for r in train], RELEVANT)
    captions = Captions(texts, params.captions, closed, params.training.swapped_captions, queries)
    data = training_set(
        train, at, captions, Inputs(pixels, model, encoder_params(params, model), paths.cache)
    )
    return data, _validation(rows, params, model, data, paths)


def _validation(
    rows: Sequence[dict[str, Any]],
    params: VlclipParams,
    model: LoadedEncoder,
    data: TrainingSet,
    paths: Paths,
) -> Validate | None:
    """MRR of the validation split's own queries among its pictures, as the variant sees them."""
    held_out, at = split_rows(list(rows), "validation")
    task = query_task(paths.catalogue, "validation", [r["product_id"] for r in held_out], RELEVANT)
    if len(held_out) < 2 or not task.texts:
        return None

    def _validate(encoder: Encoder) -> dict[str, float]:
        training = params.training
        batch = BatchEncoder(replace(model, encoder=encoder), FEATURE_BATCH, training.precision)
        if data.features is not None:
            images = batch.image_vectors(data.features.take(at))
        else:
            images = batch.pixel_vectors(data.pixels.take(at))
        scores = batch.texts(task.texts) @ images.T
        ranks = reciprocal_rank(judge(top_k(scores, min(100, scores.shape[1])), task.qrels), RELEVANT)
        return {"validation_mrr": float(np.mean(ranks))}

    return _validate
