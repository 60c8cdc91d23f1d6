"""Contrastive training of the dual encoder: pictures against the texts of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.encoder.model.errors import TrainingDataError
from components.encoder.model.features.captions import Captions
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.params import EncoderParams, TrainingParams
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.losses import info_nce, mean_length, no_negatives, topk_similarity
from components.encoder.model.train.views import random_views
from components.stage.accelerator import autocast, device
from components.training.batches import BatchOrder
from components.training.loop import Loop
from components.training.plan import Plan

Ints = npt.NDArray[np.int64]
Validate = Callable[[Encoder], dict[str, float]]


@dataclass(frozen=True)
class TrainingSet:
    """The train split, row by row: ids, catalogue rows of the pixels, captions and group numbers."""

    product_ids: list[str]
    rows: Ints  # positions in the pixel cache
    groups: Ints
    topics: Ints  # a number per product type
    captions: Captions
    pixels: PixelCache


@dataclass(frozen=True)
class ContrastiveBatch:
    """What one step sees.

    Attributes:
        rows: ``[B]`` places in the training set. views: ``[B, 3, H, W]`` in 0..255.
        tokens: ``[B + S, L]``; the last S are texts of no picture, negatives of all.
        excluded: bool ``[B, B + S]``, pairs of picture i and text j that are no negatives.
    """

    rows: Ints
    views: Tensor
    tokens: Tensor
    excluded: Tensor


def contrastive_losses(
    encoder: Encoder, batch: ContrastiveBatch, training: TrainingParams
) -> dict[str, Tensor]:
    """Pooled InfoNCE + lambda x top-k patch-text InfoNCE; lambda = 0 skips the patches."""
    with autocast(batch.views.device, training.precision):
        # Many products of a batch share a caption ("mug"): each text is encoded once.
        distinct, place = torch.unique(batch.tokens, dim=0, return_inverse=True)
        texts = encoder.encode_packed_text(distinct)[place]
        if training.topk_weight:
            images, grid = encoder.encode_grid(batch.views)
            similarity = topk_similarity(grid, texts, training.topk_patches)
            # Dividing similarities by the patches' mean length is dividing the patches, on fewer numbers.
            similarity = similarity / mean_length(grid)[:, None]
        else:
            images = encoder.encode_image(batch.views)
    texts_only = len(batch.tokens) - len(batch.views)
    pooled = info_nce(encoder.temperature * images @ texts.T, batch.excluded, texts_only)
    if not training.topk_weight:
        return {"loss": pooled, "pooled": pooled}
    local = info_nce(encoder.temperature * similarity, batch.excluded, texts_only)
    return {"loss": pooled + training.topk_weight * local, "pooled": pooled, "topk": local}


class Contrastive:
    """The objective of the encoder and of what goes on from it.

    Args:
        encoder: trained in place. data: the train split. params: block ``encoder``.
        validate: its figures become curves and choose nothing; None for none.

    Raises:
        TrainingDataError: the train split has fewer than two products.
    """

    def __init__(
        self, encoder: Encoder, data: TrainingSet, params: EncoderParams, validate: Validate | None = None
    ) -> None:
        if len(data.topics) < 2:
            raise TrainingDataError(
                f"The train split has {len(data.topics)} products; contrastive training needs at least 2."
            )
        self.device = device()
        self.module = encoder.to(self.device)
        self.data, self.params, self._validate = data, params, validate
        training = params.training
        self.order = BatchOrder(data.topics, training.batch_size, training.topic_size, params.seed)
        self.plan = Plan(
            steps=self.order.steps_per_epoch * training.epochs,
            batch_size=self.order.batch_size,
            validate_every=self.order.steps_per_epoch * training.validate_every_epochs,
            seed=params.seed,
            optimisation=training,
        )

    def loop(self, resume: Path | None = None) -> Loop[ContrastiveBatch]:
        """The training loop; ``resume`` is the folder of its state."""
        return Loop(self, self.plan, resume)

    def side_px(self, step: int) -> int:
        """Side of the views: small at first if asked for, the full size at the end."""
        training, full = self.params.training, self.params.image_px
        low = training.low_resolution_px
        early = step < round(training.low_resolution_share * self.plan.steps)
        return min(low, full) if low is not None and early else full

    def batch(self, step: int) -> ContrastiveBatch:
        """Views, tokens and excluded pairs of one step."""
        rows, rng = self.order.rows(step), self.order.rng(step)
        captions = self.data.captions.draw(rows, rng)
        pixels = torch.from_numpy(self.data.pixels.take(self.data.rows[rows])).to(self.device)
        views = random_views(pixels, self.side_px(step), self.params.augmentation, rng)
        excluded = no_negatives(torch.from_numpy(self.data.groups[rows]), torch.from_numpy(captions.entailed))
        tokens = torch.from_numpy(captions.tokens)
        if len(captions.swapped):
            tokens = torch.cat([tokens, torch.from_numpy(captions.swapped)])
            excluded = torch.cat([excluded, torch.from_numpy(captions.swapped_entailed)], dim=1)
        return ContrastiveBatch(rows, views, tokens.to(self.device), excluded.to(self.device))

    def losses(self, batch: ContrastiveBatch) -> dict[str, Tensor]:
        """``loss`` and its parts ``pooled`` and ``topk``, in nats."""
        return contrastive_losses(self.module, batch, self.params.training)

    def ids(self, batch: ContrastiveBatch) -> Mapping[str, Sequence[str]]:
        """The batch's products."""
        return {"products": [self.data.product_ids[row] for row in batch.rows]}

    def after_step(self) -> None:
        """Keep the temperature within bounds."""
        highest = math.log(1 / self.params.training.minimum_temperature)
        self.module.clip.logit_scale.data.clamp_(0, highest)

    def validate(self) -> dict[str, float]:
        """Figures on the validation split."""
        return self._validate(self.module) if self._validate is not None else {}
