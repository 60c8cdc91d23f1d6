"""What one variant trains on: its pictures, its texts, and the check on the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from components.catalog.format.schema import read_schema
from components.encoder.model.features.captions import Captions
from components.encoder.model.features.encode import FEATURE_BATCH, FEATURE_PRECISION, BatchEncoder
from components.encoder.model.features.held_out import query_task
from components.encoder.model.features.rows import read_rows
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.files import LoadedEncoder
from components.encoder.model.train.contrastive import TrainingSet, Validate
from components.encoder.model.train.training_set import (
    TrainingInputs,
    split_rows,
    text_inputs,
    train_queries,
    train_rows,
    training_set,
)
from components.retrieval.metrics import judge, reciprocal_rank
from components.retrieval.ranking import top_k
from components.stage.paths import Paths
from components.vlclip.model.errors import VlclipConfigurationError
from components.vlclip.model.params import VlclipParams
from components.vlclip.model.variants import (
    PictureSize,
    Variant,
    left_out_types,
    pictures_of,
    reads_together,
    texts_of,
    view_features,
)

Rows = list[dict[str, Any]]
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
    variant: Variant, params: VlclipParams, model: LoadedEncoder, paths: Paths, left_out: int | None = None
) -> tuple[TrainingSet, Validate | None]:
    """The train split as the variant sees and reads it, and its check on the validation split.

    Groups come from the sellers' records in every variant, so that all have the same negatives.

    Args:
        left_out: leave out every so-manieth product type.

    Raises:
        TrainingDataError: the train split is empty.
        VlclipConfigurationError: whole picture and crop together, and an image tower that is tuned.
    """
    rows = read_rows(paths.catalogue)
    schema = read_schema(paths.catalogue / "schema.json")
    train, at = train_rows(rows, paths.catalogue)
    if left_out is not None:
        train, at = _without_types(train, at, left_out_types([r["product_type"] for r in rows], left_out))
    size = PictureSize(params.margin, model.encoder.image_px, params.threads)
    pictures = pictures_of(variant, rows, paths, size, reads_together(model.encoder))
    texts, closed = texts_of(variant, train, paths), schema.closed_attributes()
    queries = train_queries(paths.catalogue, [r["product_id"] for r in train], RELEVANT)
    captions = Captions(texts, params.captions, closed, params.training.swapped_captions, queries)
    inputs = TrainingInputs(pictures.first, model, encoder_params(params, model), paths.cache)
    data = training_set(train, at, captions, inputs)
    if pictures.crops is not None:
        if data.features is None:
            raise VlclipConfigurationError(
                "Whole picture and crop are read together as features of a frozen tower: set "
                "vlclip.training.tune_image to false, or train the variant 'crop'."
            )
        batch = BatchEncoder(model, FEATURE_BATCH, FEATURE_PRECISION)
        data = replace(data, features=view_features(pictures, batch, paths))
    return data, _validation(rows, params, model, data, paths)


def _without_types(
    rows: Rows, at: np.ndarray[Any, Any], types: set[str]
) -> tuple[Rows, np.ndarray[Any, Any]]:
    kept = [i for i, row in enumerate(rows) if row["product_type"] not in types]
    return [rows[i] for i in kept], at[kept]


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

    training = params.training
    frozen = None if training.tune_text else text_inputs(task.texts, model, False, paths.cache)

    def _validate(encoder: Encoder) -> dict[str, float]:
        batch = BatchEncoder(replace(model, encoder=encoder), FEATURE_BATCH, training.precision)
        if data.features is not None:
            images = batch.image_vectors(data.features.take(at))
        else:
            images = batch.pixel_vectors(data.pixels.take(at))
        texts = batch.texts(task.texts) if frozen is None else batch.text_vectors(frozen.inputs)
        scores = texts @ images.T
        ranks = reciprocal_rank(judge(top_k(scores, min(100, scores.shape[1])), task.qrels), RELEVANT)
        return {"validation_mrr": float(np.mean(ranks))}

    return _validate
