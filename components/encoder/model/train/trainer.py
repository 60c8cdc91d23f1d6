"""Contrastive training of the dual encoder, exactly resumable at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from components.encoder.model.errors import DivergedError
from components.encoder.model.features.captions import Captions
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.losses import info_nce, mean_length, no_negatives, topk_similarity
from components.encoder.model.train.schedule import Schedule
from components.encoder.model.train.state import History as History
from components.encoder.model.train.state import adamw, restore_state, save_state
from components.encoder.model.train.views import random_views
from components.stage.progress import Progress

Validate = Callable[[Encoder], dict[str, float]]


@dataclass(frozen=True)
class TrainingSet:
    """The train split, row by row: ids, catalogue rows of the pixels, captions and group numbers."""

    product_ids: list[str]
    rows: npt.NDArray[np.int64]  # positions in the pixel cache
    groups: npt.NDArray[np.int64]
    topics: npt.NDArray[np.int64]  # a number per product type
    captions: Captions
    pixels: PixelCache


def device() -> torch.device:
    """The accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build_optimizer(encoder: nn.Module, params: EncoderParams) -> torch.optim.AdamW:
    """The optimizer of a training block."""
    training = params.training
    return adamw(encoder, training.learning_rate, training.weight_decay, training.betas)


def contrastive_loss(
    encoder: Encoder,
    pixels: Tensor,
    tokens: Tensor,
    excluded: Tensor,
    params: EncoderParams,
) -> tuple[Tensor, dict[str, float]]:
    """Pooled InfoNCE + lambda x top-k patch-text InfoNCE; lambda = 0 skips the patches.

    Args:
        pixels: ``[B, 3, H, W]`` in 0..255.
        tokens: ``[B + S, L]``; the last S are texts of no picture, negatives of all.
        excluded: bool ``[B, B + S]``, pairs of picture i and text j that are no negatives.
    """
    training = params.training
    with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=training.precision == "bf16"):
        # Many products of a batch share a caption ("mug"): each text is encoded once.
        distinct, place = torch.unique(tokens, dim=0, return_inverse=True)
        texts = encoder.encode_packed_text(distinct)[place]
        if training.topk_weight:
            images, grid = encoder.encode_grid(pixels)
            similarity = topk_similarity(grid, texts, training.topk_patches)
            # Dividing similarities by the patches' mean length is dividing the patches, on fewer numbers.
            similarity = similarity / mean_length(grid)[:, None]
        else:
            images = encoder.encode_image(pixels)
    texts_only = len(tokens) - len(pixels)
    pooled = info_nce(encoder.temperature * images @ texts.T, excluded, texts_only)
    if not training.topk_weight:
        return pooled, {"pooled": pooled.item()}
    local = info_nce(encoder.temperature * similarity, excluded, texts_only)
    return pooled + training.topk_weight * local, {"pooled": pooled.item(), "topk": local.item()}


class Trainer:
    """One training run.

    Args:
        encoder: trained in place. data: the train split. params: block ``encoder``.
        resume: folder for the state that lets an interrupted run go on; None keeps nothing.
        validate: called every ``validate_every_epochs``; its figures become curves and choose nothing.
    """

    def __init__(
        self,
        encoder: Encoder,
        data: TrainingSet,
        params: EncoderParams,
        resume: Path | None = None,
        validate: Validate | None = None,
    ) -> None:
        self.device = device()
        self.encoder = encoder.to(self.device)
        self.data, self.params, self.resume, self.validate = data, params, resume, validate
        self.optimizer = build_optimizer(encoder, params)
        self.schedule = Schedule(params.training, params.seed, data.topics, params.image_px)
        self.history = History()
        self.step = 0

    def run(self, until: int | None = None) -> History:
        """Train to the end (or up to step ``until``) and return the curves.

        Raises:
            DivergedError: a loss was not finite; names the products of the batch.
        """
        self.step = restore_state(self.resume, self.encoder, self.optimizer, self.history) or self.step
        end = self.schedule.steps if until is None else min(until, self.schedule.steps)
        progress = Progress("training", end * self.schedule.batch_size, "pairs")
        progress.done = self.step * self.schedule.batch_size
        saved = time.monotonic()
        self.encoder.train()
        while self.step < end:
            parts = self._one_step()
            self.step += 1
            self._maybe_validate()
            progress.advance(self.schedule.batch_size, self._note(parts))
            if time.monotonic() - saved > self.params.training.checkpoint_every_s:
                self.save_state()
                saved = time.monotonic()
        self.encoder.eval()
        return self.history

    def _note(self, parts: dict[str, float]) -> str:
        wait = self.history.data_seconds / max(self.history.train_seconds, 1e-9)
        return f"loss {parts['loss']:.3f}, {wait:.0%} of the time in data"

    def _batch(self) -> tuple[Tensor, Tensor, Tensor, npt.NDArray[np.int64]]:
        """Views, tokens, excluded pairs and rows of the current step."""
        rows = self.schedule.batch(self.step)
        rng = self.schedule.rng(self.step)
        captions = self.data.captions.draw(rows, rng)
        pixels = torch.from_numpy(self.data.pixels.take(self.data.rows[rows])).to(self.device)
        views = random_views(pixels, self.schedule.side_px(self.step), self.params.augmentation, rng)
        excluded = no_negatives(torch.from_numpy(self.data.groups[rows]), torch.from_numpy(captions.entailed))
        tokens = torch.from_numpy(captions.tokens)
        if len(captions.swapped):
            tokens = torch.cat([tokens, torch.from_numpy(captions.swapped)])
            excluded = torch.cat([excluded, torch.from_numpy(captions.swapped_entailed)], dim=1)
        return views, tokens.to(self.device), excluded.to(self.device), rows

    def _one_step(self) -> dict[str, float]:
        start = time.perf_counter()
        views, tokens, excluded, rows = self._batch()
        self.history.data_seconds += time.perf_counter() - start
        rate = self.schedule.learning_rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, parts = contrastive_loss(self.encoder, views, tokens, excluded, self.params)
        parts = {"loss": loss.item(), **parts}
        if not math.isfinite(parts["loss"]):
            self._diverged(rows)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        highest = math.log(1 / self.params.training.minimum_temperature)
        self.encoder.clip.logit_scale.data.clamp_(0, highest)
        self.history.train_seconds += time.perf_counter() - start
        self.history.steps.append({"step": self.step, "learning_rate": rate, **parts})
        return parts

    def _diverged(self, rows: npt.NDArray[np.int64]) -> None:
        ids = [self.data.product_ids[r] for r in rows]
        shown = ", ".join(ids[:16]) + (f" and {len(ids) - 16} more" if len(ids) > 16 else "")
        raise DivergedError(
            f"The loss is not finite at step {self.step}; lower encoder.training.learning_rate or look at "
            f"the batch's products: {shown}."
        )

    def _maybe_validate(self) -> None:
        every = self.params.training.validate_every_epochs * self.schedule.steps_per_epoch
        if self.validate is None or (self.step % every and self.step != self.schedule.steps):
            return
        self.encoder.eval()
        self.history.validation.append({"step": self.step, **self.validate(self.encoder)})
        self.encoder.train()

    def save_state(self) -> None:
        """Write the resume state; a kill leaves the old state or the new one."""
        save_state(self.resume, self.step, self.encoder, self.optimizer, self.history)
