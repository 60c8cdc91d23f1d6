"""The plan of a training run: steps, learning rate, resolution, and the random numbers of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.encoder.errors import TrainingDataError
from components.encoder.params import TrainingParams


@dataclass(frozen=True)
class Schedule:
    """Everything that depends on the step number alone, so that a run can go on from any step."""

    params: TrainingParams
    seed: int
    examples: int
    image_px: int

    def __post_init__(self) -> None:
        if self.examples < 2:
            raise TrainingDataError(
                f"The train split has {self.examples} products; contrastive training needs at least 2."
            )

    @property
    def batch_size(self) -> int:
        """Products per step: as asked for, or all there are."""
        return min(self.params.batch_size, self.examples)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches per epoch; the rest of the order waits for another epoch's shuffle."""
        return self.examples // self.batch_size

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.params.epochs

    def batch(self, step: int) -> npt.NDArray[np.int64]:
        """Rows ``[batch_size]`` of one step: a slice of the epoch's permutation."""
        epoch, at = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((self.seed, 0, epoch)).permutation(self.examples)
        return order[at * self.batch_size : (at + 1) * self.batch_size]

    def rng(self, step: int) -> np.random.Generator:
        """The random numbers of one step (captions, views)."""
        return np.random.default_rng((self.seed, 1, step))

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then cosine to zero."""
        warmup = max(1, round(self.params.warmup_share * self.steps))
        if step < warmup:
            return self.params.learning_rate * (step + 1) / warmup
        return (
            self.params.learning_rate
            * (1 + math.cos(math.pi * (step - warmup) / max(1, self.steps - warmup)))
            / 2
        )

    def side_px(self, step: int) -> int:
        """Side of the views: small at first if asked for, the full size at the end."""
        low = self.params.low_resolution_px
        early = step < round(self.params.low_resolution_share * self.steps)
        return min(low, self.image_px) if low is not None and early else self.image_px
