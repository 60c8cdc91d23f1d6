"""From a checked catalogue and a starting encoder to what an alignment stage reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import query_task
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.encoder.model.features.vector_cache import Vectors
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.files import LoadedEncoder
from components.encoder.model.train.training_set import split_rows
from components.encoder.model.train.views import resized
from components.fusion.model.align.align import AlignmentData, query_tokens
from components.fusion.model.data.judgements import Ints, Judgements, read_judgements
from components.fusion.model.data.mining import Mined, mine, mining_pool
from components.fusion.model.data.pairs import PairSampler, Schedule
from components.fusion.model.data.product_text import ProductTokens
from components.fusion.model.errors import FusionDataError
from components.fusion.model.params import AlignmentParams, FusionParams
from components.fusion.model.towers.towers import PictureTower
from components.retrieval.metrics import judge, ndcg_at
from components.retrieval.ranking import top_k

Rows = list[dict[str, Any]]


def group_places(rows: Rows) -> Ints:
    """``[P]`` a number per product, equal where ``group_id`` is."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(row["group_id"], len(numbers)) for row in rows], dtype=np.int64)


def topic_numbers(rows: Rows, judgements: Judgements) -> Ints:
    """``[Q]`` a number per query: the product type of its best product."""
    types = np.array([row["product_type"] for row in rows])
    return np.unique(types[judgements.best_product()], return_inverse=True)[1]


def _encode(encoder: Encoder, tokens: Any, batch: int, bf16: bool, image_px: int | None = None) -> Vectors:
    """Vectors of token rows, or of pictures ``[N, px, px, 3]`` when ``image_px`` is given."""
    at = next(encoder.parameters()).device
    order = np.arange(len(tokens)) if image_px else tokens.argmax(axis=1).argsort(kind="stable")
    out = []
    with torch.inference_mode(), torch.autocast(at.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(tokens), batch):
            part = torch.from_numpy(tokens[order[start : start + batch]]).to(at)
            vectors = (
                encoder.encode_text(part)
                if image_px is None
                else encoder.encode_image(resized(part, image_px))
            )
            out.append(vectors.float().cpu().numpy())
    return np.concatenate(out)[order.argsort()]


def _mined(
    loaded: LoadedEncoder,
    queries: Any,
    data: tuple[ProductTokens, PixelCache | None, Vectors | None, Ints, Ints],
    judgements: Judgements,
    fusion: FusionParams,
    params: AlignmentParams,
) -> Mined:
    """Hard negatives by the starting encoder: near by picture in the picture stage, else by text."""
    tokens, pixels, images, at, groups = data
    pool = mining_pool(len(groups), fusion.pairs.mining_pool, params.seed)
    batch, bf16 = params.encode.batch_size, params.encode.precision == "bf16"
    if images is not None:
        vectors = images[pool]
    elif pixels is not None and params.image_weight > params.text_weight:
        vectors = _encode(loaded.encoder, pixels.take(at[pool]), batch, bf16, loaded.encoder.image_px)
    else:
        vectors = _encode(loaded.encoder, tokens.draw(pool, None), batch, bf16)
    asked = _encode(loaded.encoder, queries, batch, bf16)
    return mine(asked, vectors, pool, judgements, groups, fusion.pairs)


def make_alignment_set(
    catalogue: Path, loaded: LoadedEncoder, fusion: FusionParams, params: AlignmentParams, cache: Path
) -> tuple[AlignmentData, Callable[[], dict[str, float]] | None]:
    """The train split with its mined negatives, and the check on the validation split.

    Raises:
        FusionDataError: no train product, or no train query with an answer.
    """
    rows = read_rows(catalogue)
    train, at = split_rows(rows, "train")
    if not train:
        raise FusionDataError(f"{catalogue} has no product in the train split; change the split fractions.")
    ids = [row["product_id"] for row in train]
    judgements = read_judgements(catalogue, "train", ids, fusion.pairs.weights)
    tokens = ProductTokens(train, fusion.text, loaded.tokenizer)
    queries = query_tokens(loaded.tokenizer, judgements.texts)
    groups = group_places(train)
    images, pixels, pictures = None, None, None
    if params.train_images and params.image_weight:
        pixels = PixelCache(catalogue, loaded.encoder.image_px, cache, params.threads)
    else:
        pictures = picture_tower(loaded, params, cache)
    if params.image_weight and pictures is not None:
        images = pictures.of_split(catalogue, "train")
    mined = _mined(loaded, queries, (tokens, pixels, images, at, groups), judgements, fusion, params)
    topics = topic_numbers(train, judgements)
    schedule = Schedule(params.optimisation, params.seed, topics, fusion.pairs.topic_size)
    sampler = PairSampler(judgements, groups, mined, fusion.pairs, schedule)
    data = AlignmentData(ids, at, tokens, queries, pixels, images, sampler)
    check = _validation(catalogue, rows, loaded, fusion, params, pixels, pictures)
    if pictures is not None:
        pictures.encoder.memo.close()
    return data, check


def picture_tower(loaded: LoadedEncoder, params: AlignmentParams, cache: Path) -> PictureTower:
    """The image tower with the memo that all stages share."""
    encode = params.encode
    encoder = BatchEncoder(loaded, encode.batch_size, encode.precision, cache / "vectors.sqlite")
    return PictureTower(encoder, params.threads)


def _validation(
    catalogue: Path,
    rows: Rows,
    loaded: LoadedEncoder,
    fusion: FusionParams,
    params: AlignmentParams,
    pixels: PixelCache | None,
    pictures: PictureTower | None,
) -> Callable[[], dict[str, float]] | None:
    """nDCG@10 of the validation queries among the validation products: by text, and by picture.

    ``pixels`` if the image tower is trained, else ``pictures``: its vectors are computed once.
    """
    held_out, at = split_rows(rows, "validation")
    if len(held_out) < 2:
        return None
    task = query_task(catalogue, "validation", [row["product_id"] for row in held_out], 1)
    if not task.texts:
        return None
    queries = query_tokens(loaded.tokenizer, task.texts)
    texts = ProductTokens(held_out, fusion.text, loaded.tokenizer).draw(np.arange(len(held_out)), None)
    batch, bf16 = params.encode.batch_size, params.encode.precision == "bf16"
    known = None if pictures is None else pictures.of_split(catalogue, "validation")

    def _images(encoder: Encoder) -> Vectors:
        if known is not None:
            return known
        assert pixels is not None
        return _encode(encoder, pixels.take(at), batch, bf16, encoder.image_px)

    def _validate() -> dict[str, float]:
        encoder = loaded.encoder
        asked = _encode(encoder, queries, batch, bf16)
        products = {"text": _encode(encoder, texts, batch, bf16), "image": _images(encoder)}
        out = {}
        for name, vectors in products.items():
            ranking = top_k(asked @ vectors.T, min(100, len(vectors)))
            out[f"validation_{name}_ndcg_at_10"] = float(np.nanmean(ndcg_at(judge(ranking, task.qrels), 10)))
        return out

    return _validate
