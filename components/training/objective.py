"""What a training run learns: the part that each system writes itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from torch import Tensor, nn

Batch = TypeVar("Batch")


class Objective(Protocol[Batch]):
    """What :class:`components.training.loop.Loop` trains, and by which loss.

    ``batch`` is a function of the step alone: it draws from :meth:`BatchOrder.rng` and keeps nothing between
    steps. That is why a run can go on from any step as if it had never stopped.
    """

    @property
    def module(self) -> nn.Module:
        """What is trained, on its device; its parameters that require no gradient stay as they are."""

    def batch(self, step: int) -> Batch:
        """All that the loss of a step needs, on the module's device; its time counts as waiting for data."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars in nats: ``loss`` is minimised, any others are its parts and go to the curves.

        Precision is the objective's choice: it enters
        :func:`components.stage.resources.accelerator.autocast` itself.
        """

    def ids(self, batch: Batch) -> Mapping[str, Sequence[str]]:
        """Kind (``products``) to the ids in a batch, for the message when its loss is not finite."""

    def after_step(self) -> None:
        """Called after each update; what it does to the weights (clamping a temperature) is part of them."""

    def validate(self) -> dict[str, float]:
        """Figures on held-out data, which become curves and choose nothing; empty where there are none.

        The module is in evaluation mode.
        """
