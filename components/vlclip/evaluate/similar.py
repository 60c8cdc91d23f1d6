"""Similar items: does a product's own vector lead to products like it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import Value, of_pairs
from components.encoder.model.features.held_out import HeldOut
from components.retrieval.ranking import top_k

BLOCK = 2048  # products ranked at once


@dataclass(frozen=True)
class SimilarItems:
    """What counts as similar on one split.

    Two products are similar if they have the same product type and agree in each of ``attributes`` that is
    known of the asking product (by truth where there is truth, else by the seller's record). Products of the
    same group are neither asked for nor counted: finding a variant of the same thing is no recommendation.
    """

    kinds: npt.NDArray[np.int64]  # [N], equal where products are similar
    groups: npt.NDArray[np.int64]  # [N]
    relevant: npt.NDArray[np.int64]  # [N], how many products could be found

    @property
    def asked(self) -> npt.NDArray[np.int64]:
        """Products that have a similar one at all."""
        return np.flatnonzero(self.relevant > 0)


def _numbers(values: Sequence[object]) -> npt.NDArray[np.int64]:
    places: dict[object, int] = {}
    return np.array([places.setdefault(v, len(places)) for v in values], dtype=np.int64)


def likeness(held_out: HeldOut, attributes: Sequence[str]) -> SimilarItems:
    """Which products of the split are similar."""
    kinds: list[tuple[Value, ...]] = []
    for row in held_out.rows:
        source = held_out.truth.get(row["product_id"], {}).get("attributes") or row["attributes"]
        values = of_pairs(source)
        kinds.append((row["product_type"], *(values.get(name, "") for name in attributes)))
    numbers, groups = _numbers(kinds), _numbers([r["group_id"] for r in held_out.rows])
    same_kind = np.bincount(numbers)[numbers]
    both = _numbers(list(zip(numbers.tolist(), groups.tolist(), strict=True)))
    return SimilarItems(numbers, groups, same_kind - np.bincount(both)[both])


def precision_at(vectors: npt.NDArray[np.float32], like: SimilarItems, k: int) -> npt.NDArray[np.float64]:
    """For each asked product, the share of similar ones among its ``k`` nearest of other groups.

    The share is of ``min(k, how many similar ones there are)``, so that 1 can always be reached.
    """
    asked, found = like.asked, []
    for start in range(0, len(asked), BLOCK):
        part = asked[start : start + BLOCK]
        scores = vectors[part] @ vectors.T
        scores[like.groups[part][:, None] == like.groups[None, :]] = -2.0
        nearest = top_k(scores, k)
        # Where other groups run out, members of the own group follow at -2: never hits.
        hits = (like.kinds[nearest] == like.kinds[part][:, None]) & (
            like.groups[nearest] != like.groups[part][:, None]
        )
        found.append(hits.sum(axis=1) / np.minimum(k, like.relevant[part]))
    return np.concatenate(found) if found else np.zeros(0)


def chance(like: SimilarItems, k: int) -> npt.NDArray[np.float64]:
    """Expected value of :func:`precision_at` for a random order, per asked product."""
    sizes = np.bincount(like.groups)[like.groups]
    others = (len(like.kinds) - sizes)[like.asked]
    relevant = like.relevant[like.asked]
    return np.minimum(k, others) * (relevant / np.maximum(others, 1)) / np.minimum(k, relevant)
