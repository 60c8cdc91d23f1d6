"""A training loop that goes on exactly where a kill stopped it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.fusion.model.data.pairs import Schedule
from components.fusion.model.errors import FusionDivergedError
from components.stage.progress import Progress
from components.training.curves import History
from components.training.optimiser import adamw
from components.training.resume import restore_state, save_state

StepLoss = Callable[[int], tuple[Tensor, dict[str, float]]]


class Loop:
    """One training run of ``module``.

    Args:
        loss: the loss of a step and its parts; sees the step number and nothing that other steps left behind.
        names: the queries and products of a step, for the message when a loss is not finite.
        after: called after each update (clamps); its effects are part of the weights.
        validate: called every ``validate_every_steps``; its figures become curves and choose nothing.
        resume: folder of the state; None keeps nothing.
    """

    def __init__(
        self,
        module: nn.Module,
        schedule: Schedule,
        loss: StepLoss,
        names: Callable[[int], str],
        *,
        after: Callable[[], None] | None = None,
        validate: Callable[[], dict[str, float]] | None = None,
        resume: Path | None = None,
    ) -> None:
        self.module, self.schedule, self.loss, self.names = module, schedule, loss, names
        self.after, self.validate, self.resume = after, validate, resume
        self.optimizer = adamw(module, schedule.params)
        self.history = History()
        self.step = 0

    def run(self, until: int | None = None) -> History:
        """Train to the end (or up to step ``until``) and return the curves.

        Raises:
            FusionDivergedError: a loss was not finite.
        """
        self.step = (
            restore_state(self.resume, self._parts(), self.history, next(self.module.parameters()).device)
            or self.step
        )
        params = self.schedule.params
        end = params.steps if until is None else min(until, params.steps)
        progress = Progress("training", end * self.schedule.batch_size, "pairs")
        progress.done = self.step * self.schedule.batch_size
        saved = time.monotonic()
        self.module.train()
        while self.step < end:
            value = self._one_step()
            self.step += 1
            self._maybe_validate()
            progress.advance(self.schedule.batch_size, f"loss {value:.3f}")
            if time.monotonic() - saved > params.checkpoint_every_s:
                self.save_state()
                saved = time.monotonic()
        self.module.eval()
        return self.history

    def _one_step(self) -> float:
        start = time.perf_counter()
        rate = self.schedule.learning_rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(self.schedule.torch_seed(self.step))
        loss, parts = self.loss(self.step)
        value = float(loss.item())
        if not math.isfinite(value):
            raise FusionDivergedError(
                f"The loss is not finite at step {self.step}; lower its learning_rate or look at the "
                f"batch: {self.names(self.step)}."
            )
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.after is not None:
            self.after()
        self.history.train_seconds += time.perf_counter() - start
        self.history.steps.append({"step": self.step, "learning_rate": rate, "loss": value, **parts})
        return value

    def _maybe_validate(self) -> None:
        due = self.step % self.schedule.params.validate_every_steps == 0
        if self.validate is None or not (due or self.step == self.schedule.params.steps):
            return
        self.module.eval()
        self.history.validation.append({"step": self.step, **self.validate()})
        self.module.train()

    def save_state(self) -> None:
        """Write the resume state; a kill leaves the old state or the new one."""
        save_state(self.resume, self.step, self._parts(), self.history)

    def _parts(self) -> dict[str, Any]:
        return {"module": self.module, "optimizer": self.optimizer}
