"""What each source says of the products that could answer a query: the input of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from components.encoder.model.features.vector_cache import Vectors
from components.fusion.model.params import SourceName
from components.fusion.model.sources.bm25 import Scores
from components.retrieval.ranking import top_k

Flags = npt.NDArray[np.bool_]
UNSEEN = -2.0  # score of a product that no vector shows: below every cosine
FLAT = 1e-6  # a spread of scores below it is none


@dataclass(frozen=True)
class SourceScores:
    """Scores of every source.

    Attributes:
        queries: ``[Q, D]`` vectors. known: ``[Q]`` the share of a query's words that the catalogue knows.
        scores: source -> ``[Q, N]``: cosines, BM25 of ``lexical``, log-probabilities of ``type``.
        sees: source -> bool ``[N]``: products that have what the source reads.
    """

    queries: Vectors
    known: Scores
    scores: dict[SourceName, Scores]
    sees: dict[SourceName, Flags]

    def of(self, places: npt.NDArray[np.int64]) -> SourceScores:
        """That of some products."""
        scores = {name: scores[:, places] for name, scores in self.scores.items()}
        sees = {name: there[places] for name, there in self.sees.items()}
        return replace(self, scores=scores, sees=sees)

    @property
    def seen(self) -> Flags:
        """``[N]``: products that have a text or a picture."""
        return self.sees["fused"]


@dataclass(frozen=True)
class Candidates:
    """The products that the gate ranks, for some sources.

    Attributes:
        at: ``[Q, W]`` places of products; those beyond a query's own candidates are not ``chosen``.
        chosen: bool ``[Q, W]``. scores: float32 ``[Q, W, S]``, standardised over a query's candidates;
            those of ``type`` as they are, for their size says how sure they are.
        facts: float32 ``[Q, S + 1]``: the best score of each source, and the share of known words.
    """

    at: npt.NDArray[np.int64]
    chosen: Flags
    scores: Scores
    facts: Scores


def candidates(evidence: SourceScores, sources: Sequence[SourceName], depth: int) -> Candidates:
    """The ``depth`` best products of the fused vectors and the ``depth`` best of BM25, where it is a source.

    An index of vectors and an index of words can both give these, however large the catalogue. That scores
    are standardised over them alone makes their scale independent of its size.
    """
    chosen = _found(evidence.scores["fused"], evidence.seen, depth)
    if "lexical" in sources:
        lexical = evidence.scores["lexical"]
        chosen |= _found(lexical, evidence.seen, depth) & (lexical > 0)
    width = max(1, int(chosen.sum(axis=1).max(initial=0)))
    at = np.argsort(~chosen, axis=1, kind="stable")[:, :width]
    own = np.take_along_axis(chosen, at, axis=1)
    columns, best = [], []
    for source in sources:
        there = own & evidence.sees[source][at]
        plain = np.take_along_axis(evidence.scores[source], at, axis=1)
        columns.append(plain if source == "type" else standardised(plain, there))
        best.append(np.where(there, plain, 0).max(axis=1, initial=0))
    facts = np.stack([*best, evidence.known], axis=1).astype(np.float32)
    return Candidates(at, own, np.stack(columns, axis=2), facts)


def _found(scores: Scores, seen: Flags, depth: int) -> Flags:
    """bool ``[Q, N]``: the ``depth`` best products of each query among those that are seen."""
    found = np.zeros(scores.shape, dtype=bool)
    shown = np.where(seen, scores, scores.min(initial=0) - 1)
    np.put_along_axis(found, top_k(shown, min(depth, scores.shape[1])), True, axis=1)
    found &= seen
    return found


def standardised(scores: Scores, seen: npt.NDArray[np.bool_]) -> Scores:
    """Each query's scores less their mean, over their standard deviation ``[Q, N]``.

    Both are taken over the products that the source sees; one that it does not see, and all products where
    it tells none from another, get 0: no evidence either way.

    Args:
        seen: bool, ``[N]`` or ``[Q, N]``.
    """
    told = np.broadcast_to(seen, scores.shape)
    count = told.sum(axis=1, keepdims=True).clip(1)
    mean = np.where(told, scores, 0).sum(axis=1, keepdims=True) / count
    apart = np.where(told, scores - mean, 0)
    spread = np.sqrt((apart**2).sum(axis=1, keepdims=True) / count)
    out: Scores = np.where(spread > FLAT, apart / spread.clip(FLAT), 0).astype(np.float32)
    return out
