"""The pairs of a training step: queries, their positives, and the products that are negatives of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from components.fusion.model.data.judgements import Ints, Judgements
from components.fusion.model.data.mining import Mined
from components.fusion.model.errors import FusionDataError
from components.fusion.model.params import OptimisationParams, PairParams
from components.training.batches import topic_order

RAREST = 1e-12  # of a product that no query draws; it is in no batch


@dataclass(frozen=True)
class PairBatch:
    """One step's pairs.

    Attributes:
        queries: ``[B]`` places in the judgements. products: ``[C]`` distinct places in the split.
        target: ``[B]`` the column of each query's positive.
        excluded: bool ``[B, C]``, products that are no negatives of a query: of its positive's group, or
            judged at least as relevant. Never the positive itself.
        correction: float32 ``[C]``, taken off the logits of each product.
    """

    queries: Ints
    products: Ints
    target: Ints
    excluded: npt.NDArray[np.bool_]
    correction: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)  # hashed by identity
class Schedule:
    """What depends on the step number alone, so that a run can go on from any step."""

    params: OptimisationParams
    seed: int
    topics: Ints  # ``[Q]`` a number per query; queries of one number are about the same type of product
    topic_size: int

    @property
    def examples(self) -> int:
        """Number of queries."""
        return len(self.topics)

    @property
    def batch_size(self) -> int:
        """Queries per step: as asked for, or all there are."""
        return min(self.params.batch_size, self.examples)

    def queries(self, step: int) -> Ints:
        """Places ``[batch_size]`` of one step: a slice of the epoch's order."""
        epoch, at = divmod(step, self.examples // self.batch_size)
        return epoch_order(self, epoch)[at * self.batch_size : (at + 1) * self.batch_size]

    def rng(self, step: int) -> np.random.Generator:
        """The random numbers of one step."""
        return np.random.default_rng((self.seed, 1, step))

    def torch_seed(self, step: int) -> int:
        """Seed of torch's own stream (dropout) in one step."""
        return int(np.random.SeedSequence((self.seed, 2, step)).generate_state(1)[0])

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then cosine to zero."""
        warmup = max(1, round(self.params.warmup_share * self.params.steps))
        if step < warmup:
            return self.params.learning_rate * (step + 1) / warmup
        share = (step - warmup) / max(1, self.params.steps - warmup)
        return self.params.learning_rate * (1 + math.cos(math.pi * share)) / 2


@lru_cache(maxsize=1)
def epoch_order(schedule: Schedule, epoch: int) -> Ints:
    """All queries in random order, except that ``topic_size`` of one topic stand together."""
    rng = np.random.default_rng((schedule.seed, 0, epoch))
    return topic_order(schedule.topics, schedule.topic_size, rng)


class PairSampler:
    """Draws the pairs of each step; a pure function of (seed, step).

    Args:
        judgements: of the train split. groups: ``[P]`` group number of each product of the split.
        mined: hard negatives of each query. pairs: how many of them, and what popularity is worth.
    """

    def __init__(
        self, judgements: Judgements, groups: Ints, mined: Mined, pairs: PairParams, schedule: Schedule
    ) -> None:
        if len(judgements) < 2:
            raise FusionDataError(
                f"The train split has {len(judgements)} answered queries; contrast needs at least 2."
            )
        self.judgements, self.groups, self.mined = judgements, groups, mined
        self.pairs, self.schedule = pairs, schedule
        drawn = judgements.frequency(len(groups)) + pairs.hard_negatives * mined.frequency(len(groups))
        self._correction = (pairs.popularity_correction * np.log(np.maximum(drawn, RAREST))).astype(
            np.float32
        )
        self._column = np.full(len(groups), -1, dtype=np.int64)  # scratch: place in the batch

    def batch(self, step: int, rng: np.random.Generator) -> PairBatch:
        """The pairs of one step; draws from ``rng`` first of all."""
        queries = self.schedule.queries(step)
        entries = self.judgements.draw(queries, rng)
        positives = self.judgements.product[entries]
        negatives = self.mined.draw(queries, self.pairs.hard_negatives, rng)
        products, inverse = np.unique(np.concatenate([positives, negatives]), return_inverse=True)
        target = inverse[: len(queries)]
        excluded = self.groups[positives][:, None] == self.groups[products][None, :]
        excluded |= self._as_relevant(queries, self.judgements.grade[entries], products)
        excluded[np.arange(len(queries)), target] = False
        return PairBatch(queries, products, target, excluded, self._correction[products])

    def _as_relevant(
        self, queries: Ints, grades: npt.NDArray[np.int8], products: Ints
    ) -> npt.NDArray[np.bool_]:
        """bool ``[B, C]``: the product is judged at least as relevant as the query's positive."""
        self._column[products] = np.arange(len(products))
        entries, place = self.judgements.entries(queries)
        column = self._column[self.judgements.product[entries]]
        as_good = (column >= 0) & (self.judgements.grade[entries] >= grades[place])
        mask = np.zeros((len(queries), len(products)), dtype=bool)
        mask[place[as_good], column[as_good]] = True
        self._column[products] = -1
        return mask
