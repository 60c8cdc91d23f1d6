"""The training loop of every system: it goes on exactly where a kill stopped it, and stops where it must.

Nothing is kept outside the objects that are handed in, so that several loops, or several processes, can run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic

import torch

from components.stage.progress import Progress
from components.training.batches import torch_seed
from components.training.curves import History
from components.training.errors import DivergedError
from components.training.objective import Batch, Objective
from components.training.optimiser import adamw, warmup_cosine
from components.training.plan import Plan
from components.training.resume import restore_state, save_state

SHOWN = 8  # ids of each kind in an error message


class Loop(Generic[Batch]):
    """One training run.

    Args:
        objective: what is trained and by which loss. plan: how long, and with which optimisation.
        resume: folder for the state that lets an interrupted run go on; None keeps nothing.
    """

    def __init__(self, objective: Objective[Batch], plan: Plan, resume: Path | None = None) -> None:
        self.objective, self.plan, self.resume = objective, plan, resume
        self.optimizer = adamw(objective.module, plan.optimisation, plan.rates)
        self.schedule = warmup_cosine(self.optimizer, plan.optimisation.warmup_share, plan.steps)
        self.history = History()
        self.step = 0

    def run(self, until: int | None = None) -> History:
        """Train from the saved state, or from the start, to the end; the curves so far.

        Args:
            until: stop before this step, with the state written as if a kill came there.

        Raises:
            DivergedError: a loss was not finite.
        """
        where = next(self.objective.module.parameters()).device
        self.step = restore_state(self.resume, self._parts(), self.history, where) or self.step
        end = self.plan.steps if until is None else min(until, self.plan.steps)
        progress = Progress("training", end * self.plan.batch_size, "pairs")
        progress.done = self.step * self.plan.batch_size
        saved = time.monotonic()
        self.objective.module.train()
        while self.step < end:
            loss = self._one_step()
            self.step += 1
            self._maybe_validate()
            progress.advance(self.plan.batch_size, self._note(loss))
            if time.monotonic() - saved > self.plan.optimisation.checkpoint_every_s:
                self._save()
                saved = time.monotonic()
        if self.step < self.plan.steps:
            self._save()
        self.objective.module.eval()
        return self.history

    def _parts(self) -> dict[str, Any]:
        return {"module": self.objective.module, "optimizer": self.optimizer, "schedule": self.schedule}

    def _save(self) -> None:
        save_state(self.resume, self.step, self._parts(), self.history)

    def _note(self, loss: float) -> str:
        wait = self.history.data_seconds / max(self.history.train_seconds, 1e-9)
        return f"loss {loss:.3f}, {wait:.0%} of the time in data"

    def _one_step(self) -> float:
        start = time.perf_counter()
        torch.manual_seed(torch_seed(self.plan.seed, self.step))
        batch = self.objective.batch(self.step)
        self.history.data_seconds += time.perf_counter() - start
        losses = self.objective.losses(batch)
        values = {name: float(loss.item()) for name, loss in losses.items()}
        if not math.isfinite(values["loss"]):
            raise DivergedError(
                f"The loss is not finite at step {self.step}; lower the learning rate or look at the batch: "
                f"{_shown(self.objective.ids(batch))}."
            )
        rate = self.schedule.get_last_lr()[0]
        losses["loss"].backward()
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.objective.after_step()
        self.history.train_seconds += time.perf_counter() - start
        self.history.steps.append({"step": self.step, "learning_rate": rate, **values})
        return values["loss"]

    def _maybe_validate(self) -> None:
        if self.step % self.plan.validate_every and self.step != self.plan.steps:
            return
        self.objective.module.eval()
        if figures := self.objective.validate():
            self.history.validation.append({"step": self.step, **figures})
        self.objective.module.train()


def _shown(ids: Mapping[str, Sequence[str]]) -> str:
    """``queries q1, q2; products p1, p2 and 14 more``."""
    parts = []
    for kind, names in ids.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        parts.append(f"{kind} {', '.join(names[:SHOWN])}{more}")
    return "; ".join(parts)
