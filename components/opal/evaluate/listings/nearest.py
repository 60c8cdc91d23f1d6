"""The baseline that writes nothing itself: refined listings of the visually nearest training products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import as_value, each
from components.catalog.format.schema import CatalogSchema
from components.encoder.model.features.picture_features import FeatureCache
from components.opal.evaluate.listings.measures import Target
from components.opal.model.certainty.certainty import Certainty
from components.opal.model.certainty.measure import JudgedProducts, learn_certainty, usual_of
from components.opal.model.listing_text import Listing, answer_text
from components.opal.model.writing.generate import Generated


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
    """Each attribute, and the type, by majority of the neighbours; one that most of them lack is left out.

    Ties go to the value of the nearer product; the title is that of the nearest.
    """
    if not nearest:
        return None
    attributes = {}
    for name in sorted({n for listing in nearest for n in listing.attributes}):
        votes = Counter(listing.attributes.get(name) for listing in nearest)
        winner, _ = votes.most_common(1)[0]  # equal counts keep the order of first appearance
        if any(isinstance(value, tuple) for value in votes):  # each of several values by its own majority
            held = Counter(text for listing in nearest for text in each(listing.attributes.get(name)))
            usual = [text for text, count in held.items() if 2 * count > len(nearest)]
            winner = as_value(usual) if usual else None
        if winner is not None:
            attributes[name] = winner
    types = Counter(listing.product_type for listing in nearest)
    return Listing(nearest[0].title, attributes, types.most_common(1)[0][0])


def neighbour_rows(
    rows: Sequence[dict[str, Any]],
    positions: npt.NDArray[np.int64],
    refined: dict[str, Listing],
    features: FeatureCache,
    k: int,
) -> list[list[Listing]]:
    """Refined listings of the ``k`` nearest training pictures of the category, per measured product."""
    train = [
        i
        for i, row in enumerate(rows)
        if row["split"] == "train" and row["product_id"] in refined and refined[row["product_id"]].title
    ]
    near = nearest_rows(
        features.vectors(positions),
        [rows[i]["category"] for i in positions],
        features.vectors(np.array(train, dtype=np.int64)),
        [rows[i]["category"] for i in train],
        k,
    )
    return [[refined[rows[train[j]]["product_id"]] for j in found] for found in near]


def shares(nearest: Sequence[Listing], listing: Listing | None) -> dict[str, float]:
    """Of each attribute of ``listing`` the share of the neighbours that say the same, as a confidence."""
    said = listing.attributes if listing else {}
    held = {n: [each(other.attributes.get(n)) for other in nearest] for n in said}
    return {
        name: min(sum(text in texts for texts in held[name]) / len(nearest) for text in each(value))
        for name, value in said.items()
    }


def calibrated_on(
    seen: Sequence[Generated],
    positions: npt.NDArray[np.int64],
    rows: Sequence[dict[str, Any]],
    refined: Mapping[str, Listing],
) -> Certainty:
    """The calibration that a model has, for a baseline: from its answers about validation products.

    Args:
        seen: the answers. positions: rows of the catalogue that they are about, with refined listings.
    """
    chosen = [rows[i] for i in positions]
    listings = [refined[row["product_id"]] for row in chosen]
    return Certainty(learn_certainty(seen, JudgedProducts(chosen, listings, usual_of(rows, refined))))


def as_generated(
    listings: Sequence[Listing | None], targets: Sequence[Target], schema: CatalogSchema
) -> list[Generated]:
    """Copied listings in the form of written ones."""
    return [
        Generated(answer_text(listing, schema.categories[t.category]) if listing else "", listing)
        for listing, t in zip(listings, targets, strict=True)
    ]
