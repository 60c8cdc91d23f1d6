"""Learn how far a model can be trusted, from what it writes about validation products.

Right is what the refined listing says. Where that is silent a value is wrong if no train listing of the
product's type states the attribute; else nothing is learned. Truth is for evaluation only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import facts
from components.catalog.format.schema import read_schema
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.rows import read_rows
from components.opal.model.certainty.calibration import Value, fit_calibration
from components.opal.model.certainty.certainty import (
    TYPE,
    CalibrationSample,
    Certainty,
    CertaintyFile,
    likelier,
    values_of,
    with_others,
)
from components.opal.model.certainty.likeness import PICTURES, Likeness
from components.opal.model.certainty.promise import Curve, JudgedValues, risk_curve
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.language.pictures import catalogue_pixels, pictures_of, tower_of
from components.opal.model.language.vision_tower import EncoderVisionTower
from components.opal.model.listing_text import Listing
from components.opal.model.listings import refined_listings
from components.opal.model.params import CertaintyParams
from components.opal.model.writing.generate import Decoding, Generated, ListingGenerator
from components.stage.paths import Paths

ENOUGH = 20  # listings of a type, before what none of them states counts as not of the type
Rows = Sequence[Mapping[str, Any]]
Usual = Mapping[tuple[str, str], Collection[str]]  # category and type to the attributes that listings state
Ints = npt.NDArray[np.int64]


def measure_certainty(
    model: ListingModel, note: dict[str, Any], params: CertaintyParams, paths: Paths
) -> Certainty:
    """Calibration, risk-coverage curve and known pictures of a model that is about to be published."""
    rows, schema = read_rows(paths.catalogue), read_schema(paths.catalogue / "schema.json")
    refined = refined_listings(paths.refined)
    at = _drawn(rows, "validation", params.products, params.seed)
    at = at[[rows[i]["product_id"] in refined for i in at]] if len(at) else at
    generated: list[Generated] = []
    if len(at):
        pictures = pictures_of(model.model, note, paths)
        decoding = Decoding(params.batch_size, note["max_new_tokens"], note["precision"])
        generator = ListingGenerator(model, note, schema, decoding)
        categories = [rows[i]["category"] for i in at]
        _, generated = generator.both(pictures.take(at), categories, what="certainty")
    asked = JudgedProducts(
        [rows[i] for i in at], [refined[rows[i]["product_id"]] for i in at], usual_of(rows, refined)
    )
    certainty = learn_certainty(generated, asked)
    tower = tower_of(model.model)
    if not isinstance(tower, EncoderVisionTower) or not tower.config.frozen:
        return Certainty(certainty)
    features = FeatureCache(
        catalogue_pixels(paths, tower.config.image_px, note["crop"]), tower.seeing, paths.cache
    )
    drawn = _drawn(rows, "train", PICTURES, params.seed), at
    return _with_pictures(certainty, features, drawn, params.usual_share)


class JudgedProducts(NamedTuple):
    """Products that answers are about, with their refined listings."""

    rows: Rows
    refined: Sequence[Listing]
    usual: Usual = MappingProxyType({})


def usual_of(rows: Rows, refined: Mapping[str, Listing]) -> Usual:
    """What refined listings of the train split state, by type; types with few listings are left out."""
    stated: dict[tuple[str, str], set[str]] = {}
    count: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if row["split"] == "train" and (listing := refined.get(row["product_id"])):
            key = row["category"], row["product_type"]
            count[key] += 1
            stated.setdefault(key, set()).update(listing.attributes)
    return {key: names for key, names in stated.items() if count[key] >= ENOUGH}


def learn_certainty(generated: Sequence[Generated], asked: JudgedProducts) -> CertaintyFile:
    """Calibration and curve from answers about products with refined listings."""
    values = judged_values(generated, asked)
    judged = [value for value in values if value.right is not None]
    calibration, chances = fit_calibration(with_others(judged))
    # A type is calibrated like a value, but promises are about values of attributes.
    known = [one for one in likelier(judged, chances.tolist()) if one[0].name != TYPE]
    wrong = np.array([not value.right for value, _ in known], dtype=bool)
    fields = sum(len(facts(listing.attributes)) for listing in asked.refined)
    chosen = np.array([chance for _, chance in known], np.float64)
    units = [value.group for value, _ in known]
    curve: Curve = risk_curve(JudgedValues(chosen, wrong, units, fields))
    groups = len(set(units))
    measured = CalibrationSample(
        products=len(asked.rows),
        groups=groups,
        values=len(known),
        silent=sum(value.right is None for value in values),
    )
    return CertaintyFile(calibration=calibration, curve=curve, measured=measured)


def judged_values(generated: Sequence[Generated], asked: JudgedProducts) -> list[Value]:
    """Every stated value, held against the refined listing of its product."""
    out = []
    for one, row, listing in zip(generated, asked.rows, asked.refined, strict=True):
        known = set(facts(listing.attributes))
        usual = asked.usual.get((row["category"], row.get("product_type") or ""))
        for value in values_of(one, row["category"], row["group_id"]):
            said = listing.product_type if value.name == TYPE else listing.attributes.get(value.name)
            right = said == value.value if value.name == TYPE else (value.name, value.value) in known
            unheard = value.name != TYPE and usual is not None and value.name not in usual
            other = value.other
            if other is not None:
                other = other._replace(right=(other.name, other.value) in known)
            out.append(value._replace(right=right if said else False if unheard else None, other=other))
    return out


def _drawn(rows: Rows, split: str, count: int, seed: int) -> Ints:
    """Catalogue rows of a split: the first ``count`` of a seeded order, in row order."""
    inside = np.array([i for i, row in enumerate(rows) if row["split"] == split], dtype=np.int64)
    chosen: Ints = np.sort(np.random.default_rng(seed).permutation(inside)[:count])
    return chosen


def _with_pictures(
    file: CertaintyFile, features: FeatureCache, drawn: tuple[Ints, Ints], usual_share: float
) -> Certainty:
    """The same with what training pictures look like, and how unlike them those of validation are.

    Args:
        drawn: catalogue rows of the train and of the validation split.
    """
    train, at = drawn
    if len(train) < 2 or not len(at):
        return Certainty(file)
    likeness = Likeness.of(features.take(train))
    usual = likeness.unlikeness(features.take(at))
    limit = float(np.quantile(usual, usual_share, method="higher"))
    return Certainty(file.model_copy(update={"most_unlike": limit}), likeness)
