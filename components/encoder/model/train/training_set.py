"""From a checked catalogue to what training reads: captions, group numbers, and where the pixels are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.catalog.format.schema import read_schema
from components.catalog.format.union_find import root
from components.encoder.model.errors import TrainingDataError
from components.encoder.model.features.captions import KINDS, Captions, caption
from components.encoder.model.features.held_out import title_task
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.tokenizer import AnyTokenizer, ClipTokenizer, learn_tokenizer
from components.encoder.model.train.contrastive import TrainingSet, Validate
from components.encoder.model.train.views import resized
from components.retrieval.metrics import judge, reciprocal_rank
from components.retrieval.ranking import top_k
from components.stage.accelerator import autocast


def split_rows(rows: list[dict[str, Any]], split: str) -> tuple[list[dict[str, Any]], np.ndarray[Any, Any]]:
    """The rows of one split and their positions in the catalogue."""
    at = np.array([i for i, r in enumerate(rows) if r["split"] == split], dtype=np.int64)
    return [rows[i] for i in at], at


def train_rows(
    rows: list[dict[str, Any]], catalogue: Path
) -> tuple[list[dict[str, Any]], np.ndarray[Any, Any]]:
    """The rows of the train split and their positions in the catalogue.

    Raises:
        TrainingDataError: there are none.
    """
    train, at = split_rows(rows, "train")
    if not train:
        raise TrainingDataError(f"{catalogue} has no product in the train split; change the split fractions.")
    return train, at


def training_set(
    rows: list[dict[str, Any]], at: np.ndarray[Any, Any], captions: Captions, pixels: PixelCache
) -> TrainingSet:
    """Products of the train split at their positions ``at`` in ``pixels``, numbered by group and by type.

    Products of equal title count as one group: a product must not be pushed away from its own title.
    """
    return TrainingSet(
        product_ids=[r["product_id"] for r in rows],
        rows=at,
        groups=group_numbers(rows),
        topics=type_numbers(rows),
        captions=captions,
        pixels=pixels,
    )


def make_tokenizer(rows: list[dict[str, Any]], params: EncoderParams) -> AnyTokenizer:
    """CLIP's own tokenizer for pretrained weights, else a BPE learned from every kind of training caption."""
    if params.model.pretrained is not None:
        return ClipTokenizer(params.model.text.context_length)
    texts: Iterator[str] = (caption(r, k) for r in rows for k in KINDS)
    return learn_tokenizer(texts, params.model.text.vocabulary_size, params.model.text.context_length)


def make_training_set(
    catalogue: Path, params: EncoderParams, cache: Path
) -> tuple[TrainingSet, AnyTokenizer, Validate | None]:
    """The train split, the tokenizer, and the check on the validation split.

    Raises:
        TrainingDataError: the train split is empty.
    """
    rows = read_rows(catalogue)
    train, at = train_rows(rows, catalogue)
    tokenizer = make_tokenizer(train, params)
    pixels = PixelCache(catalogue, params.image_px, cache, params.threads)
    closed = read_schema(catalogue / "schema.json").closed_attributes()
    captions = Captions(train, params.captions, tokenizer, closed, params.training.swapped_captions)
    data = training_set(train, at, captions, pixels)
    return data, tokenizer, _validation(rows, params, tokenizer, pixels)


def type_numbers(rows: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    """A number per row, equal where the product type is."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(r["product_type"], len(numbers)) for r in rows], dtype=np.int64)


def group_numbers(rows: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    """A number per row, equal where ``group_id`` is equal or the titles are, through any chain of the two."""
    parent = list(range(len(rows)))

    first: dict[tuple[str, str], int] = {}
    for i, row in enumerate(rows):
        title = row["title"].strip().casefold()
        for key in [("group", row["group_id"]), *([("title", title)] if title else [])]:
            parent[root(parent, i)] = root(parent, first.setdefault(key, i))
    return np.array([root(parent, i) for i in range(len(rows))], dtype=np.int64)


def _validation(
    rows: list[dict[str, Any]], params: EncoderParams, tokenizer: AnyTokenizer, pixels: PixelCache
) -> Validate | None:
    held_out, at = split_rows(rows, "validation")
    if len(held_out) < 2:
        return None
    task = title_task(held_out)
    if not task.texts:
        return None
    tokens = torch.from_numpy(tokenizer(task.texts))
    batch = params.training.batch_size

    def _validate(encoder: Encoder) -> dict[str, float]:
        device = next(encoder.parameters()).device
        with torch.inference_mode(), autocast(device, params.training.precision):
            images = [
                encoder.encode_image(
                    resized(torch.from_numpy(pixels.take(at[i : i + batch])).to(device), params.image_px)
                )
                for i in range(0, len(at), batch)
            ]
            texts = [encoder.encode_text(t.to(device)) for t in tokens.split(batch)]
        scores = (torch.cat(texts) @ torch.cat(images).T).float().cpu().numpy()
        ranks = reciprocal_rank(judge(top_k(scores, min(100, scores.shape[1])), task.qrels))
        return {"validation_titles_mrr": float(ranks.mean())}

    return _validate
