"""The plan of a training run: steps, learning rate, resolution, and the random numbers of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from components.encoder.model.errors import TrainingDataError
from components.encoder.model.params import TrainingParams

Ints = npt.NDArray[np.int64]


def topic_order(topics: Ints, size: int, rng: np.random.Generator) -> Ints:
    """All examples in random order, except that up to ``size`` of one topic stand together.

    Batches cut from it hold negatives of the same topic, which differ in what a random negative gives away
    nothing about: another mug rather than a shirt (topic-aware sampling, Hofstätter et al. 2021,
    arXiv 2104.06967).

    Args:
        topics: ``[N]`` a number per example. size: 1 mixes freely.

    Returns:
        ``[N]`` a permutation, equal for equal random numbers.
    """
    shuffled = rng.permutation(len(topics))
    if size == 1:
        return shuffled
    by_topic = shuffled[np.argsort(topics[shuffled], kind="stable")]
    topic = topics[by_topic]
    place = np.arange(len(topic)) - np.searchsorted(topic, topic)
    starts = np.flatnonzero(place % size == 0)
    chunk = np.searchsorted(starts, np.arange(len(topic)), side="right") - 1
    order: Ints = by_topic[np.argsort(rng.permutation(len(starts))[chunk], kind="stable")]
    return order


@dataclass(frozen=True)
class Schedule:
    """Everything that depends on the step number alone, so that a run can go on from any step."""

    params: TrainingParams
    seed: int
    topics: Ints  # ``[examples]`` a number per example; those of one number may stand together in a batch
    image_px: int
    _last_order: dict[int, Ints] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.examples < 2:
            raise TrainingDataError(
                f"The train split has {self.examples} products; contrastive training needs at least 2."
            )

    @property
    def examples(self) -> int:
        """How many there are."""
        return len(self.topics)

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
        """Rows ``[batch_size]`` of one step: a slice of the epoch's order."""
        epoch, at = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        return order[at * self.batch_size : (at + 1) * self.batch_size]

    def _order(self, epoch: int) -> Ints:
        """The epoch's order; the last one asked for is kept."""
        if epoch not in self._last_order:
            self._last_order.clear()
            rng = np.random.default_rng((self.seed, 0, epoch))
            self._last_order[epoch] = topic_order(self.topics, self.params.topic_size, rng)
        return self._last_order[epoch]

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
