"""How the two TRL trainings end: run to the last step, from a checkpoint if there is one; a clean model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PrinterCallback

from components.opal.model.language.listing_model import ListingModel
from components.opal.model.train.trainer_setup import PictureCollator, curves_of, last_checkpoint


@dataclass(frozen=True)
class Tuned:
    """A finished training: the model with adapters merged, and what the run looked like."""

    model: ListingModel
    curves: list[dict[str, float]]
    resumed_from: int
    data_seconds: float
    longest: int


def trained(
    trainer: Any,
    model: ListingModel,
    collator: PictureCollator,
    curves: Mapping[str, str],
    resume: Path,
    longest: int,
) -> Tuned:
    """Train, or go on from the newest checkpoint under ``resume``.

    Args:
        curves: TRL's names of what is logged, to ours. longest: tokens of the longest sequence.

    Raises:
        ListingDivergedError: a loss was not finite.
    """
    trainer.remove_callback(PrinterCallback)  # the progress line and the curves say it
    checkpoint = last_checkpoint(resume)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return Tuned(
        model=finished(trainer, model),
        curves=curves_of(trainer.state.log_history, dict(curves)),
        resumed_from=int(checkpoint.name.split("-")[1]) if checkpoint else 0,
        data_seconds=collator.seconds,
        longest=longest,
    )


def finished(trainer: Any, model: ListingModel) -> ListingModel:
    """The trained model on the CPU, adapters merged, without what the trainer put on it."""
    network = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(network, "merge_and_unload"):
        network = network.merge_and_unload()
    network = network.cpu().eval()
    vars(network).pop("forward", None)  # TRL's fused head and accelerate's autocast are for training only
    network.config.use_cache = True
    return ListingModel(network, model.processor, model.context_length)
