"""Contrastive training of the dual encoder: pictures against the texts of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.encoder.model.errors import TrainingDataError
from components.encoder.model.features.captions import Captions
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.params import EncoderParams, TrainingParams
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.losses import info_nce, no_negatives
from components.encoder.model.train.views import random_views
from components.stage.accelerator import autocast, device
from components.training.batches import BatchOrder
from components.training.loop import Loop
from components.training.plan import Plan

Ints = npt.NDArray[np.int64]
Validate = Callable[[Encoder], dict[str, float]]
AT_ONCE = 64  # texts of like length that a tuned text tower reads together


class PictureFeatures(Protocol):
    """What a frozen image tower sees in the catalogue's pictures."""

    def take(self, rows: Ints) -> npt.NDArray[np.float32]:
        """Features ``[len(rows), F]`` of catalogue rows."""


@dataclass(frozen=True)
class Tokens:
    """Texts as a tower that is tuned reads them: each distinct text once, among others of its length.

    Attributes:
        parts: int64 ``[<= AT_ONCE, longest of the part]``. places: ``[N]`` each text's row in all parts.
    """

    parts: list[Tensor]
    places: Tensor

    def vectors(self, encode: Callable[[Tensor], Tensor], where: torch.device) -> Tensor:
        """``[N, D]`` of all texts, each distinct one encoded once."""
        return torch.cat([encode(part.to(where)) for part in self.parts])[self.places.to(where)]


@dataclass(frozen=True)
class TextInputs:
    """What an encoder reads of many texts: features of a frozen text tower, or tokens for one that is tuned.

    Attributes:
        inputs: float16 ``[texts, F]``, or int64 ``[texts, L]``. lengths: tokens of each text that are read.
    """

    inputs: npt.NDArray[np.float16] | npt.NDArray[np.int64]
    lengths: Ints | None = None

    def take(self, places: Ints) -> Tensor:
        """Features float32 ``[N, F]``, or tokens ``[N, longest]``."""
        rows = torch.from_numpy(self.inputs[places])
        if self.lengths is None:
            return rows.float()
        return rows[:, : int(self.lengths[places].max(initial=1))]

    def distinct(self, places: Ints) -> Tokens:
        """Tokens of texts, for training: padding and texts that occur twice cost as much as any other."""
        assert self.lengths is not None
        each, back = np.unique(places, return_inverse=True)
        order = np.argsort(self.lengths[each], kind="stable")
        parts = [self.take(each[order[i : i + AT_ONCE]]) for i in range(0, len(each), AT_ONCE)]
        return Tokens(parts, torch.from_numpy(np.argsort(order, kind="stable")[back]))


@dataclass(frozen=True)
class TrainingSet:
    """The train split, row by row.

    Attributes:
        product_ids: of the products. rows: their places in the catalogue. groups: equal numbers show the same
            thing. topics: a number per product type. captions: what stands for them.
        pixels: pictures, read where the image tower is tuned. features: of them, where it is frozen.
        texts: what the encoder reads of every caption.
    """

    product_ids: list[str]
    rows: Ints
    groups: Ints
    topics: Ints
    captions: Captions
    pixels: PixelCache
    features: PictureFeatures | None
    texts: TextInputs


@dataclass(frozen=True)
class ContrastiveBatch:
    """What one step sees.

    Attributes:
        rows: ``[B]`` places in the training set.
        pictures: features ``[B, F]``, or views ``[B, 3, H, W]`` in 0..255 for a tower that is tuned.
        texts: features ``[B + S, F]``, or tokens of as many texts; the last S are texts of no picture,
            negatives of all.
        excluded: bool ``[B, B + S]``, pairs of picture i and text j that are no negatives.
    """

    rows: Ints
    pictures: Tensor
    texts: Tensor | Tokens
    excluded: Tensor


def contrastive_loss(encoder: Encoder, batch: ContrastiveBatch, precision: str) -> Tensor:
    """InfoNCE of a batch, in nats."""
    with autocast(batch.pictures.device, precision):
        tuned = batch.pictures.ndim == 4
        images = encoder.encode_image(batch.pictures) if tuned else encoder.image_vectors(batch.pictures)
        if isinstance(batch.texts, Tokens):
            texts = batch.texts.vectors(encoder.encode_text, images.device)
        else:
            texts = encoder.text_vectors(batch.texts)
        logits = encoder.temperature * images @ texts.T
    return info_nce(logits, batch.excluded, len(texts) - len(images))


def tower_rates(encoder: Encoder, params: TrainingParams) -> dict[str, float]:
    """Learning rates of tuned towers, where they have one of their own: of all but heads and temperature."""
    if params.tower_learning_rate is None or encoder.heads is None:
        return {}
    return dict.fromkeys(("towers.visual", "towers.text"), params.tower_learning_rate)


class Contrastive:
    """The objective of the encoder and of what goes on from it.

    Args:
        encoder: trained in place; what of it requires no gradient stays. data: the train split.
        params: block ``encoder``. validate: its figures become curves and choose nothing; None for none.

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
            rates=tower_rates(encoder, training),
        )

    def loop(self, resume: Path | None = None) -> Loop[ContrastiveBatch]:
        """The training loop; ``resume`` is the folder of its state."""
        return Loop(self, self.plan, resume)

    def batch(self, step: int) -> ContrastiveBatch:
        """Pictures, texts and excluded pairs of one step."""
        rows, rng = self.order.rows(step), self.order.rng(step)
        captions = self.data.captions.draw(rows, rng)
        excluded = no_negatives(torch.from_numpy(self.data.groups[rows]), torch.from_numpy(captions.entailed))
        excluded = torch.cat([excluded, torch.from_numpy(captions.swapped_entailed)], dim=1)
        pictures = self._pictures(self.data.rows[rows], rng)
        texts = self._texts(np.concatenate([captions.texts, captions.swapped]))
        return ContrastiveBatch(rows, pictures, texts, excluded.to(self.device))

    def _texts(self, places: Ints) -> Tensor | Tokens:
        texts = self.data.texts
        return texts.take(places).to(self.device) if texts.lengths is None else texts.distinct(places)

    def _pictures(self, rows: Ints, rng: np.random.Generator) -> Tensor:
        if self.data.features is not None:
            return torch.from_numpy(self.data.features.take(rows)).to(self.device)
        pixels = torch.from_numpy(self.data.pixels.take(rows)).to(self.device)
        return random_views(pixels, self.params.image_px, self.params.augmentation, rng)

    def losses(self, batch: ContrastiveBatch) -> dict[str, Tensor]:
        """``loss``, in nats."""
        return {"loss": contrastive_loss(self.module, batch, self.params.training.precision)}

    def ids(self, batch: ContrastiveBatch) -> Mapping[str, Sequence[str]]:
        """The batch's products."""
        return {"products": [self.data.product_ids[row] for row in batch.rows]}

    def after_step(self) -> None:
        """Keep the temperature within bounds."""
        highest = math.log(1 / self.params.training.minimum_temperature)
        self.module.towers.logit_scale.data.clamp_(0, highest)

    def validate(self) -> dict[str, float]:
        """Figures on the validation split."""
        return self._validate(self.module) if self._validate is not None else {}
