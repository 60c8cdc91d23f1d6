"""Which examples each step sees, and its random numbers: functions of the seed and the step alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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


class BatchOrder:
    """The examples of each step.

    Args:
        topics: ``[examples]`` a number per example; those of one number may stand together in a batch.
        batch_size: wanted; a batch holds all examples where there are fewer.
        topic_size: so many of one topic stand together; 1 mixes freely.
    """

    def __init__(self, topics: Ints, batch_size: int, topic_size: int, seed: int) -> None:
        self.topics, self.topic_size, self.seed = topics, topic_size, seed
        self.examples = len(topics)
        self.batch_size = min(batch_size, self.examples)
        # Full batches; the rest of an epoch's order waits for another shuffle.
        self.steps_per_epoch = self.examples // max(1, self.batch_size)
        self._last: tuple[int, Ints] | None = None

    def rows(self, step: int) -> Ints:
        """Places ``[batch_size]`` of one step: a slice of its epoch's order."""
        epoch, at = divmod(step, self.steps_per_epoch)
        return self._order(epoch)[at * self.batch_size : (at + 1) * self.batch_size]

    def _order(self, epoch: int) -> Ints:
        """The epoch's order; the last one asked for is kept."""
        if self._last is None or self._last[0] != epoch:
            rng = np.random.default_rng((self.seed, 0, epoch))
            self._last = epoch, topic_order(self.topics, self.topic_size, rng)
        return self._last[1]

    def rng(self, step: int) -> np.random.Generator:
        """The random numbers of one step (texts, views, negatives)."""
        return np.random.default_rng((self.seed, 1, step))


def torch_seed(seed: int, step: int) -> int:
    """Seed of torch's own stream (dropout) in one step."""
    return int(np.random.SeedSequence((seed, 2, step)).generate_state(1)[0])
