"""How pictures of a value look: class means of picture vectors, told apart by linear discriminants.

The encoder's text prompts alone know little of values that captions seldom name; the pictures of all train
listings that state a value know more. Sellers' wrong values blur a mean only a little.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import facts
from components.catalog.format.schema import CatalogSchema
from components.evidence.listing import SellerListing
from components.evidence.params import EvidenceParams

Floats = npt.NDArray[np.float64]
ALL = -1  # no fold is left out
FEW = 5.0  # a mean of so many pictures is pulled half way to its type's mean


def fold_of(group_id: str, folds: int) -> int:
    """The fold of a product's whole group: its own picture must not testify for its own value."""
    return int.from_bytes(hashlib.blake2b(group_id.encode(), digest_size=4).digest(), "big") % folds


@dataclass
class _Sums:
    """Sums over train listings of one category; vectors carry a 1 behind them that counts, ``[d + 1]``."""

    outer: Floats
    of_type: dict[str, Floats] = field(default_factory=dict)
    of_value: dict[tuple[str, str], Floats] = field(default_factory=dict)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # type, attribute, value

    def add(self, other: _Sums) -> None:
        """Take in the sums of other listings, such as of another fold."""
        self.outer = self.outer + other.outer
        self.counts.update(other.counts)
        for kind, total in other.of_type.items():
            self.of_type[kind] = self.of_type.get(kind, 0.0) + total
        for value, total in other.of_value.items():
            self.of_value[value] = self.of_value.get(value, 0.0) + total


@dataclass(frozen=True)
class Discriminants:
    """Scores of one category's values: ``(x - mean of its type) @ weights + bias``, per attribute."""

    means: dict[str, Floats]  # product type -> [d]
    overall: Floats  # [d], for a type nobody has seen
    weights: dict[str, Floats]  # attribute -> [d, values]
    bias: dict[str, Floats]  # attribute -> [values]


class ExamplePictures:
    """Sums of picture vectors by category, type and value; discriminants are solved from them on demand.

    Memory depends on the schema and on the vectors' length, not on the number of products.
    """

    def __init__(self, schema: CatalogSchema, params: EvidenceParams) -> None:
        self._params = params
        self._judged = {
            name: {
                n: a.values for n, a in category.attributes.items() if 2 <= len(a.values) <= params.max_values
            }
            for name, category in schema.categories.items()
        }
        self._sums: dict[tuple[str, int], _Sums] = {}
        self._solved: dict[tuple[str, int], Discriminants] = {}
        self._counts: dict[str, Counter[tuple[str, str, str]]] = {}

    def judged(self, category: str) -> dict[str, tuple[str, ...]]:
        """The attributes of a category that can be judged, with their values."""
        return self._judged.get(category, {})

    def add(self, listings: Sequence[SellerListing]) -> None:
        """Count train listings."""
        parts: defaultdict[tuple[str, int], list[SellerListing]] = defaultdict(list)
        for listing in listings:
            if listing.category in self._judged and len(listing.vector):
                parts[(listing.category, fold_of(listing.group_id, self._params.folds))].append(listing)
        for key in sorted(parts):
            self._add(key, parts[key])

    def _add(self, key: tuple[str, int], members: Sequence[SellerListing]) -> None:
        """Add listings of one category and fold to its sums."""
        x = np.stack([m.vector for m in members]).astype(np.float64)
        x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        sums = self._sums.setdefault(key, _Sums(np.zeros((x.shape[1], x.shape[1]))))
        sums.outer += x.T @ x
        judged = self.judged(key[0])
        for i, member in enumerate(members):
            kind = sums.of_type.setdefault(member.product_type, np.zeros(x.shape[1]))
            kind += x[i]
            for name, value in facts(member.attributes):
                if value in judged.get(name, ()):
                    cell = sums.of_value.setdefault((name, value), np.zeros(x.shape[1]))
                    cell += x[i]
                    sums.counts[(member.product_type, name, value)] += 1

    def counts(self, category: str) -> Counter[tuple[str, str, str]]:
        """How many train listings of a product type state a value: (type, attribute, value) to a number."""
        if category not in self._counts:
            parts = [s.counts for (name, _), s in sorted(self._sums.items()) if name == category]
            self._counts[category] = sum(parts, Counter())
        return self._counts[category]

    def discriminants(self, category: str, without_fold: int) -> Discriminants | None:
        """Discriminants from every fold but one (``ALL``: from every fold); None without pictures."""
        key = (category, without_fold)
        if key not in self._solved:
            folds = [f for name, f in sorted(self._sums) if name == category and f != without_fold]
            if not folds:
                return None
            width = len(self._sums[(category, folds[0])].outer)
            total = _Sums(np.zeros((width, width)))
            for fold in folds:
                total.add(self._sums[(category, fold)])
            self._solved[key] = self._solve(category, total)
        return self._solved[key]

    def _solve(self, category: str, total: _Sums) -> Discriminants:
        """Discriminants of a category: the within-type covariance, shrunk, solved for each value's mean."""
        means = {kind: s[:-1] / s[-1] for kind, s in total.of_type.items()}
        n = sum(s[-1] for s in total.of_type.values())
        within = total.outer[:-1, :-1] / n
        for kind, s in total.of_type.items():
            within = within - np.outer(means[kind], means[kind]) * (s[-1] / n)
        alpha = self._params.shrinkage
        spread = max(float(np.trace(within)) / len(within), 1e-12)
        within = (1 - alpha) * within + alpha * spread * np.eye(len(within))
        weights, bias = {}, {}
        for name, values in self.judged(category).items():
            centred = np.stack([self._centred(total, means, name, value) for value in values], axis=1)
            weights[name] = np.linalg.solve(within, centred)
            bias[name] = -0.5 * (centred * weights[name]).sum(axis=0)
        overall = sum(s[:-1] for s in total.of_type.values()) / n
        return Discriminants(means, np.asarray(overall), weights, bias)

    @staticmethod
    def _centred(total: _Sums, means: dict[str, Floats], name: str, value: str) -> Floats:
        """Mean of a value's pictures less their types' means, pulled to 0 where they are few."""
        found = total.of_value.get((name, value))
        if found is None:
            return np.zeros(len(total.outer) - 1)
        expected = sum((total.counts[(kind, name, value)] * mean for kind, mean in means.items()), 0.0)
        return np.asarray((found[:-1] - expected) / (found[-1] + FEW))
