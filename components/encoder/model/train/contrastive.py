"""Contrastive training of the dual encoder: pictures against the texts of a batch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.encoder.model.errors import EncoderConfigurationError, TrainingDataError
from components.encoder.model.features.captions import Captions, Field
from components.encoder.model.features.further import Views
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.params import EncoderParams, TrainingParams
from components.encoder.model.towers.dual_encoder import Encoder, shortened
from components.encoder.model.towers.losses import distillation, info_nce, no_negatives, sigmoid_loss
from components.encoder.model.towers.tuned import add_adapters, silent_adapters
from components.encoder.model.train.interpolation import interpolate
from components.encoder.model.train.views import random_views
from components.stage.resources.accelerator import autocast, device
from components.training.batches import BatchOrder
from components.training.curves import History
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
        rows: where in ``inputs`` each text stands, if not at its own place; past the end: nowhere, for it is
            never asked for.
    """

    inputs: npt.NDArray[np.float16] | npt.NDArray[np.int64]
    lengths: Ints | None = None
    rows: Ints | None = None

    def take(self, places: Ints) -> Tensor:
        """Features float32 ``[N, F]``, or tokens ``[N, longest]``.

        Raises:
            IndexError: a text is asked for that stands nowhere.
        """
        rows = torch.from_numpy(self.inputs[places if self.rows is None else self.rows[places]])
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
        texts: what the encoder reads of every caption. views: all pictures of each product, of which a step
            draws one; None: the main ones alone.
    """

    product_ids: list[str]
    rows: Ints
    groups: Ints
    topics: Ints
    captions: Captions
    pixels: PixelCache
    features: PictureFeatures | None
    texts: TextInputs
    views: Views | None = None


@dataclass(frozen=True)
class Term:
    """Some pictures of a step against a text for each: one part of its loss.

    Attributes:
        share: of the loss. pictures: ``[N]`` places in the batch; None for all, in order.
        excluded: bool ``[N, N + S]``, pairs of picture i and text j that are no negatives; the last S texts
            are of no picture, negatives of all.
    """

    share: float
    pictures: Tensor | None
    excluded: Tensor

    def loss(self, encoder: Encoder, images: Tensor, texts: Tensor, params: TrainingParams) -> Tensor:
        """The contrastive loss of vectors ``[N, D]`` and ``[N + S, D]``, averaged over dimensions."""
        losses = []
        for size in (encoder.embed_dim, *params.matryoshka):
            logits = encoder.temperature * shortened(images, size) @ shortened(texts, size).T
            if params.loss == "sigmoid":
                losses.append(sigmoid_loss(logits + encoder.towers.logit_bias, self.excluded))
            else:
                losses.append(info_nce(logits, self.excluded, len(texts) - len(images)))
        return sum(losses[1:], losses[0]) / len(losses)


@dataclass(frozen=True)
class ContrastiveBatch:
    """What one step sees.

    Attributes:
        rows: ``[B]`` places in the training set.
        pictures: features ``[B, F]``, or views ``[B, 3, H, W]`` in 0..255 for a tower that is tuned.
        texts: features ``[T, F]``, or tokens of as many texts, of all terms, one after the other.
        terms: what the loss is made of.
    """

    rows: Ints
    pictures: Tensor
    texts: Tensor | Tokens
    terms: list[Term]

    def vectors(self, encoder: Encoder) -> list[tuple[Tensor, Tensor]]:
        """Of pictures ``[N, D]`` and texts ``[N + S, D]`` of each term."""
        tuned = self.pictures.ndim == 4
        images = encoder.encode_image(self.pictures) if tuned else encoder.image_vectors(self.pictures)
        if isinstance(self.texts, Tokens):
            texts = self.texts.vectors(encoder.encode_text, images.device)
        else:
            texts = encoder.text_vectors(self.texts)
        own = texts.split([term.excluded.shape[1] for term in self.terms])
        chosen = (images if t.pictures is None else images[t.pictures] for t in self.terms)
        return list(zip(chosen, own, strict=True))


def contrastive_losses(
    encoder: Encoder, batch: ContrastiveBatch, params: TrainingParams, base: Encoder | None = None
) -> dict[str, Tensor]:
    """``loss`` of a batch, in nats: of its terms, by their shares; of a base, ``distillation`` is a part."""
    with autocast(batch.pictures.device, params.precision):
        vectors = batch.vectors(encoder)
        losses = [t.share * t.loss(encoder, *v, params) for t, v in zip(batch.terms, vectors, strict=True)]
        total = sum(losses[1:], losses[0])
        if base is None:
            return {"loss": total}
        with torch.no_grad():
            before = [base.temperature * a @ b.T for a, b in batch.vectors(base)]
        kept = [
            term.share * distillation(encoder.temperature * a @ b.T, old, len(b) - len(a))
            for term, (a, b), old in zip(batch.terms, vectors, before, strict=True)
        ]
        distilled = sum(kept[1:], kept[0])
    return {"loss": total + params.distil * distilled, "distillation": distilled}


def tower_rates(encoder: Encoder, params: TrainingParams) -> dict[str, float]:
    """Learning rates of tuned towers, where they have one of their own: of all but heads and temperature."""
    if params.tower_learning_rate is None or encoder.heads is None:
        return {}
    return dict.fromkeys(("towers.visual", "towers.text"), params.tower_learning_rate)


def batch_order(topics: Ints, params: EncoderParams) -> BatchOrder:
    """Which products each step sees."""
    training = params.training
    return BatchOrder(topics, training.batch_size, training.topic_size, params.seed)


def drawn_fields(
    captions: Captions, rows: Ints, params: TrainingParams, rng: np.random.Generator
) -> list[Field]:
    """The captions of one step: of each kind, or of mixed kinds for all ``rows``; shares sum to 1."""
    if params.terms != "per_field":
        return [Field(1.0, np.arange(len(rows)), captions.draw(rows, rng))]
    fields = [f for f in captions.draw_fields(rows, rng) if len(f.products) > 1]
    whole = sum(f.share for f in fields)  # a step without a field's captions counts as much as others
    return [f._replace(share=f.share / whole) for f in fields]


def drawn_places(fields: Sequence[Field]) -> Ints:
    """Places in :attr:`Captions.texts` of all that a step reads."""
    return np.concatenate([part for f in fields for part in (f.captions.texts, f.captions.swapped)])


def ever_drawn(captions: Captions, topics: Ints, params: EncoderParams) -> Ints:
    """Places of the captions that some step of a training run reads, each once, sorted."""
    order, seen = batch_order(topics, params), np.zeros(len(captions.texts), dtype=bool)
    for step in range(order.steps_per_epoch * params.training.epochs):
        seen[drawn_places(drawn_fields(captions, order.rows(step), params.training, order.rng(step)))] = True
    return np.flatnonzero(seen)


class Contrastive:
    """The objective of the encoder and of what goes on from it.

    Args:
        encoder: trained in place; what of it requires no gradient stays. data: the train split.
        params: block ``encoder``. validate: its figures become curves and choose nothing; None for none.

    Raises:
        TrainingDataError: the train split has fewer than two products.
        EncoderConfigurationError: the encoder has no bias for the sigmoid loss, or fewer dimensions than
            ``matryoshka`` names.
    """

    def __init__(
        self, encoder: Encoder, data: TrainingSet, params: EncoderParams, validate: Validate | None = None
    ) -> None:
        if len(data.topics) < 2:
            raise TrainingDataError(
                f"The train split has {len(data.topics)} products; contrastive training needs at least 2."
            )
        _check(encoder, params.training)
        if params.training.interpolate and validate is None:
            raise TrainingDataError(
                "training.interpolate is chosen on the validation split, which has fewer than two products "
                "with a title."
            )
        training = params.training
        encoder.nest(training.matryoshka)
        self.device = device()
        self.module = encoder.to(self.device)
        self.data, self.params, self._validate = data, params, validate
        keeps = training.distil or training.interpolate
        self._base = copy.deepcopy(encoder).eval().requires_grad_(False) if keeps else None
        self.tuned_share = 1.0  # in a mean with the base's weights
        self.figures_of_mean: dict[str, float] = {}  # on validation, where such a mean was chosen
        self._adapters = add_adapters(encoder, training, params.seed)
        self._silent = silent_adapters(encoder)
        self.order = batch_order(data.topics, params)
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
        fields = drawn_fields(self.data.captions, rows, self.params.training, rng)
        terms = [self._term(f, rows) for f in fields]
        places = self.data.rows[rows]
        if self.data.views is not None:
            places = self.data.views.drawn(places, rng)
        pictures = self._pictures(places, rng)
        return ContrastiveBatch(rows, pictures, self._texts(drawn_places(fields)), terms)

    def _term(self, field: Field, rows: Ints) -> Term:
        captions, places = field.captions, field.products
        groups = torch.from_numpy(self.data.groups[rows[places]])
        excluded = no_negatives(groups, torch.from_numpy(captions.entailed))
        excluded = torch.cat([excluded, torch.from_numpy(captions.swapped_entailed)], dim=1)
        some = self.params.training.terms == "per_field"
        pictures = torch.from_numpy(places).to(self.device) if some else None
        return Term(field.share, pictures, excluded.to(self.device))

    def _texts(self, places: Ints) -> Tensor | Tokens:
        texts = self.data.texts
        return texts.take(places).to(self.device) if texts.lengths is None else texts.distinct(places)

    def _pictures(self, rows: Ints, rng: np.random.Generator) -> Tensor:
        if self.data.features is not None:
            return torch.from_numpy(self.data.features.take(rows)).to(self.device)
        pixels = torch.from_numpy(self.data.pixels.take(rows)).to(self.device)
        return random_views(pixels, self.params.image_px, self.params.augmentation, rng)

    def losses(self, batch: ContrastiveBatch) -> dict[str, Tensor]:
        """``loss`` and its parts, in nats."""
        training = self.params.training
        return contrastive_losses(self.module, batch, training, self._base if training.distil else None)

    def ids(self, batch: ContrastiveBatch) -> Mapping[str, Sequence[str]]:
        """The batch's products."""
        return {"products": [self.data.product_ids[row] for row in batch.rows]}

    def after_step(self) -> None:
        """Keep the temperature within bounds.

        Raises:
            EncoderConfigurationError: adapters have got no gradient.
        """
        if self._silent:
            raise EncoderConfigurationError(
                f"training.lora: {len(self._silent)} layers would learn nothing, for their tower reads their "
                f"weights past the adapters ({min(self._silent)}); tune it whole, or its last blocks."
            )
        highest = math.log(1 / self.params.training.minimum_temperature)
        self.module.towers.logit_scale.data.clamp_(0, highest)

    def validate(self) -> dict[str, float]:
        """Figures on the validation split."""
        return self._validate(self.module) if self._validate is not None else {}

    def finish(self, history: History) -> None:
        """After the last step: merge adapters, and let validation choose how far from the base to go."""
        for adapter in self._adapters:
            adapter.merge_and_unload()
        if self.params.training.interpolate and self._base is not None and self._validate is not None:
            shares = self.params.training.interpolate
            self.tuned_share, self.figures_of_mean, history.further = interpolate(
                self.module, self._base, shares, self._validate
            )


def _check(encoder: Encoder, params: TrainingParams) -> None:
    if params.loss == "sigmoid" and getattr(encoder.towers, "logit_bias", None) is None:
        raise EncoderConfigurationError(
            "training.loss: sigmoid needs an encoder with a bias; train stage encoder with it, too."
        )
    if max(params.matryoshka, default=0) >= encoder.embed_dim:
        raise EncoderConfigurationError(
            f"training.matryoshka names {max(params.matryoshka)} dimensions; the encoder's vectors have "
            f"{encoder.embed_dim}, and fewer are wanted."
        )
