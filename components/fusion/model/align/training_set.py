"""From a checked catalogue and a starting encoder to what an alignment stage reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.catalog.format.records import Split
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import query_task
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.encoder.model.features.vector_cache import Vectors
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.files import LoadedEncoder
from components.encoder.model.train.training_set import split_rows
from components.fusion.model.align.alignment import AlignmentData, Validate, query_tokens
from components.fusion.model.data.judgements import read_judgements
from components.fusion.model.data.mining import Pool, mine, mining_pool
from components.fusion.model.data.pairs import PairSampler, group_places, topic_numbers
from components.fusion.model.data.product_text import ProductTokens
from components.fusion.model.errors import FusionDataError
from components.fusion.model.params import AlignmentParams, EncodeParams, FusionParams
from components.fusion.model.towers.towers import PictureTower
from components.retrieval.metrics import judge, ndcg_at
from components.retrieval.ranking import top_k
from components.stage.paths import Paths
from components.training.batches import BatchOrder

Rows = list[dict[str, Any]]


class CurrentVectors:
    """Vectors by an encoder as it is at this moment, before or during its training."""

    def __init__(self, encoder: Encoder, params: EncodeParams) -> None:
        self.encoder, self.params = encoder, params

    def texts(self, tokens: Any) -> Vectors:
        """Vectors ``[N, D]`` of token rows."""
        return self._batches(tokens, self.encoder.encode_text)

    def pictures(self, pixels: Any) -> Vectors:
        """Vectors ``[N, D]`` of pictures ``[N, px, px, 3]``."""
        return self._batches(pixels, lambda part: self.encoder.encode_image(part.permute(0, 3, 1, 2)))

    def _batches(self, rows: Any, encode: Callable[[Tensor], Tensor]) -> Vectors:
        at = next(self.encoder.parameters()).device
        size, bf16 = self.params.batch_size, self.params.precision == "bf16"
        with torch.inference_mode(), torch.autocast(at.type, torch.bfloat16, enabled=bf16):
            parts = (torch.from_numpy(rows[i : i + size]).to(at) for i in range(0, len(rows), size))
            return np.concatenate([encode(part).float().cpu().numpy() for part in parts])


class Pictures:
    """A catalogue's pictures: pixels if the image tower is trained, else its vectors, computed once."""

    def __init__(self, loaded: LoadedEncoder, params: AlignmentParams, catalogue: Path, cache: Path) -> None:
        self.catalogue = catalogue
        self.pixels: PixelCache | None = None
        self.tower: PictureTower | None = None
        if params.train_images and params.image_weight:
            self.pixels = PixelCache(catalogue, loaded.encoder.image_px, cache, params.threads)
        else:
            size, precision = params.encode.batch_size, params.encode.precision
            encoder = BatchEncoder(loaded, size, precision, cache / "vectors")
            self.tower = PictureTower(encoder, params.threads)

    def vectors(self, split: Split) -> Vectors | None:
        """Vectors ``[N, D]`` of a split's pictures; None if the image tower is trained."""
        return None if self.tower is None else self.tower.of_split(self.catalogue, split)

    def close(self) -> None:
        """Close the cache of vectors."""
        if self.tower is not None:
            self.tower.encoder.cache.close()


def make_alignment_set(
    loaded: LoadedEncoder, fusion: FusionParams, params: AlignmentParams, paths: Paths
) -> tuple[AlignmentData, Validate | None]:
    """The train split with its mined negatives, and the check on the validation split.

    Raises:
        FusionDataError: no train product, or no train query with an answer.
    """
    catalogue = paths.catalogue
    rows = read_rows(catalogue)
    train, at = split_rows(rows, "train")
    if not train:
        raise FusionDataError(f"{catalogue} has no product in the train split; change the split fractions.")
    ids = [row["product_id"] for row in train]
    judgements = read_judgements(catalogue, "train", ids, fusion.pairs.weights)
    queries = query_tokens(loaded.tokenizer, judgements.texts)
    tokens = ProductTokens(train, fusion.text, loaded.tokenizer)
    pictures = Pictures(loaded, params, catalogue, paths.cache)
    images = pictures.vectors("train") if params.image_weight else None
    groups = group_places(train)
    topics = topic_numbers(train, judgements)
    order = BatchOrder(topics, params.optimisation.batch_size, fusion.pairs.topic_size, params.seed)
    # Hard negatives by the starting encoder: near by picture in the picture stage, else by text.
    now = CurrentVectors(loaded.encoder, params.encode)
    places = mining_pool(len(groups), fusion.pairs.mining_pool, params.seed)
    if images is not None:
        searched = images[places]
    elif pictures.pixels is not None and params.image_weight > params.text_weight:
        searched = now.pictures(pictures.pixels.take(at[places]))
    else:
        searched = now.texts(tokens.draw(places, None))
    mined = mine(now.texts(queries), Pool(places, searched), judgements, groups, fusion.pairs)
    sampler = PairSampler(judgements, groups, mined, fusion.pairs, order)
    data = AlignmentData(ids, at, tokens, queries, pictures.pixels, images, sampler)
    check = _validation(rows, pictures, loaded, fusion, params)
    pictures.close()
    return data, check


def _validation(
    rows: Rows, pictures: Pictures, loaded: LoadedEncoder, fusion: FusionParams, params: AlignmentParams
) -> Validate | None:
    """nDCG@10 of the validation queries among the validation products: by text, and by picture."""
    held_out, at = split_rows(rows, "validation")
    if len(held_out) < 2:
        return None
    task = query_task(pictures.catalogue, "validation", [row["product_id"] for row in held_out], 1)
    if not task.texts:
        return None
    queries = query_tokens(loaded.tokenizer, task.texts)
    texts = ProductTokens(held_out, fusion.text, loaded.tokenizer).draw(np.arange(len(held_out)), None)
    now, pixels = CurrentVectors(loaded.encoder, params.encode), pictures.pixels
    frozen = pictures.vectors("validation")

    def _validate() -> dict[str, float]:
        asked = now.texts(queries)
        images = frozen if pixels is None else now.pictures(pixels.take(at))
        out = {}
        for name, vectors in (("text", now.texts(texts)), ("image", images)):
            assert vectors is not None
            ranking = top_k(asked @ vectors.T, min(100, len(vectors)))
            out[f"validation_{name}_ndcg_at_10"] = float(np.nanmean(ndcg_at(judge(ranking, task.qrels), 10)))
        return out

    return _validate
