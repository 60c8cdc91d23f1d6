"""From a checked catalogue and a starting encoder to what an alignment stage reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import query_task
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.encoder.model.features.vector_cache import Vectors
from components.encoder.model.towers.files import LoadedEncoder
from components.encoder.model.train.contrastive import TextInputs
from components.encoder.model.train.training_set import split_rows
from components.fusion.model.align.alignment import AlignmentData, Validate
from components.fusion.model.baselines import mean_ndcg
from components.fusion.model.data.judgements import Ints, read_judgements
from components.fusion.model.data.mining import Pool, mine, mining_pool
from components.fusion.model.data.pairs import PairSampler, group_places, topic_numbers
from components.fusion.model.data.product_text import plain
from components.fusion.model.errors import FusionConfigurationError, FusionDataError
from components.fusion.model.params import AlignmentParams, EncodeParams, FusionParams
from components.fusion.model.towers.aligned import AlignedTowers
from components.fusion.model.towers.product_texts import FieldFeatures, ProductTexts, WholeTexts
from components.fusion.model.towers.towers import PictureTower, SplitPictures
from components.stage.paths import Paths
from components.stage.resources.accelerator import autocast
from components.training.batches import BatchOrder

FITTED = 20_000  # products that a head takes its scale from, at most about
Rows = list[dict[str, Any]]


class SplitInputs(NamedTuple):
    """What an encoder reads of a split's products; ``pictures`` is None where the image tower is trained."""

    rows: Rows
    at: Ints
    texts: ProductTexts
    pictures: SplitPictures | None


class TowerReader:
    """Reads texts and pictures with the towers that are frozen; what is tuned is read anew in each step.

    Raises:
        FusionConfigurationError: the text tower is tuned, and yet to be read field by field.
    """

    def __init__(
        self, loaded: LoadedEncoder, fusion: FusionParams, params: AlignmentParams, paths: Paths
    ) -> None:
        if params.tune_text and fusion.text.by_field:
            raise FusionConfigurationError(
                "A text tower that is tuned reads whole texts: set fusion.text.by_field to false."
            )
        self.loaded, self.fusion, self.params, self.paths = loaded, fusion, params, paths
        size, precision = params.encode.batch_size, params.encode.precision
        self.encoder = BatchEncoder(loaded, size, precision, paths.cache / "vectors")
        self.tower = PictureTower(self.encoder, paths.cache, params.threads)
        self.trained = params.train_images and params.image_weight > 0
        self.pixels: PixelCache | None = None
        if self.trained:
            side = loaded.encoder.image_px
            self.pixels = PixelCache(paths.catalogue, side, paths.cache, params.threads)

    def queries(self, texts: list[str]) -> TextInputs:
        """Queries as tokens for a tower that is tuned, as features else."""
        asked = [plain(text) for text in texts]
        if not self.params.tune_text:
            return TextInputs(self.encoder.text_features(asked))
        tokenizer = self.loaded.tokenizer
        tokens = tokenizer(asked)
        return TextInputs(tokens, tokenizer.lengths(tokens) if self.loaded.encoder.trims_texts else None)

    def split(self, rows: Rows, name: Any) -> SplitInputs:
        """The inputs of one split of the catalogue."""
        own, at = split_rows(rows, name)
        text = self.fusion.text
        texts: ProductTexts = (
            FieldFeatures.of(own, text, self.encoder)
            if text.by_field
            else WholeTexts(own, text, self.loaded.tokenizer)
        )
        pictures = None if self.trained else self.tower.of_split(self.paths.catalogue, name, at)
        return SplitInputs(own, at, texts, pictures)


class CurrentVectors:
    """Vectors by an encoder as it is at this moment, before or during its training."""

    def __init__(self, towers: AlignedTowers, params: EncodeParams, pixels: PixelCache | None) -> None:
        self.towers, self.encoder = towers, towers.encoder
        self.params, self.pixels = params, pixels

    def queries(self, inputs: TextInputs, count: int) -> Vectors:
        """Vectors ``[count, D]`` of all queries."""
        return self._batches(
            np.arange(count), lambda at: self.towers.query_vectors(inputs.take(at).to(self._at))
        )

    def texts(self, texts: ProductTexts, places: Ints) -> Vectors:
        """Vectors ``[N, D]`` of products' whole texts."""
        return self._batches(
            places, lambda at: self.towers.product_vectors(texts.draw(at, None).to(self._at))
        )

    def pictures(self, split: SplitInputs, places: Ints) -> Vectors:
        """Vectors ``[N, D]`` of products' pictures, zero where there is none."""

        def _vectors(at: Ints) -> Tensor:
            if split.pictures is not None:
                vectors = self.encoder.image_vectors(torch.from_numpy(split.pictures.take(at)).to(self._at))
                return vectors * torch.from_numpy(split.pictures.there[at]).to(self._at)[:, None]
            assert self.pixels is not None
            pixels = torch.from_numpy(self.pixels.take(split.at[at])).to(self._at)
            return self.encoder.encode_image(pixels.permute(0, 3, 1, 2))

        return self._batches(places, _vectors)

    @property
    def _at(self) -> torch.device:
        return next(self.encoder.parameters()).device

    def _batches(self, places: Ints, encode: Any) -> Vectors:
        size, training = self.params.batch_size, self.towers.training
        self.towers.eval()
        with torch.inference_mode(), autocast(self._at, self.params.precision):
            parts = (encode(places[i : i + size]) for i in range(0, len(places), size))
            out = np.concatenate([part.float().cpu().numpy() for part in parts])
        self.towers.train(training)
        return out


def make_alignment_set(
    loaded: LoadedEncoder, towers: AlignedTowers, fusion: FusionParams, params: AlignmentParams, paths: Paths
) -> tuple[AlignmentData, Validate | None]:
    """The train split with its mined negatives, and the check on the validation split.

    Args:
        loaded: the encoder of ``towers``, which will be trained.

    Raises:
        FusionDataError: no train product, or no train query with an answer.
    """
    rows, reader = read_rows(paths.catalogue), TowerReader(loaded, fusion, params, paths)
    ids = [row["product_id"] for row in split_rows(rows, "train")[0]]
    if not ids:
        raise FusionDataError(
            f"{paths.catalogue} has no product in the train split; change the split fractions."
        )
    # Before any product is read by a tower: without queries there is nothing to do.
    judgements = read_judgements(paths.catalogue, "train", ids, fusion.pairs.weights)
    train = reader.split(rows, "train")
    queries = reader.queries(judgements.texts)
    groups = group_places(train.rows)
    order = BatchOrder(
        topic_numbers(train.rows, judgements),
        params.optimisation.batch_size,
        fusion.pairs.topic_size,
        params.seed,
    )
    # Hard negatives by the starting encoder: near by picture in the picture stage, else by text.
    now = CurrentVectors(towers, params.encode, reader.pixels)
    places = mining_pool(len(groups), fusion.pairs.mining_pool, params.seed)
    by_picture = params.image_weight > params.text_weight
    searched = now.pictures(train, places) if by_picture else now.texts(train.texts, places)
    asked = now.queries(queries, len(judgements))
    mined = mine(asked, Pool(places, searched), judgements, groups, fusion.pairs)
    sampler = PairSampler(judgements, groups, mined, fusion.pairs, order)
    pictures = train.pictures if params.image_weight else None
    data = AlignmentData(ids, train.at, train.texts, queries, reader.pixels, pictures, sampler)
    check = _validation(rows, reader, now)
    reader.encoder.cache.close()
    return data, check


def fit_fields(towers: AlignedTowers, data: AlignmentData) -> None:
    """Let a new head for fields standardise by the train split's texts."""
    if towers.fields is not None:
        places = np.arange(0, len(data.product_ids), max(1, len(data.product_ids) // FITTED))
        towers.fields.fit(data.texts.draw(places, None))


def _validation(rows: Rows, reader: TowerReader, now: CurrentVectors) -> Validate | None:
    """nDCG@10 of the validation queries among the validation products: by text, and by picture."""
    catalogue: Path = reader.paths.catalogue
    held_out = reader.split(rows, "validation")
    if len(held_out.rows) < 2:
        return None
    task = query_task(catalogue, "validation", [row["product_id"] for row in held_out.rows], 1)
    if not task.texts:
        return None
    queries, every = reader.queries(task.texts), np.arange(len(held_out.rows))

    def _validate() -> dict[str, float]:
        asked = now.queries(queries, len(task.texts))
        vectors = {"text": now.texts(held_out.texts, every), "image": now.pictures(held_out, every)}
        return {
            f"validation_{name}_ndcg_at_10": mean_ndcg(asked @ found.T, task.qrels)
            for name, found in vectors.items()
        }

    return _validate
