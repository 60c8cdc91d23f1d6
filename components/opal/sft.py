"""Visual instruction tuning with TRL: the picture and a question in, the answer out, loss on it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from PIL import Image
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from components.opal.conversation import Conversation, check_lengths
from components.opal.listing_model import ListingModel
from components.opal.listing_params import LoraParams, OptimiserParams
from components.opal.listing_rows import Sample
from components.opal.trainer_setup import (
    Checkpoints,
    ExactResume,
    PictureCollator,
    Pictures,
    answers_scored_only,
    common_arguments,
    curves_of,
    last_checkpoint,
    lora_config,
)

CURVES = {
    "loss": "loss",
    "mean_token_accuracy": "token_accuracy",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
}


class ResumableSFT(ExactResume, SFTTrainer):
    """TRL's trainer, resuming from the very weights it had."""


@dataclass(frozen=True)
class Tuned:
    """A finished training: the model with adapters merged, and what the run looked like."""

    model: ListingModel
    curves: list[dict[str, float]]
    resumed_from: int
    data_seconds: float
    longest: int


def sft_dataset(samples: Sequence[Sample], conversation: Conversation) -> Dataset:
    """TRL's prompt-completion rows; ``images`` holds the row of the product until a batch is made."""
    return Dataset.from_dict(
        {
            "prompt": [conversation.prompt(s.question) for s in samples],
            "completion": [conversation.answer(s.answer) for s in samples],
            "images": [[s.position] for s in samples],
        }
    )


def sft_collator(model: ListingModel, pictures: Pictures) -> PictureCollator:
    """TRL's own collator, with loss on the completion and without any cutting."""
    inner = DataCollatorForVisionLanguageModeling(model.processor, max_length=None, completion_only_loss=True)
    return PictureCollator(inner, pictures)


def batch_names(samples: Sequence[Any], size: int, step: int) -> str:
    """Ids of the products of one step, for an error message."""
    return ", ".join(s.product_id for s in samples[step * size : step * size + min(size, 8)])


def tune(
    model: ListingModel,
    samples: Sequence[Sample],
    pictures: Pictures,
    training: OptimiserParams,
    lora: LoraParams | None,
    precision: str,
    seed: int,
    resume: Path,
    until: int | None = None,
) -> Tuned:
    """Train on ``samples`` in their order, or go on from the newest checkpoint under ``resume``.

    Args:
        samples: ``steps × batch_size × accumulation`` of them. pictures: rows to square pixels.
        until: stop after this step with a checkpoint (for tests of interruption).

    Raises:
        ListingDataError: a sequence is longer than the model can read (before any step).
        ListingDivergedError: a loss was not finite.
    """
    conversation = Conversation(model)
    first = Image.fromarray(pictures(_row(samples[0]))[0])
    texts = [(s.product_id, conversation.prompt(s.question) + conversation.answer(s.answer)) for s in samples]
    longest = check_lengths(model, texts, first, "training samples")
    collator = sft_collator(model, pictures)
    per_step = training.batch_size * training.accumulation
    trainer = ResumableSFT(
        model=model.model,
        args=SFTConfig(
            **common_arguments(training, seed, precision, resume),
            completion_only_loss=True,
            packing=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=sft_dataset(samples, conversation),
        data_collator=collator,
        processing_class=model.processor,
        peft_config=lora_config(lora),
        callbacks=[
            Checkpoints(
                training.checkpoint_every_s,
                until,
                "tuning",
                training.steps,
                lambda step: batch_names(samples, per_step, step),
            )
        ],
    )
    trainer.remove_callback(PrinterCallback)  # the progress line and the curves say it
    checkpoint = last_checkpoint(resume)
    with answers_scored_only():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return Tuned(
        model=finished(trainer, model),
        curves=curves_of(trainer.state.log_history, CURVES),
        resumed_from=int(checkpoint.name.split("-")[1]) if checkpoint else 0,
        data_seconds=collator.seconds,
        longest=longest,
    )


def _row(sample: Any) -> Any:
    import numpy as np

    return np.array([sample.position], dtype=np.int64)


def finished(trainer: Any, model: ListingModel) -> ListingModel:
    """The trained model on the CPU, adapters merged, without what the trainer put on it."""
    trained = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(trained, "merge_and_unload"):
        trained = trained.merge_and_unload()
    trained = trained.cpu().eval()
    vars(trained).pop("forward", None)  # TRL's fused head and accelerate's autocast are for training only
    trained.config.use_cache = True
    return ListingModel(trained, model.processor, model.context_length)
