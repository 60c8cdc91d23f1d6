"""The two-stage alignment of queries with product texts, then with product pictures.

Beyond Text: one query tower, aligned first with text, then with pictures. Our choice: queries and product
texts share a text tower and its head, and frozen towers stay as they are: their features are computed once,
and the heads learn. The second stage keeps a part of the first one's loss, so that queries keep their words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.train.contrastive import TextInputs
from components.encoder.model.train.views import random_views
from components.fusion.model.data.judgements import Ints
from components.fusion.model.data.pairs import PairBatch, PairSampler, plan_of, query_to_product
from components.fusion.model.params import AlignmentParams
from components.fusion.model.towers.aligned import AlignedTowers
from components.fusion.model.towers.product_texts import ProductTexts
from components.fusion.model.towers.towers import SplitPictures
from components.stage.resources.accelerator import autocast, device
from components.training.loop import Loop

Validate = Callable[[], dict[str, float]]


@dataclass(frozen=True)
class AlignmentData:
    """The train split.

    Attributes:
        product_ids: of the split's products. rows: ``[P]`` their places in the pixel cache.
        texts: of the products. queries: what the text tower reads of the queries.
        pixels: of their pictures, if the image tower is trained; pictures: else their features.
    """

    product_ids: list[str]
    rows: Ints
    texts: ProductTexts
    queries: TextInputs
    pixels: PixelCache | None
    pictures: SplitPictures | None
    sampler: PairSampler


@dataclass(frozen=True)
class AlignmentBatch:
    """One step: its pairs, and what the towers, or the heads alone, read; what is not used is None.

    Attributes:
        queries: features ``[B, F]`` or tokens ``[B, L]``. texts: the same of products, ``[C, ...]``.
        images: features ``[C, F]``, or views ``[C, 3, px, px]``. there: ``[C]`` 1 where there is a picture.
    """

    pairs: PairBatch
    queries: Tensor
    texts: Tensor | None
    images: Tensor | None
    there: Tensor | None


class Alignment:
    """The objective of one alignment stage.

    Args:
        towers: trained in place. data: the train split. params: the stage's block.
        validate: its figures become curves and choose nothing; None for none.
    """

    def __init__(
        self,
        towers: AlignedTowers,
        data: AlignmentData,
        params: AlignmentParams,
        validate: Validate | None = None,
    ) -> None:
        self.device = device()
        self.module = towers.to(self.device)
        self.encoder = towers.encoder
        self.data, self.params, self._validate = data, params, validate
        self.plan = plan_of(params.optimisation, data.sampler, params.seed)

    def loop(self, resume: Path | None = None) -> Loop[AlignmentBatch]:
        """The training loop; ``resume`` is the folder of its state."""
        return Loop(self, self.plan, resume)

    def batch(self, step: int) -> AlignmentBatch:
        """Pairs of one step, with the products' texts and pictures."""
        rng = self.data.sampler.order.rng(step)
        pairs = self.data.sampler.batch(step, rng)
        queries = self.data.queries.take(pairs.queries).to(self.device)
        texts = None
        if self.params.text_weight:
            texts = self.data.texts.draw(pairs.products, rng).to(self.device)
        images, there = self._pictures(pairs.products, rng)
        return AlignmentBatch(pairs, queries, texts, images, there)

    def _pictures(self, products: Ints, rng: np.random.Generator) -> tuple[Tensor | None, Tensor | None]:
        if self.data.pictures is not None:
            features = torch.from_numpy(self.data.pictures.take(products)).to(self.device)
            there = torch.from_numpy(self.data.pictures.there[products]).to(self.device)
            return features, there[:, None]
        if self.data.pixels is None:
            return None, None
        pixels = torch.from_numpy(self.data.pixels.take(self.data.rows[products])).to(self.device)
        return random_views(pixels, self.encoder.image_px, self.params.augmentation, rng), None

    def losses(self, batch: AlignmentBatch) -> dict[str, Tensor]:
        """``loss``, in nats: text_weight x InfoNCE(query, text) + image_weight x InfoNCE(query, picture)."""
        with autocast(self.device, self.params.precision):
            queries = self.module.query_vectors(batch.queries)
            texts = None if batch.texts is None else self.module.product_vectors(batch.texts)
            vectors = {"text": texts, "image": self._images(batch)}
        weights = {"text": self.params.text_weight, "image": self.params.image_weight}
        parts = {
            name: query_to_product(queries, products, self.encoder.temperature, batch.pairs)
            for name, products in vectors.items()
            if products is not None and weights[name]
        }
        total = sum(
            (weights[name] * part for name, part in parts.items()), torch.zeros((), device=self.device)
        )
        return {"loss": total, **parts}

    def _images(self, batch: AlignmentBatch) -> Tensor | None:
        if batch.images is None:
            return None
        if batch.images.ndim == 4:
            return self.encoder.encode_image(batch.images)
        vectors = self.encoder.image_vectors(batch.images)
        return vectors if batch.there is None else vectors * batch.there

    def ids(self, batch: AlignmentBatch) -> Mapping[str, Sequence[str]]:
        """The batch's queries and products."""
        return self.data.sampler.ids(batch.pairs, self.data.product_ids)

    def after_step(self) -> None:
        """Keep the temperature within bounds."""
        self.encoder.towers.logit_scale.data.clamp_(0, math.log(1 / self.params.minimum_temperature))

    def validate(self) -> dict[str, float]:
        """nDCG@10 on the validation split."""
        return self._validate() if self._validate is not None else {}
