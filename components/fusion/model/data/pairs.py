"""The pairs of a training step: queries, their positives, and the products that are negatives of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from components.fusion.model.data.judgements import Ints, Judgements
from components.fusion.model.data.mining import Mined
from components.fusion.model.errors import NoQueriesError
from components.fusion.model.params import OptimisationParams, PairParams
from components.training.batches import BatchOrder
from components.training.plan import Plan

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


def group_places(rows: Sequence[Mapping[str, Any]]) -> Ints:
    """``[P]`` a number per product, equal where ``group_id`` is."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(row["group_id"], len(numbers)) for row in rows], dtype=np.int64)


def topic_numbers(rows: Sequence[Mapping[str, Any]], judgements: Judgements) -> Ints:
    """``[Q]`` a number per query: the product type of its best product."""
    types = np.array([row["product_type"] for row in rows])
    return np.unique(types[judgements.best_product()], return_inverse=True)[1]


class PairSampler:
    """Draws the pairs of each step; a pure function of (seed, step).

    Args:
        judgements: of the train split. groups: ``[P]`` group number of each product of the split.
        mined: hard negatives of each query. pairs: how many of them, and what popularity is worth.
        order: which queries each step asks.

    Raises:
        NoQueriesError: fewer than two queries have an answer.
    """

    def __init__(
        self, judgements: Judgements, groups: Ints, mined: Mined, pairs: PairParams, order: BatchOrder
    ) -> None:
        if len(judgements) < 2:
            raise NoQueriesError(
                f"The train split has {len(judgements)} answered queries; contrast needs at least 2."
            )
        self.judgements, self.groups, self.mined = judgements, groups, mined
        self.pairs, self.order = pairs, order
        drawn = judgements.frequency(len(groups)) + pairs.hard_negatives * mined.frequency(len(groups))
        self._correction = (pairs.popularity_correction * np.log(np.maximum(drawn, RAREST))).astype(
            np.float32
        )
        self._column = np.full(len(groups), -1, dtype=np.int64)  # scratch: place in the batch

    def batch(self, step: int, rng: np.random.Generator) -> PairBatch:
        """The pairs of one step; draws from ``rng`` first of all."""
        queries = self.order.rows(step)
        entries = self.judgements.draw(queries, rng)
        positives = self.judgements.product[entries]
        negatives = self.mined.draw(queries, self.pairs.hard_negatives, rng)
        products, inverse = np.unique(np.concatenate([positives, negatives]), return_inverse=True)
        target = inverse[: len(queries)]
        excluded = self.groups[positives][:, None] == self.groups[products][None, :]
        excluded |= self._as_relevant(queries, self.judgements.grade[entries], products)
        excluded[np.arange(len(queries)), target] = False
        return PairBatch(queries, products, target, excluded, self._correction[products])

    def ids(self, batch: PairBatch, product_ids: Sequence[str]) -> dict[str, list[str]]:
        """The queries and products of a batch, for a message."""
        return {
            "queries": [self.judgements.query_ids[query] for query in batch.queries],
            "products": [product_ids[product] for product in batch.products],
        }

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


def plan_of(params: OptimisationParams, sampler: PairSampler, seed: int) -> Plan:
    """The plan of a training run on a sampler's pairs."""
    return Plan(params.steps, sampler.order.batch_size, params.validate_every_steps, seed, params)


def query_to_product(queries: Tensor, products: Tensor, scale: Tensor | float, pairs: PairBatch) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) over in-batch and mined negatives, in nats.

    What is no negative is taken out of the softmax, and the log-probability of each product to be in the
    batch off its logits (Yi et al. 2019, "Sampling-bias-corrected neural modeling").

    Args:
        queries: ``[B, D]``. products: ``[C, D]``, both L2-normalised. scale: 1 / temperature.
    """
    arrays = (pairs.target, pairs.excluded, pairs.correction)
    target, excluded, correction = (torch.from_numpy(array).to(queries.device) for array in arrays)
    logits = (scale * queries @ products.T).float() - correction
    return F.cross_entropy(logits.masked_fill(excluded, float("-inf")), target)
