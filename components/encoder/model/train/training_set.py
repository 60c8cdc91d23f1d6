"""From a checked catalogue to what training reads: captions, group numbers, and where the pixels are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.catalog.format.schema import read_schema
from components.catalog.format.union_find import root
from components.encoder.model.errors import TrainingDataError
from components.encoder.model.features.captions import AnsweredQueries, Captions
from components.encoder.model.features.encode import FEATURE_BATCH, FEATURE_PRECISION, BatchEncoder
from components.encoder.model.features.further import Views, all_pictures, means_of
from components.encoder.model.features.held_out import query_task, title_task
from components.encoder.model.features.picture_features import CELLS, FeatureCache
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.files import LoadedEncoder
from components.encoder.model.train.contrastive import TextInputs, TrainingSet, Validate, ever_drawn
from components.retrieval.metrics import judge, reciprocal_rank
from components.retrieval.ranking import top_k
from components.stage.resources.accelerator import autocast

RELEVANT = 3  # the grade from which a product answers a train query: it has everything that is asked
FITTED = 20_000  # rows that heads take their scale from, at most about
FITTED_BY_TOWER = 1_000  # that a head on a tuned tower takes its scale from, at most about twice


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


@dataclass(frozen=True)
class TrainingInputs:
    """Where a training set's pictures lie, and which encoder reads them, with which parameters.

    ``fitted``: heads take their scale from all texts, so that those count, too, which no step will draw.
    ``views``: what further pictures show the products; None for the main ones alone.
    """

    pixels: PixelCache
    model: LoadedEncoder
    params: EncoderParams
    cache: Path
    fitted: bool = False
    views: Views | None = None


def training_set(
    rows: list[dict[str, Any]], at: np.ndarray[Any, Any], captions: Captions, inputs: TrainingInputs
) -> TrainingSet:
    """Products of the train split at their positions ``at`` in the catalogue, numbered by group and by type.

    Products of equal title count as one group: a product must not be pushed away from its own title.
    """
    training = inputs.params.training
    frozen, topics = not training.tune_image, type_numbers(rows)
    return TrainingSet(
        product_ids=[r["product_id"] for r in rows],
        rows=at,
        groups=group_numbers(rows),
        topics=topics,
        captions=captions,
        pixels=inputs.pixels,
        features=picture_features(inputs.pixels, inputs.model, inputs.cache) if frozen else None,
        texts=_caption_inputs(captions, topics, inputs),
        views=inputs.views,
    )


def _caption_inputs(captions: Captions, topics: np.ndarray[Any, Any], inputs: TrainingInputs) -> TextInputs:
    """Captions as the encoder reads them; a frozen tower does not read what will never be asked for."""
    texts, tuned = captions.texts, inputs.params.training.tune_text
    if tuned or inputs.fitted or len(topics) < 2:
        return text_inputs(texts, inputs.model, tuned, inputs.cache)
    asked = ever_drawn(captions, topics, inputs.params)
    rows = np.full(len(texts), len(asked))
    rows[asked] = np.arange(len(asked))
    read = text_inputs([texts[i] for i in asked], inputs.model, tuned, inputs.cache)
    return replace(read, rows=rows)


def train_queries(catalogue: Path, product_ids: Sequence[str], grade: int) -> AnsweredQueries:
    """The train split's queries with a product of relevance ``grade`` or more among ``product_ids``."""
    task = query_task(catalogue, "train", list(product_ids), grade)
    answers: list[list[int]] = [[] for _ in product_ids]
    qrels = task.qrels
    for query, product, relevance in zip(qrels.query, qrels.product, qrels.grade, strict=True):
        if relevance >= grade and product >= 0:
            answers[product].append(int(query))
    return AnsweredQueries(task.query_ids, task.texts, answers)


def text_inputs(texts: Sequence[str], model: LoadedEncoder, tuned: bool, cache: Path | None) -> TextInputs:
    """What the encoder reads of texts: features, computed once, or tokens where the text tower is tuned."""
    if tuned:
        tokens = model.tokenizer(texts)
        full = np.full(len(tokens), tokens.shape[1], dtype=np.int64)
        return TextInputs(tokens, model.tokenizer.lengths(tokens) if model.encoder.trims_texts else full)
    encoder = BatchEncoder(
        model, FEATURE_BATCH, FEATURE_PRECISION, None if cache is None else cache / "vectors"
    )
    features = encoder.text_features(texts)
    encoder.cache.close()
    return TextInputs(features)


def picture_features(
    pixels: PixelCache, model: LoadedEncoder, cache: Path, grid: int | None = None
) -> FeatureCache:
    """Features of the pictures by a frozen image tower, computed once; with ``grid``, of their cells too."""
    return FeatureCache(pixels, BatchEncoder(model, FEATURE_BATCH, FEATURE_PRECISION), cache, grid)


def make_training_set(
    catalogue: Path, params: EncoderParams, model: LoadedEncoder, cache: Path
) -> tuple[TrainingSet, Validate | None]:
    """The train split, and the check on the validation split; heads take their scale from the train split.

    Raises:
        TrainingDataError: the train split is empty.
    """
    rows = read_rows(catalogue)
    train, at = train_rows(rows, catalogue)
    pixels, views = all_pictures(catalogue, params.image_px, cache, params.threads)
    if not params.training.tune_image:
        picture_features(pixels, model, cache, CELLS)  # one pass for heads here and listings later
    closed = read_schema(catalogue / "schema.json").closed_attributes()
    queries = train_queries(catalogue, [r["product_id"] for r in train], RELEVANT)
    captions = Captions(train, params.captions, closed, params.training.swapped_captions, queries)
    inputs = TrainingInputs(pixels, model, params, cache, fitted=True, views=views)
    data = training_set(train, at, captions, inputs)
    fit_heads(model.encoder, data)
    return data, _validation(rows, params, model, data)


def fit_heads(encoder: Encoder, data: TrainingSet) -> None:
    """Let heads standardise by the train split's features, where they read any."""
    if encoder.heads is None:
        return
    if data.features is not None:
        some = data.rows[:: max(1, len(data.rows) // FITTED)]
        encoder.heads["image"].fit(torch.from_numpy(data.features.take(some)))
    else:
        shown = data.rows[:: max(1, len(data.rows) // FITTED_BY_TOWER)]
        pixels = torch.from_numpy(data.pixels.take(shown)).permute(0, 3, 1, 2)
        parts = pixels.split(FEATURE_BATCH)
        encoder.heads["image"].fit(_features_of(encoder, encoder.image_features, parts))
    every = np.arange(len(data.captions.texts))
    if data.texts.lengths is None:
        encoder.heads["text"].fit(data.texts.take(every[:: max(1, len(every) // FITTED)]))
    else:
        tokens = data.texts.distinct(every[:: max(1, len(every) // FITTED_BY_TOWER)])
        features = _features_of(encoder, encoder.text_features, tokens.parts)
        encoder.heads["text"].fit(features[tokens.places.to(features.device)])


@torch.no_grad()  # type: ignore[untyped-decorator]
def _features_of(
    encoder: Encoder, tower: Callable[[torch.Tensor], torch.Tensor], parts: Sequence[torch.Tensor]
) -> torch.Tensor:
    """What a tower says of pictures or texts before it is tuned."""
    where, training = next(encoder.parameters()).device, encoder.training
    encoder.eval()
    with autocast(where, FEATURE_PRECISION):
        features = torch.cat([tower(part.to(where)) for part in parts])
    encoder.train(training)
    return features


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
    rows: list[dict[str, Any]], params: EncoderParams, model: LoadedEncoder, data: TrainingSet
) -> Validate | None:
    held_out, at = split_rows(rows, "validation")
    if len(held_out) < 2:
        return None
    task = title_task(held_out)
    if not task.texts:
        return None
    texts = text_inputs(task.texts, model, params.training.tune_text, None)
    batch = params.training.batch_size

    def _pictures(encoder: Encoder, places: np.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
        main = _vectors(encoder, places, device)
        further, counts = _further(encoder, places)
        if not len(further):
            return main
        others = _vectors(encoder, further, device)
        return torch.from_numpy(means_of(main.cpu().numpy(), others.cpu().numpy(), counts)).to(device)

    def _further(encoder: Encoder, places: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
        if data.views is None or not encoder.all_pictures:
            return places[:0], np.zeros(len(places), dtype=np.int64)
        return data.views.further(places)

    def _vectors(encoder: Encoder, places: np.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
        if data.features is not None:
            return encoder.image_vectors(torch.from_numpy(data.features.take(places)).to(device))
        return encoder.encode_image(torch.from_numpy(data.pixels.take(places)).to(device).permute(0, 3, 1, 2))

    def _texts(encoder: Encoder, places: np.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
        read = texts.take(places).to(device)
        return encoder.text_vectors(read) if texts.lengths is None else encoder.encode_text(read)

    def _validate(encoder: Encoder) -> dict[str, float]:
        device = next(encoder.parameters()).device
        asked = np.arange(len(task.texts))
        with torch.inference_mode(), autocast(device, params.training.precision):
            images = [_pictures(encoder, at[i : i + batch], device) for i in range(0, len(at), batch)]
            found = [_texts(encoder, asked[i : i + batch], device) for i in range(0, len(asked), batch)]
        scores = (torch.cat(found) @ torch.cat(images).T).float().cpu().numpy()
        ranks = reciprocal_rank(judge(top_k(scores, min(100, scores.shape[1])), task.qrels))
        return {"validation_titles_mrr": float(ranks.mean())}

    return _validate
