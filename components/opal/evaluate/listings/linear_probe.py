"""The baseline that sees without writing: a linear probe on frozen features names the attributes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

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
from components.opal.evaluate.listings.nearest import as_generated, calibrated_on
from components.opal.model.language.pictures import catalogue_pixels, reads_crops
from components.opal.model.listing_text import Listing
from components.opal.model.params import ListingEvalParams, ListingParams
from components.opal.model.writing.generate import Generated
from components.stage.paths import Paths


def picture_features(paths: Paths, params: ListingEvalParams, listing: ListingParams) -> FeatureCache:
    """Frozen features of every product's picture, or of the crop of it that the listing model reads."""
    loaded = load_encoder(paths.encoder)
    pixels = catalogue_pixels(paths, loaded.encoder.image_px, reads_crops(listing, paths))
    encoder = BatchEncoder(loaded, params.picture_batch_size, listing.precision)
    return FeatureCache(pixels, encoder, paths.cache)


def refined_positions(
    rows: Sequence[dict[str, Any]], refined: dict[str, Listing], split: str, without: Collection[str]
) -> npt.NDArray[np.int64]:
    """Rows of the catalogue of one split that have a refined listing; products ``without`` are left out."""
    found = [
        i
        for i, row in enumerate(rows)
        if row["split"] == split and row["product_id"] in refined and row["product_id"] not in without
    ]
    return np.array(found, dtype=np.int64)


def _refined(
    rows: Sequence[dict[str, Any]], refined: dict[str, Listing], split: str, without: Collection[str]
) -> StatedProducts:
    """What the refined listings of one split state; products ``without`` are left out."""
    at = refined_positions(rows, refined, split, without)
    attributes = [refined[rows[i]["product_id"]].attributes for i in at]
    return StatedProducts(at, [rows[i]["category"] for i in at], attributes)


class Known(NamedTuple):
    """What the probe learns from: products, their refined listings, and the features of their pictures."""

    rows: Sequence[dict[str, Any]]
    refined: dict[str, Listing]
    features: FeatureCache


def probed(
    known: Known, held_out: HeldOutListings, titles: Sequence[str], schema: CatalogSchema
) -> list[Generated]:
    """A listing per measured product: the likeliest values, and ``titles`` as they are given.

    The probe learns from refined listings of the train split, and also that an attribute is left out.
    """
    measured = {target.product_id for target in held_out.targets}
    train, validation = (
        _refined(known.rows, known.refined, split, measured) for split in ("train", "validation")
    )
    probe = AttributeProbe(schema, known.features.take, train, validation, absent=True)
    found = probe.answers(held_out.positions, [t.category for t in held_out.targets])
    stated = [{n: a for n, a in answers.items() if a.value != ABSENT} for answers in found]
    listings = [
        Listing(title, {name: answer.value for name, answer in answers.items()}) if title else None
        for title, answers in zip(titles, stated, strict=True)
    ]
    written = [
        replace(g, confidence=_sure(answers))
        for g, answers in zip(as_generated(listings, held_out.targets, schema), stated, strict=True)
    ]
    seen = [
        Generated("", Listing("", {n: a.value for n, a in row.items() if a.value != ABSENT}), _sure(row))
        for row in probe.answers(validation.positions, validation.categories)
    ]
    return calibrated_on(seen, validation.positions, known.rows, known.refined).calibrated(
        written, [target.category for target in held_out.targets]
    )


def _sure(answers: Mapping[str, ValuePrediction]) -> dict[str, float]:
    return {name: answer.probability for name, answer in answers.items()}
