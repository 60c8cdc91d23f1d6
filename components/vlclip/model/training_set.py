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
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.encoder.model.params import EncoderParams, ModelParams, TextTower
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.files import LoadedEncoder
from components.encoder.model.train.contrastive import TrainingSet, Validate
from components.encoder.model.train.training_set import split_rows, train_rows, training_set
from components.retrieval.metrics import judge, reciprocal_rank
from components.retrieval.ranking import top_k
from components.stage.paths import Paths
from components.vlclip.model.params import VlclipParams
from components.vlclip.model.variants import PictureSize, Variant, pictures_of, texts_of

RELEVANT = 3  # the grade that validation counts as a hit: the product has everything that the query asks


def encoder_params(params: VlclipParams, model: LoadedEncoder) -> EncoderParams:
    """The encoder's parameters with this block's training in the place of its own."""
    clip = model.encoder.clip
    # As it stands: the limits of these parameters are for a new model, and this one is made.
    text = TextTower.model_construct(
        context_length=int(clip.positional_embedding.shape[0]),
        vocabulary_size=model.tokenizer.vocabulary_size,
        width=int(clip.transformer.width),
        heads=int(clip.transformer.resblocks[0].attn.num_heads),
        layers=len(clip.transformer.resblocks),
    )
    return EncoderParams(
        seed=params.seed,
        threads=params.threads,
        image_px=model.encoder.image_px,
        model=ModelParams(pretrained=None, embed_dim=model.encoder.embed_dim, vision=model.vision, text=text),
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
    captions = Captions(texts, params.captions, model.tokenizer, closed, params.training.swapped_captions)
    data = training_set(train, at, captions, pixels)
    return data, _validation(rows, params, model, pixels, paths)


def _validation(
    rows: Sequence[dict[str, Any]],
    params: VlclipParams,
    model: LoadedEncoder,
    pixels: PixelCache,
    paths: Paths,
) -> Validate | None:
    """MRR of the validation split's own queries among its pictures, as the variant sees them."""
    held_out, at = split_rows(list(rows), "validation")
    task = query_task(paths.catalogue, "validation", [r["product_id"] for r in held_out], RELEVANT)
    if len(held_out) < 2 or not task.texts:
        return None

    def _validate(encoder: Encoder) -> dict[str, float]:
        batch = BatchEncoder(
            replace(model, encoder=encoder), params.training.batch_size, params.training.precision
        )
        scores = batch.texts(task.texts) @ batch.pixel_vectors(pixels.take(at)).T
        ranks = reciprocal_rank(judge(top_k(scores, min(100, scores.shape[1])), task.qrels), RELEVANT)
        return {"validation_mrr": float(np.mean(ranks))}

    return _validate
