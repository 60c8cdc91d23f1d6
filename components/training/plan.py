"""How long a run is, how it is optimised, and what the loop does at which step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Optimisation(Protocol):
    """What the loop reads of a system's own block of parameters."""

    @property
    def learning_rate(self) -> float:
        """The highest one, reached at the end of the warm-up."""

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""

    @property
    def betas(self) -> tuple[float, float]:
        """Of AdamW."""

    @property
    def warmup_share(self) -> float:
        """Share of all steps in which the learning rate rises."""

    @property
    def checkpoint_every_s(self) -> float:
        """Seconds between two writes of the resume state."""


@dataclass(frozen=True)
class Plan:
    """One training run.

    Attributes:
        steps: of the whole run. batch_size: examples of a step, for rates.
        validate_every: steps between two validations; the last step is always followed by one.
        seed: of torch's own stream (dropout), which is set anew in each step.
        rates: learning rates of parts of the module, by the beginning of their parameters' names.
    """

    steps: int
    batch_size: int
    validate_every: int
    seed: int
    optimisation: Optimisation
    rates: Mapping[str, float] = field(default_factory=dict)
