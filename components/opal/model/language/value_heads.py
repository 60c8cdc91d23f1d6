"""Linear heads that read stated values off frozen features, in closed form.

A ridge regression for every value of a closed list, and for every product type, all on the same features:
one factorisation serves them all. On the pictures that such heads were fitted on they are nearly always
right, and a model that is taught on what they say of those would trust them far too much. So they are fitted
once for each fold of product groups, without it, and a product is learned from by what the heads say that
never saw its group (stacking, Wolpert 1992). Any other picture is read by their mean.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

DECAYS = (10_000.0, 3000.0, 1000.0, 300.0)  # on standardised features, summed over rows; strongest first
FOLDS = 4
MOST_ROWS = 20_000  # that are learned from: more move a linear model little, and fill memory
LEAST_SUPPORT = 8  # products that state a value: of fewer a head learns noise

TYPE = ""  # stands for a product type's name among attributes
Fact = tuple[str, str]  # name and value


def fold_of(group: str) -> int:
    """The fold of a product group, 0 to ``FOLDS - 1``: whatever else is in the catalogue."""
    return zlib.crc32(group.encode()) % FOLDS


class StatedValues(NamedTuple):
    """What listings of the train split state, as facts of each product."""

    positions: npt.NDArray[np.int64]  # rows of the catalogue
    groups: Sequence[str]  # near-duplicates share one
    facts: Sequence[Sequence[Fact]]

    def columns(self, most: int) -> list[Fact]:
        """The facts that heads are fitted for: the most frequent ``most``, by name and value.

        None where all products are of one fold: nothing could be held out.
        """
        if len({fold_of(group) for group in self.groups}) < 2:
            return []
        counts: dict[Fact, int] = {}
        for facts in self.facts:
            for fact in dict.fromkeys(facts):
                counts[fact] = counts.get(fact, 0) + 1
        known = sorted((-n, fact) for fact, n in counts.items() if n >= LEAST_SUPPORT)
        return sorted(fact for _, fact in known[:most])

    def slots(self, columns: Sequence[Fact], count: int) -> list[int]:
        """Which of ``count`` tokens tells each column: attributes that occur together stand apart."""
        names = sorted({name for name, _ in columns})
        stated = torch.zeros(len(self.facts), len(names))
        place = {name: i for i, name in enumerate(names)}
        for row, facts in enumerate(self.facts):
            stated[row, [place[name] for name, _ in facts if name in place]] = 1
        together = stated.T @ stated
        slot = torch.full((len(names),), -1)
        for i in together.diagonal().argsort(descending=True, stable=True).tolist():
            load = [float(together[i, slot == k].sum()) for k in range(count)]
            slot[i] = load.index(min(load))
        return [int(slot[place[name]]) for name, _ in columns]

    def sampled(self) -> StatedValues:
        """At most ``MOST_ROWS`` of the products."""
        if len(self.positions) <= MOST_ROWS:
            return self
        at = np.sort(np.random.default_rng(0).permutation(len(self.positions))[:MOST_ROWS])
        return StatedValues(self.positions[at], [self.groups[i] for i in at], [self.facts[i] for i in at])

    def targets(self, columns: Sequence[Fact]) -> Tensor:
        """One for each fact that a product states, ``[n, len(columns)]``."""
        place = {fact: i for i, fact in enumerate(columns)}
        out = torch.zeros(len(self.facts), len(columns))
        for row, facts in enumerate(self.facts):
            out[row, [place[fact] for fact in facts if fact in place]] = 1
        return out


class FittedHeads(NamedTuple):
    """Heads of standardised features for each fold, and what they say of the fold that they have not seen."""

    weight: Tensor  # [FOLDS, F, L]
    bias: Tensor  # [FOLDS, L]
    held_out: Tensor  # [n, L]
    decay: float


class _Sums(NamedTuple):
    """All that ridge regression needs of some rows."""

    n: int
    x: Tensor  # [F]
    y: Tensor  # [L]
    gram: Tensor  # [F, F]
    moment: Tensor  # [F, L]

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> _Sums:
        """Of features ``[N, F]`` and labels ``[N, L]``."""
        return cls(len(x), x.sum(dim=0), y.sum(dim=0), x.T @ x, x.T @ y)

    def without(self, other: _Sums) -> _Sums:
        """The same without some of its rows."""
        return _Sums(*(mine - others for mine, others in zip(self, other, strict=True)))

    def solved(self, decay: float) -> tuple[Tensor, Tensor]:
        """Weight ``[F, L]`` and bias ``[L]``; the mean is not penalised."""
        centre, mean = self.x / self.n, self.y / self.n
        gram = self.gram - self.n * torch.outer(centre, centre)
        gram.diagonal().add_(decay)
        factor = torch.linalg.cholesky(gram)
        weight = torch.cholesky_solve(self.moment - self.n * torch.outer(centre, mean), factor)
        return weight, mean - centre @ weight


def fit_heads(features: Tensor, targets: Tensor, groups: Sequence[str]) -> FittedHeads:
    """Ridge regression of ``targets`` ``[n, L]``, with the decay under which unseen folds are told best.

    Args:
        features: standardised, ``[n, F]``. groups: of each row, of two folds or more.
    """
    folds = torch.tensor([fold_of(group) for group in groups])
    rows = [torch.nonzero(folds == fold)[:, 0] for fold in range(FOLDS)]
    parts = [_Sums.of(features[inside], targets[inside]) for inside in rows]
    whole = _Sums(*(sum(values[1:], start=values[0]) for values in zip(*parts, strict=True)))
    best: FittedHeads | None = None
    least = float("inf")
    for decay in DECAYS:
        solved = [whole.without(part).solved(decay) for part in parts]
        held_out = torch.empty_like(targets)
        for inside, (weight, bias) in zip(rows, solved, strict=True):
            held_out[inside] = features[inside] @ weight + bias
        loss = float((targets - held_out).square().sum())
        if loss >= least:
            break
        least = loss
        weights, biases = (torch.stack(list(each)) for each in zip(*solved, strict=True))
        best = FittedHeads(weights, biases, held_out, decay)
    assert best is not None
    return best
