"""Baselines that write nothing themselves.

Refined listings of the visually nearest training products, copied or by vote; and a linear probe on frozen
features, which names the attributes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import as_value, each
from components.catalog.format.schema import CatalogSchema
from components.encoder.model.features.attribute_probe import (
    ABSENT,
    AttributeProbe,
    StatedProducts,
    ValuePrediction,
)
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.towers.files import load_encoder
from components.opal.evaluate.listings.held_out import HeldOutListings
from components.opal.evaluate.listings.measures import Target
from components.opal.model.certainty.certainty import Certainty
from components.opal.model.certainty.measure import JudgedProducts, learn_certainty, usual_of
from components.opal.model.language.pictures import catalogue_pixels, reads_crops
from components.opal.model.listing_text import Listing, answer_text
from components.opal.model.params import ListingEvalParams, ListingParams
from components.opal.model.writing.generate import Generated
from components.stage.paths import Paths


class Known(NamedTuple):
    """What baselines learn from: products, their refined listings, and the features of their pictures."""

    rows: Sequence[dict[str, Any]]
    refined: Mapping[str, Listing]
    features: FeatureCache

    def positions(self, split: str, without: Collection[str] = ()) -> npt.NDArray[np.int64]:
        """Rows of the catalogue of one split that have a refined listing, without some products."""
        wanted = self.refined.keys() - set(without)
        found = [i for i, r in enumerate(self.rows) if r["split"] == split and r["product_id"] in wanted]
        return np.array(found, dtype=np.int64)

    def listings(self, at: Iterable[int]) -> list[Listing]:
        """The refined listings of rows of the catalogue."""
        return [self.refined[self.rows[i]["product_id"]] for i in at]

    def stated(self, split: str, without: Collection[str] = ()) -> StatedProducts:
        """What the refined listings of one split state, without some products."""
        at = self.positions(split, without)
        attributes = [listing.attributes for listing in self.listings(at)]
        return StatedProducts(at, [self.rows[i]["category"] for i in at], attributes)


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


def neighbours(known: Known, positions: npt.NDArray[np.int64], k: int) -> list[list[Listing]]:
    """Refined listings of the ``k`` nearest training pictures of the category, per row of the catalogue."""
    stated = known.positions("train")
    titled = [bool(listing.title) for listing in known.listings(stated)]
    train = stated[np.array(titled, np.bool_)]
    near = nearest_rows(
        known.features.vectors(positions),
        [known.rows[i]["category"] for i in positions],
        known.features.vectors(train),
        [known.rows[i]["category"] for i in train],
        k,
    )
    return [known.listings(train[found]) for found in near]


def shares(nearest: Sequence[Listing], listing: Listing | None) -> dict[str, float]:
    """Of each attribute of ``listing`` the share of the neighbours that say the same, as a confidence."""
    said = listing.attributes if listing else {}
    held = {n: [each(other.attributes.get(n)) for other in nearest] for n in said}
    return {
        name: min(sum(text in texts for texts in held[name]) / len(nearest) for text in each(value))
        for name, value in said.items()
    }


def calibrated_on(seen: Sequence[Generated], positions: npt.NDArray[np.int64], known: Known) -> Certainty:
    """The calibration that a model has, for a baseline: from its answers about validation products.

    Args:
        seen: the answers. positions: rows of the catalogue that they are about, with refined listings.
    """
    usual = usual_of(known.rows, known.refined)
    chosen = [known.rows[i] for i in positions]
    return Certainty(learn_certainty(seen, JudgedProducts(chosen, known.listings(positions), usual)))


def as_generated(
    listings: Sequence[Listing | None],
    targets: Sequence[Target],
    schema: CatalogSchema,
    sure: Sequence[dict[str, float]] | None = None,
) -> list[Generated]:
    """Copied listings in the form of written ones; ``sure``: the confidence of each one's values."""
    return [
        Generated(answer_text(listing, schema.categories[t.category]) if listing else "", listing, confidence)
        for listing, t, confidence in zip(listings, targets, sure or [{} for _ in targets], strict=True)
    ]


def picture_features(paths: Paths, params: ListingEvalParams, listing: ListingParams) -> FeatureCache:
    """Frozen features of every product's picture, or of the crop of it that the listing model reads."""
    loaded = load_encoder(paths.encoder)
    pixels = catalogue_pixels(paths, loaded.encoder.image_px, reads_crops(listing, paths))
    encoder = BatchEncoder(loaded, params.picture_batch_size, listing.precision)
    return FeatureCache(pixels, encoder, paths.cache)


def probed(
    known: Known, held_out: HeldOutListings, titles: Sequence[str], schema: CatalogSchema
) -> list[Generated]:
    """A listing per measured product: the likeliest values, and ``titles`` as they are given.

    The probe learns from refined listings of the train split, and also that an attribute is left out.
    """
    categories = [target.category for target in held_out.targets]
    measured = {target.product_id for target in held_out.targets}
    train, validation = (known.stated(split, measured) for split in ("train", "validation"))
    probe = AttributeProbe(schema, known.features.take, train, validation, absent=True)
    stated = [
        {n: a for n, a in answers.items() if a.value != ABSENT}
        for answers in probe.answers(held_out.positions, categories)
    ]
    listings = [
        Listing(title, {name: answer.value for name, answer in answers.items()}) if title else None
        for title, answers in zip(titles, stated, strict=True)
    ]
    written = as_generated(listings, held_out.targets, schema, [_sure(answers) for answers in stated])
    seen = [
        Generated("", Listing("", {n: a.value for n, a in row.items() if a.value != ABSENT}), _sure(row))
        for row in probe.answers(validation.positions, validation.categories)
    ]
    return calibrated_on(seen, validation.positions, known).calibrated(written, categories)


def _sure(answers: Mapping[str, ValuePrediction]) -> dict[str, float]:
    return {name: answer.probability for name, answer in answers.items()}
