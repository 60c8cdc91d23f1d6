"""The mixture of sources: a small gate on the query weighs text, picture, fused vector and BM25."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.fusion.model.params import SourceName
from components.fusion.model.sources.bm25 import Scores
from components.fusion.model.sources.evidence import Candidates, SourceScores, candidates

ABOVE = 2.0  # between the lowest candidate and the others, whose scores are cosines


class SourceGate(nn.Module):
    """score = e^a (S sum_s w_s(q) z_s + MLP(z)), with z the standardised scores of ``S`` sources.

    The weights w are a softmax over a linear layer that sees the query's vector and facts of it. Gate and
    correction start at zero: the untrained gate is the plain sum of the sources.

    Args:
        dimension: of query vectors. sources: that are mixed. depth: candidates of each first stage.
        hidden: units of the correction.
    """

    def __init__(self, dimension: int, sources: Sequence[SourceName], depth: int, hidden: int) -> None:
        super().__init__()
        self.sources, self.depth = tuple(sources), depth
        self.register_buffer("mean", torch.zeros(len(self.sources) + 1))
        self.register_buffer("spread", torch.ones(len(self.sources) + 1))
        self.gate = nn.Linear(len(self.sources) + 1 + dimension, len(self.sources))
        self.first = nn.Linear(len(self.sources), hidden)
        self.second = nn.Linear(hidden, 1, bias=False)
        self.scale = nn.Parameter(torch.zeros(()))
        for tensor in (self.gate.weight, self.gate.bias, self.second.weight):
            nn.init.zeros_(tensor)

    def measure(self, facts: Tensor) -> None:
        """Take mean and spread of the facts ``[Q, S + 1]`` from the queries that the gate is taught by."""
        self.mean = facts.mean(dim=0)
        self.spread = facts.std(dim=0, unbiased=False).clamp(min=1e-6)

    def weights(self, queries: Tensor, facts: Tensor, dropout: float = 0.0) -> Tensor:
        """Weights ``[Q, S]`` that sum to 1, of vectors ``[Q, D]`` and facts ``[Q, S + 1]``."""
        # A query unlike all of validation must not be taken further than these were.
        seen = torch.cat([((facts - self.mean) / self.spread).clamp(-3, 3), queries], dim=1)
        weights: Tensor = self.gate(F.dropout(seen, dropout, self.training)).softmax(dim=-1)
        return weights

    def forward(self, scores: Tensor, queries: Tensor, facts: Tensor, dropout: float = 0.0) -> Tensor:
        """``[Q, W, S]`` standardised scores to ``[Q, W]``."""
        weights = len(self.sources) * self.weights(queries, facts, dropout)
        plain = (scores * weights[:, None, :]).sum(dim=-1)
        total: Tensor = plain + self.second(torch.tanh(self.first(scores)))[..., 0]
        return total * self.scale.exp()

    def rank(self, evidence: SourceScores) -> Scores:
        """``[Q, N]``: candidates by the mixture, and below them all others by their fused vectors."""
        found = candidates(evidence, self.sources, self.depth)
        with torch.inference_mode():
            mixed = self(*tensors(found, evidence)).cpu().numpy()
        return placed(found, mixed, evidence)

    def source_weights(self, evidence: SourceScores) -> Scores:
        """``[Q, S]``: how much each source counts for each query."""
        found = candidates(evidence, self.sources, self.depth)
        _, queries, facts = tensors(found, evidence)
        with torch.inference_mode():
            weights: Scores = self.weights(queries, facts).cpu().numpy()
        return weights


def tensors(found: Candidates, evidence: SourceScores) -> tuple[Tensor, Tensor, Tensor]:
    """Scores ``[Q, W, S]``, query vectors ``[Q, D]`` and facts ``[Q, S + 1]``."""
    arrays = (found.scores, evidence.queries, found.facts)
    scores, queries, facts = (torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in arrays)
    return scores, queries, facts


def placed(found: Candidates, mixed: Scores, evidence: SourceScores) -> Scores:
    """``[Q, N]`` from the candidates' scores ``[Q, W]``."""
    out = np.array(evidence.scores["fused"], dtype=np.float32)
    lowest = np.where(found.chosen, mixed, np.inf).min(axis=1, keepdims=True)
    lowest = np.where(np.isfinite(lowest), lowest, 0)
    before = np.take_along_axis(out, found.at, axis=1)
    lifted = np.where(found.chosen, mixed - lowest + ABOVE, before).astype(np.float32)
    np.put_along_axis(out, found.at, lifted, axis=1)
    return out
