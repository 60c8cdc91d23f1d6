"""How the two TRL trainings end: run to the last step, from a checkpoint if there is one; a clean model.

What is published of one is the model's folder and its curves.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PrinterCallback

from components.opal.model.certainty.certainty import Certainty
from components.opal.model.language.files import save_listing_model
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.train.trainer_setup import curves_of, last_checkpoint
from components.stage.files.publish import published, write_text
from components.training.curves import curves_csv


@dataclass(frozen=True)
class TunedModel:
    """A finished training: the model with adapters merged, and what the run looked like."""

    model: ListingModel
    curves: list[dict[str, float]]
    resumed_from: int  # step
    data_seconds: float  # spent on making batches
    train_seconds: float  # spent on the steps, their batches included
    longest: int  # tokens

    @property
    def steps(self) -> int:
        """Steps of this process; those before a kill are not counted."""
        return len(self.curves) - self.resumed_from

    def shown(self, *names: str) -> dict[str, list[dict[str, float]]]:
        """Curves in the form of a record."""
        return {
            name: [{"step": row["step"], "value": row[name]} for row in self.curves if name in row]
            for name in names
        }


def trained(
    trainer: Any, model: ListingModel, curves: Mapping[str, str], resume: Path, longest: int
) -> TunedModel:
    """Train, or go on from the newest checkpoint under ``resume``.

    Args:
        curves: TRL's names of what is logged, to ours. longest: tokens of the longest sequence.

    Raises:
        ListingDivergedError: a loss was not finite.
    """
    trainer.remove_callback(PrinterCallback)  # the progress line and the curves say it
    checkpoint = last_checkpoint(resume)
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.perf_counter() - start
    return TunedModel(
        model=finished(trainer, model),
        curves=curves_of(trainer.state.log_history, dict(curves)),
        resumed_from=int(checkpoint.name.split("-")[1]) if checkpoint else 0,
        data_seconds=getattr(trainer.data_collator, "seconds", 0.0),
        train_seconds=seconds,
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


@dataclass(frozen=True)
class Published:
    """Where a training's model folder and curves go, and where what a killed run would have needed lies.

    ``grounder`` is the folder of the dense head that finds crops in new photos; None: the model reads whole
    pictures.
    """

    folder: Path
    curves: Path
    resume: Path
    grounder: Path | None = None


def publish(tuned: TunedModel, note: dict[str, Any], certainty: Certainty, to: Published) -> None:
    """Write the model with its ``note`` and ``certainty``, and the curves; the resume state goes."""
    with published(to.folder) as temporary:
        save_listing_model(tuned.model, note, temporary, certainty, to.grounder)
    write_text(to.curves, curves_csv(tuned.curves))
    for state in to.resume.iterdir():
        shutil.rmtree(state) if state.is_dir() else state.unlink()
