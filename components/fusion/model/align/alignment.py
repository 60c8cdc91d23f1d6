"""The two-stage alignment of queries with product texts, then with product pictures.

Beyond Text: one query tower, aligned first with text, then with pictures. Our choice: the query tower and the
product-text tower are CLIP's one text tower; field markers tell product texts from queries. The second stage
keeps a part of the first one's loss, so that the query tower does not forget text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.vector_cache import Vectors
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.tokenizer import TextTokenizer
from components.encoder.model.train.views import random_views
from components.fusion.model.align.contrast import Contrast, query_to_product
from components.fusion.model.data.judgements import Ints
from components.fusion.model.data.pairs import PairBatch, PairSampler, plan_of
from components.fusion.model.data.product_text import ProductTokens, plain
from components.fusion.model.params import AlignmentParams
from components.stage.accelerator import autocast, device
from components.training.loop import Loop

Validate = Callable[[], dict[str, float]]


@dataclass(frozen=True)
class AlignmentData:
    """The train split.

    Attributes:
        product_ids: of the split's products. rows: ``[P]`` their places in the pixel cache.
        tokens: their texts. query_tokens: ``[Q, L]``.
        pixels: of their pictures, if the image tower is trained; images: else their vectors ``[P, D]``.
    """

    product_ids: list[str]
    rows: Ints
    tokens: ProductTokens
    query_tokens: npt.NDArray[np.int64]
    pixels: PixelCache | None
    images: Vectors | None
    sampler: PairSampler


def query_tokens(tokenizer: TextTokenizer, texts: list[str]) -> npt.NDArray[np.int64]:
    """Tokens ``[Q, L]`` of queries, padding cut to the longest."""
    tokens = tokenizer([plain(text) for text in texts])
    return tokens[:, : int(tokenizer.lengths(tokens).max(initial=1))]


@dataclass(frozen=True)
class AlignmentBatch:
    """One step: its pairs, query tokens ``[B, L]``, and products ``[C, ...]``; what is not used is None.

    Attributes:
        images: views ``[C, 3, px, px]``, or the pictures' vectors where the image tower is not trained.
    """

    pairs: PairBatch
    contrast: Contrast
    queries: Tensor
    texts: Tensor | None
    images: Tensor | None


class Alignment:
    """The objective of one alignment stage.

    Args:
        encoder: trained in place. data: the train split. params: the stage's block.
        validate: its figures become curves and choose nothing; None for none.
    """

    def __init__(
        self, encoder: Encoder, data: AlignmentData, params: AlignmentParams, validate: Validate | None = None
    ) -> None:
        self.device = device()
        self.module = encoder.to(self.device)
        self.data, self.params, self._validate = data, params, validate
        self.plan = plan_of(params.optimisation, data.sampler, params.seed)

    def loop(self, resume: Path | None = None) -> Loop[AlignmentBatch]:
        """The training loop; ``resume`` is the folder of its state."""
        return Loop(self, self.plan, resume)

    def batch(self, step: int) -> AlignmentBatch:
        """Pairs of one step, with the products' texts and views of their pictures."""
        rng = self.data.sampler.order.rng(step)
        pairs = self.data.sampler.batch(step, rng)
        queries = torch.from_numpy(self.data.query_tokens[pairs.queries]).to(self.device)
        texts, images = None, None
        if self.params.text_weight:
            tokens = self.data.tokens.draw(pairs.products, rng)
            texts = torch.from_numpy(tokens).to(self.device)
        if self.data.images is not None:
            images = torch.from_numpy(self.data.images[pairs.products]).to(self.device)
        elif self.data.pixels is not None:
            pixels = torch.from_numpy(self.data.pixels.take(self.data.rows[pairs.products])).to(self.device)
            images = random_views(pixels, self.module.image_px, self.params.augmentation, rng)
        return AlignmentBatch(pairs, Contrast.of(pairs, self.device), queries, texts, images)

    def losses(self, batch: AlignmentBatch) -> dict[str, Tensor]:
        """``loss``, in nats: text_weight x InfoNCE(query, text) + image_weight x InfoNCE(query, picture)."""
        with autocast(self.device, self.params.precision):
            queries = self.module.encode_text(batch.queries)
            vectors = {"text": self._texts(batch), "image": self._images(batch)}
        weights = {"text": self.params.text_weight, "image": self.params.image_weight}
        parts = {
            name: query_to_product(queries, products, self.module.temperature, batch.contrast)
            for name, products in vectors.items()
            if products is not None and weights[name]
        }
        total = sum(
            (weights[name] * part for name, part in parts.items()), torch.zeros((), device=self.device)
        )
        return {"loss": total, **parts}

    def _texts(self, batch: AlignmentBatch) -> Tensor | None:
        return None if batch.texts is None else self.module.encode_text(batch.texts)

    def _images(self, batch: AlignmentBatch) -> Tensor | None:
        computed = batch.images is None or self.data.images is not None
        return batch.images if computed else self.module.encode_image(batch.images)

    def ids(self, batch: AlignmentBatch) -> Mapping[str, Sequence[str]]:
        """The batch's queries and products."""
        return self.data.sampler.ids(batch.pairs, self.data.product_ids)

    def after_step(self) -> None:
        """Keep the temperature within bounds."""
        self.module.towers.logit_scale.data.clamp_(0, math.log(1 / self.params.minimum_temperature))

    def validate(self) -> dict[str, float]:
        """nDCG@10 on the validation split."""
        return self._validate() if self._validate is not None else {}
