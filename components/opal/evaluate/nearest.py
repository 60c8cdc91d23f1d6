"""The rival that writes nothing itself: refined listings of the visually nearest training products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from components.opal.model.listing_text import Listing


def nearest_rows(
    queries: npt.NDArray[np.float32],
    query_categories: Sequence[str],
    vectors: npt.NDArray[np.float32],
    categories: Sequence[str],
    k: int,
) -> list[list[int]]:
    """For each query the ``k`` nearest rows of its category, nearest first; fewer where there are fewer."""
    found: list[list[int]] = [[] for _ in query_categories]
    asked, known = np.array(query_categories, object), np.array(categories, object)
    for label in sorted(set(query_categories)):
        inside, rows = np.flatnonzero(asked == label), np.flatnonzero(known == label)
        order = np.argsort(-(queries[inside] @ vectors[rows].T), axis=1, kind="stable")[:, :k]
        for place, best in zip(inside, order, strict=True):
            found[place] = rows[best].tolist()
    return found


def copied(nearest: Sequence[Listing]) -> Listing | None:
    """The nearest product's listing as it is (k = 1)."""
    return nearest[0] if nearest else None


def voted(nearest: Sequence[Listing]) -> Listing | None:
    """Each attribute by majority of the neighbours; one that most of them lack is left out.

    Ties go to the value of the nearer product; the title is that of the nearest.
    """
    if not nearest:
        return None
    attributes = {}
    for name in sorted({n for listing in nearest for n in listing.attributes}):
        votes = Counter(listing.attributes.get(name) for listing in nearest)
        winner, _ = votes.most_common(1)[0]  # equal counts keep the order of first appearance
        if winner is not None:
            attributes[name] = winner
    return Listing(nearest[0].title, attributes)
