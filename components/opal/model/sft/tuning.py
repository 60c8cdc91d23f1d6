"""Visual instruction tuning with TRL: the picture and a question in, the answer out, loss on it alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from trl import SFTConfig, SFTTrainer

from components.opal.model.language.listing_model import ListingModel
from components.opal.model.params import SftParams
from components.opal.model.sft.batches import sft_collator, sft_dataset
from components.opal.model.sft.samples import Sample, per_step
from components.opal.model.train.run import TuningRun
from components.opal.model.train.trainer_setup import (
    Checkpoints,
    ExactResume,
    Pictures,
    batch_names,
    common_arguments,
    lora_config,
)
from components.opal.model.train.tuned_model import TunedModel, trained
from components.opal.model.writing.conversation import Conversation, check_lengths
from components.opal.model.writing.ready_tokens import IGNORED, as_images

CURVES = {
    "loss": "loss",
    "mean_token_accuracy": "token_accuracy",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
}


class ResumableSFT(ExactResume, SFTTrainer):
    """TRL's trainer, resuming from the very weights it had, and scoring the answers' positions alone."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._right: list[tuple[int, int]] = []  # tokens right, tokens in all, since the last line of the log

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean negative log-likelihood of the answers' tokens, from the logits behind the prompt.

        TRL's own scores every position where there is no Triton, in pieces that are computed anew for the
        gradient; answers this short need neither. The loss is the same number (tested), but for weights.
        """
        labels = inputs["labels"]
        first = int((labels != IGNORED).any(dim=0).nonzero()[0])  # a prompt stands before it
        rest = {name: value for name, value in inputs.items() if name not in ("labels", "loss_weights")}
        keep = labels.shape[1] - first + 1
        outputs = model(**rest, use_cache=False, logits_to_keep=keep)
        logits, wanted = outputs.logits[:, :-1], labels[:, first:]
        losses = F.cross_entropy(
            logits.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none"
        )
        if "loss_weights" in inputs:
            losses = losses * inputs["loss_weights"][:, first:].flatten()
        loss = losses.sum()
        scored = wanted != IGNORED
        right = ((logits.detach().argmax(dim=-1) == wanted) & scored).sum()
        self._right.append((int(right), int(scored.sum())))
        loss = loss / (scored.sum() if num_items_in_batch is None else num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # the mean of gradients divides by it again
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's line of the log, with the share of tokens that were the likeliest."""
        if self._right and "loss" in logs:
            logs["mean_token_accuracy"] = sum(r for r, _ in self._right) / sum(n for _, n in self._right)
            self._right.clear()
        super().log(logs, start_time)


def tune(
    model: ListingModel, samples: Sequence[Sample], pictures: Pictures, run: TuningRun[SftParams]
) -> TunedModel:
    """Train on ``samples`` in their order, or go on from the newest checkpoint of ``run``.

    Args:
        samples: ``steps × batch_size × accumulation`` of them.
        pictures: rows to square pixels, or to a tower's tokens.

    Raises:
        ListingDataError: a sequence is longer than the model can read (before any step).
        ListingDivergedError: a loss was not finite.
    """
    conversation = Conversation(model)
    first = as_images(model, pictures(_row(samples[0])))[0]
    texts = [(s.product_id, conversation.prompt(s.question) + conversation.answer(s.answer)) for s in samples]
    longest = check_lengths(model, texts, first, "training samples")
    data = sft_dataset(samples, conversation)
    trainer = ResumableSFT(
        model=model.model,
        args=SFTConfig(
            **common_arguments(run),
            completion_only_loss=True,
            packing=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=data,
        data_collator=sft_collator(model, pictures, data, run.params.rarity),
        processing_class=model.processor,
        peft_config=lora_config(run.listing.lora, model.model),
        callbacks=[Checkpoints(run, "tuning", lambda step: batch_names(samples, per_step(run.params), step))],
    )
    trainer.muon = run.params.training.optimiser == "muon"
    return trained(trainer, model, CURVES, run.resume, longest)


def _row(sample: Any) -> Any:
    return np.array([sample.position], dtype=np.int64)
