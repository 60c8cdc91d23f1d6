"""Teaching the gate by the validation queries: what the towers say of queries that they were not trained on.

Train queries would lie to it: towers and network were trained on them, so their vectors look better there
than they are, and words would count for too little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from components.encoder.model.features.held_out import Task
from components.fusion.model.params import GateParams
from components.fusion.model.sources.bm25 import Scores
from components.fusion.model.sources.evidence import Candidates, SourceScores, candidates
from components.fusion.model.sources.gate import SourceGate, placed, tensors
from components.retrieval.metrics import judge, ndcg_at
from components.retrieval.ranking import top_k


@dataclass(frozen=True)
class TaughtGate:
    """A gate, and what it is worth on validation queries that did not teach it.

    Attributes:
        gate: taught by all of them; None where it brings nothing, or they are too few.
        vectors, mixture: mean nDCG@10 of the fused vectors alone, and of gates taught by the other folds.
    """

    gate: SourceGate | None
    vectors: float
    mixture: float


def _gains(task: Task, found: Candidates, products: int) -> Tensor:
    """``[Q, W]``: each candidate's share of a query's gain 2^grade - 1; zero without any."""
    inside = task.qrels.product >= 0
    table = np.zeros((task.qrels.queries, products), dtype=np.float32)
    table[task.qrels.query[inside], task.qrels.product[inside]] = 2.0 ** task.qrels.grade[inside] - 1
    own = np.take_along_axis(table, found.at, axis=1) * found.chosen
    return torch.from_numpy(own / own.sum(axis=1, keepdims=True).clip(1e-6))


class Teacher:
    """Lists of candidates with their gains; one gate per call of ``teach``."""

    def __init__(self, evidence: SourceScores, task: Task, params: GateParams, seed: int) -> None:
        self.evidence, self.params, self.seed = evidence, params, seed
        self.found = candidates(evidence, params.sources, params.depth)
        self._scores, self._queries, self._facts = tensors(self.found, evidence)
        self._gains = _gains(task, self.found, len(evidence.seen))
        self._chosen = torch.from_numpy(self.found.chosen)
        self.useful = self._gains.sum(dim=1).numpy() > 0

    def teach(self, queries: npt.NDArray[np.int64]) -> SourceGate:
        """Softmax cross-entropy over each query's candidates, weighted by their gains (ListNet, Cao et al.
        2007); AdamW, mini-batches in a seeded order."""
        params = self.params
        torch.manual_seed(self.seed)
        gate = SourceGate(self.evidence.queries.shape[1], params.sources, params.depth, params.hidden)
        gate.measure(self._facts[torch.from_numpy(queries)])
        optimizer = torch.optim.AdamW(
            gate.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay
        )
        rng = np.random.default_rng((self.seed, 11))
        queries = queries[self.useful[queries]]
        for _ in range(params.epochs):
            order = rng.permutation(queries)
            for start in range(0, len(order), params.batch_size):
                optimizer.zero_grad()
                self._loss(gate, torch.from_numpy(order[start : start + params.batch_size])).backward()
                optimizer.step()
        gate.eval()
        return gate

    def _loss(self, gate: SourceGate, at: Tensor) -> Tensor:
        logits = gate(self._scores[at], self._queries[at], self._facts[at], self.params.dropout)
        logits = logits.masked_fill(~self._chosen[at], -1e4)
        return -(self._gains[at] * F.log_softmax(logits, dim=-1)).sum(dim=-1).mean()

    def apply(self, gate: SourceGate, queries: npt.NDArray[np.int64]) -> Scores:
        """The gate's scores ``[len(queries), W]``."""
        at = torch.from_numpy(queries)
        with torch.inference_mode():
            out: Scores = gate(self._scores[at], self._queries[at], self._facts[at]).numpy()
        return out


def cross_validated(teacher: Teacher, folds: int) -> Scores:
    """``[Q, N]``: every query ranked by a gate that the other folds taught."""
    fold = np.random.default_rng((teacher.seed, 13)).permutation(len(teacher.useful)) % folds
    mixed = np.zeros(teacher.found.at.shape, dtype=np.float32)
    for number in range(folds):
        held_out = np.flatnonzero(fold == number)
        mixed[held_out] = teacher.apply(teacher.teach(np.flatnonzero(fold != number)), held_out)
    return placed(teacher.found, mixed, teacher.evidence)


def teach_gate(evidence: SourceScores, task: Task, params: GateParams, seed: int) -> TaughtGate:
    """The gate for a network's products; none unless it beats the fused vectors on queries held out of it."""

    def _ndcg(scores: Scores) -> float:
        return float(np.nanmean(ndcg_at(judge(top_k(scores, min(10, scores.shape[1])), task.qrels), 10)))

    vectors = _ndcg(evidence.scores["fused"])
    if len(task.texts) < 2 * params.folds:
        return TaughtGate(None, vectors, vectors)
    teacher = Teacher(evidence, task, params, seed)
    mixture = _ndcg(cross_validated(teacher, params.folds))
    gate = teacher.teach(np.arange(len(task.texts))) if mixture > vectors else None
    return TaughtGate(gate, vectors, mixture)
