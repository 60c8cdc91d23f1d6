"""The two-stage alignment of queries with product texts, then with product pictures.

Beyond Text [P]: one query tower, aligned first with text, then with pictures. [C] The query tower and the
product-text tower are CLIP's one text tower; field markers tell product texts from queries. The second stage
keeps a part of the first one's loss, so that the query tower does not forget text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.vector_cache import Vectors
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.tokenizer import AnyTokenizer
from components.encoder.model.train.views import random_views
from components.fusion.model.align.contrast import query_to_product
from components.fusion.model.align.loop import Loop
from components.fusion.model.data.judgements import Ints
from components.fusion.model.data.pairs import PairBatch, PairSampler
from components.fusion.model.data.product_text import ProductTokens, plain
from components.fusion.model.params import AlignmentParams
from components.fusion.model.towers.text_batches import encoded_by_length
from components.stage.accelerator import device

SHOWN = 8  # ids of each kind in an error message


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


def query_tokens(tokenizer: AnyTokenizer, texts: list[str]) -> npt.NDArray[np.int64]:
    """Tokens ``[Q, L]`` of queries, padding cut to the longest."""
    tokens = tokenizer([plain(text) for text in texts])
    return tokens[:, : int(tokens.argmax(axis=1).max(initial=0)) + 1]


def batch_names(data_ids: list[str], query_ids: list[str], batch: PairBatch) -> str:
    """The queries and products of a batch, for a message."""

    def _shown(ids: list[str]) -> str:
        more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
        return ", ".join(ids[:SHOWN]) + more

    queries = [query_ids[q] for q in batch.queries]
    return f"queries {_shown(queries)}; products {_shown([data_ids[p] for p in batch.products])}"


class Alignment:
    """The loss of one alignment stage as a function of the step."""

    def __init__(self, encoder: Encoder, data: AlignmentData, params: AlignmentParams) -> None:
        self.device = device()
        self.encoder, self.data, self.params = encoder.to(self.device), data, params
        for parameter in encoder.clip.visual.parameters():
            parameter.requires_grad_(params.train_images and params.image_weight > 0)
        if encoder.patches is not None:  # patches are not aligned; what finds boxes stays as it was trained
            for parameter in encoder.patches.parameters():
                parameter.requires_grad_(False)

    def _tensors(self, step: int) -> tuple[PairBatch, Tensor, Tensor, Tensor]:
        """Pairs, query tokens, product tokens and views of one step; what a stage does not use is empty.

        In place of views stand the pictures' vectors where the image tower is not trained.
        """
        schedule = self.data.sampler.schedule
        rng = schedule.rng(step)
        batch = self.data.sampler.batch(step, rng)
        queries = torch.from_numpy(self.data.query_tokens[batch.queries])
        tokens, views = torch.empty(0), torch.empty(0)
        if self.params.text_weight:
            tokens = torch.from_numpy(self.data.tokens.draw(batch.products, rng))
        if self.data.images is not None:
            views = torch.from_numpy(self.data.images[batch.products]).to(self.device)
        elif self.data.pixels is not None:
            pixels = torch.from_numpy(self.data.pixels.take(self.data.rows[batch.products])).to(self.device)
            views = random_views(pixels, self.encoder.image_px, self.params.augmentation, rng)
        return batch, queries.to(self.device), tokens.to(self.device), views

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """text_weight x InfoNCE(query, text) + image_weight x InfoNCE(query, picture), and the two parts."""
        batch, query_ids, tokens, views = self._tensors(step)
        contrast = [
            torch.from_numpy(values).to(self.device)
            for values in (batch.target, batch.excluded, batch.correction)
        ]
        parts: dict[str, float] = {}
        total = torch.zeros((), device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.params.precision == "bf16"):
            queries = encoded_by_length(self.encoder, query_ids)
            products = {
                "text": encoded_by_length(self.encoder, tokens) if self.params.text_weight else None,
                "image": self._images(views) if self.params.image_weight else None,
            }
        for name, weight in (("text", self.params.text_weight), ("image", self.params.image_weight)):
            vectors = products[name]
            if vectors is not None:
                part = query_to_product(queries, vectors, self.encoder.temperature, *contrast)
                parts[name] = part.item()
                total = total + weight * part
        return total, parts

    def _images(self, views: Tensor) -> Tensor:
        return views if self.data.images is not None else self.encoder.encode_image(views)

    def names(self, step: int) -> str:
        """The queries and products of a step."""
        sampler = self.data.sampler
        batch = sampler.batch(step, sampler.schedule.rng(step))
        return batch_names(self.data.product_ids, sampler.judgements.query_ids, batch)

    def clamp(self) -> None:
        """Keep the temperature within bounds."""
        self.encoder.clip.logit_scale.data.clamp_(0, math.log(1 / self.params.minimum_temperature))

    def loop(self, validate: Callable[[], dict[str, float]] | None, resume: Path | None) -> Loop:
        """The training loop of this stage."""
        return Loop(
            self.encoder,
            self.data.sampler.schedule,
            self.loss,
            self.names,
            after=self.clamp,
            validate=validate,
            resume=resume,
        )
