"""What the two TRL trainings share: arguments, pictures for the collator, checkpoints and resuming."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.opal.model.errors import ListingConfigurationError, ListingDivergedError
from components.opal.model.language.listing_model import ListingModel, as_input
from components.opal.model.params import LoraParams, OptimiserParams
from components.opal.model.train.muon import MuonAdamW
from components.opal.model.train.run import TuningRun
from components.opal.model.writing.ready_tokens import as_images
from components.stage.progress import Progress
from components.stage.resources.accelerator import computed_in, device

Pictures = Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]]  # rows to pixels, or to a tower's tokens
WEIGHTS = "exact.pt"  # private resume state: every tensor under the name it has in the running model
COMPLETE = "complete"  # written last into a checkpoint: one that was cut by a kill has none


def common_arguments(run: TuningRun[Any]) -> dict[str, Any]:
    """Arguments of SFTConfig and DPOConfig alike; nothing is left to a library's default that matters."""
    training: OptimiserParams = run.params.training
    return {
        "output_dir": str(run.resume),
        "max_steps": training.steps,
        "per_device_train_batch_size": training.batch_size,
        "gradient_accumulation_steps": training.accumulation,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": math.ceil(training.warmup_share * training.steps),
        "weight_decay": training.weight_decay,
        "adam_beta1": training.betas[0],
        "adam_beta2": training.betas[1],
        "max_grad_norm": training.max_grad_norm,
        "optim": "adamw_torch_fused",
        "bf16": computed_in(run.listing.precision, device()) == "bf16",
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": training.gradient_checkpointing,
        "train_sampling_strategy": "sequential",  # the rows come in the order of the steps
        "seed": run.params.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # the callback saves, by the clock
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "max_length": None,  # never cut image tokens
    }


def batch_names(samples: Sequence[Any], size: int, step: int) -> str:
    """Ids of the products of one step, for an error message."""
    return ", ".join(s.product_id for s in samples[step * size : step * size + min(size, 8)])


def lora_config(lora: LoraParams | None, model: PreTrainedModel) -> Any:
    """peft's configuration, or None for full training.

    Raises:
        ListingConfigurationError: no layer of the model is meant.
    """
    if lora is None:
        return None
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    targets = _language_layers(model) if lora.targets is None else lora.targets
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    if not any(check_target_module_exists(config, name) for name, _ in model.named_modules()):
        raise ListingConfigurationError(
            f"listing.lora.targets {str(lora.targets)[:80]} names no layer of this model; null means every "
            "linear layer of its language model."
        )
    return config


def _language_layers(model: PreTrainedModel) -> list[str]:
    """Names of the linear layers of the language model, whatever the model calls it."""
    decoder = model.get_decoder()
    under = next(name for name, part in model.named_modules() if part is decoder)
    return [f"{under}.{name}" for name, part in decoder.named_modules() if isinstance(part, torch.nn.Linear)]


class PictureCollator:
    """Fetches the pictures of a batch, whose samples have the row of their product, and has it put together.

    The rows of a dataset would otherwise hold every picture, or be a transform that TRL refuses.

    Args:
        together: makes a batch of examples and their pictures.
    """

    def __init__(
        self, together: Callable[[list[dict[str, Any]], npt.NDArray[Any]], Any], pictures: Pictures
    ) -> None:
        self.together, self.pictures = together, pictures
        self.seconds = 0.0

    def __call__(self, examples: list[dict[str, Any]]) -> Any:
        """The batch of ``examples``; ``seconds`` adds up what all of them took."""
        start = time.perf_counter()
        rows = np.array([example["images"][0] for example in examples], dtype=np.int64)
        batch = self.together(examples, self.pictures(rows))
        self.seconds += time.perf_counter() - start
        return batch


def by_processor(
    model: ListingModel, collator: Callable[[list[dict[str, Any]]], Any]
) -> Callable[[list[dict[str, Any]], npt.NDArray[Any]], Any]:
    """TRL's own collator, which asks the processor for each batch anew: it fits every model.

    A tower's tokens then take the place of the pixels of blank pictures.
    """

    def _together(examples: list[dict[str, Any]], pictures: npt.NDArray[Any]) -> Any:
        images = as_images(model, pictures)
        batch = collator(
            [{**example, "images": [image]} for example, image in zip(examples, images, strict=True)]
        )
        if pictures.ndim == 3:
            times = len(batch["pixel_values"]) // len(pictures)  # a pair has a picture on either side
            batch["pixel_values"] = as_input(pictures).repeat(times, 1, 1)
        return batch

    return _together


class ExactResume:
    """Loads the weights of a checkpoint by their own names, and trains with Muon where asked to.

    transformers saves a LLaVA under the names of its published form and the Trainer loads them as they are:
    nothing fits, nothing is said, and a resumed run goes on from the first weights.
    """

    muon = False  # set before training

    def create_optimizer(self, model: Any = None) -> Any:
        """The Trainer's AdamW, or Muon with AdamW."""
        if not self.muon:
            return super().create_optimizer(model)  # type: ignore[misc]
        if self.optimizer is None:  # type: ignore[has-type]
            args, network = self.args, self.model  # type: ignore[attr-defined]
            betas = (args.adam_beta1, args.adam_beta2)
            rate, decay = args.learning_rate, args.weight_decay
            self.optimizer = MuonAdamW(network.named_parameters(), rate, betas, decay)
        return self.optimizer

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Nothing reads it; the Trainer would count the model's parameters anew for each step."""
        return 0

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        state = torch.load(Path(resume_from_checkpoint) / WEIGHTS, map_location="cpu", weights_only=True)
        (model if model is not None else self.model).load_state_dict(state)  # type: ignore[attr-defined]


class Checkpoints(TrainerCallback):
    """Saves by the clock, stops at ``until``, tells the progress, and refuses a loss that is not finite."""

    def __init__(self, run: TuningRun[Any], what: str, names: Callable[[int], str]) -> None:
        training = run.params.training
        self.every_s, self.until, self.names = training.checkpoint_every_s, run.until, names
        self.progress = Progress(what, training.steps, "steps")
        self._saved = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Count from where a resumed run starts."""
        self.progress.done = state.global_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Save when it is time; stop where asked."""
        stop = self.until is not None and state.global_step >= self.until
        control.should_training_stop = control.should_training_stop or stop
        if time.monotonic() - self._saved > self.every_s or stop:
            control.should_save = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **arguments: Any
    ) -> None:
        """One line of progress; a loss that is not finite ends the run."""
        loss = (arguments.get("logs") or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(float(loss)):
            raise ListingDivergedError(
                f"the loss is {loss} at step {state.global_step}; lower learning_rate. Products of the "
                f"batch: {self.names(state.global_step - 1)}."
            )
        self.progress.advance(1, f"loss {float(loss):.3f}")

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Mark the checkpoint as whole, then drop older ones: a kill at any moment leaves one."""
        folder = Path(args.output_dir)
        newest = folder / f"checkpoint-{state.global_step}"
        torch.save(given["model"].state_dict(), newest / WEIGHTS)
        (newest / COMPLETE).touch()
        for other in folder.glob("checkpoint-*"):
            if other != newest:
                shutil.rmtree(other, ignore_errors=True)
        self._saved = time.monotonic()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; ones that a kill cut are removed."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if (path / COMPLETE).exists():
            whole.append(path)
        else:
            shutil.rmtree(path, ignore_errors=True)
    return max(whole, key=lambda p: int(p.name.split("-")[1]), default=None)


def curves_of(log: Iterable[dict[str, Any]], wanted: dict[str, str]) -> list[dict[str, float]]:
    """One row per step of the trainer's log, with columns renamed by ``wanted`` (theirs -> ours)."""
    return [
        {"step": float(entry["step"] - 1)}
        | {ours: float(entry[theirs]) for theirs, ours in wanted.items() if theirs in entry}
        for entry in log
        if "loss" in entry
    ]
