"""What speaks for a stated value: mentions in the listing's own text, siblings, and what they all weigh."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.catalog.format.schema import CatalogSchema
from components.evidence.calibration import calibrate
from components.evidence.features import FEATURES, AttributeEvidence
from components.evidence.listing import SellerListing
from components.evidence.mentions import Mentions
from components.evidence.observed import SiblingValues
from components.evidence.synonyms import Synonyms
from components.evidence.words import Words
from components.opal.refine.params import SupportParams
from tests.unit.test_opal_judges import WORDS

SUPPORT = SupportParams(
    batch_size=16,
    precision="fp32",
    evidence=FEATURES,
    prompt="{value}",
    max_values=8,
    shrinkage=0.3,
    folds=2,
    calibration_products=500,
    penalty=1.0,
    keep_above=0.45,
    visible_above=0.6,
)
SCHEMA = CatalogSchema.model_validate(
    {
        "categories": {
            "jackets": {
                "product_types": ["parka"],
                "attributes": {
                    "sleeves": {"type": "enum", "values": ["long", "short"]},
                    "length": {"type": "enum", "values": ["long", "cropped"]},
                    "front": {"type": "enum", "values": ["pockets", "two pockets", "roll-neck"]},
                    "maker": {"type": "string"},
                },
            }
        }
    }
)


def listing(title: str, description: str = "", group: str = "g", **attributes: str) -> SellerListing:
    return SellerListing("p", "train", title, description, "jackets", "parka", attributes, group)


@pytest.fixture(scope="module")
def mentions() -> Mentions:
    words, synonyms = Words(WORDS, SCHEMA), Synonyms(WORDS, SCHEMA)
    words.finish()
    synonyms.finish()
    return Mentions(SCHEMA, words, synonyms)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (listing("A parka with long sleeves"), {("sleeves", "long"): True, ("length", "long"): False}),
        (listing("Long sleeves", sleeves="long"), {("sleeves", "long"): True}),  # named for sleeves only
        (listing("Parka with two pockets"), {("front", "two pockets"): False}),  # and not for "pockets"
        (
            listing("Parka", "Roll neck, POCKETS."),
            {("front", "roll-neck"): False, ("front", "pockets"): False},
        ),
        (listing("Parka by Quenby", maker="Quenby"), {}),  # an open attribute has no values to find
        (listing("Parka without any pockets"), {}),
        (listing("Parka with no two pockets"), {}),  # and not for "pockets" either
        (listing("Parka", "It isn't long."), {}),
        (listing("Parka", "Pockets, free of charge"), {("front", "pockets"): False}),
        (listing(""), {}),
    ],
)
def test_a_text_names_values_of_closed_attributes(
    mentions: Mentions, said: SellerListing, found: dict[tuple[str, str], bool]
) -> None:
    assert mentions.of(said) == found


STATED = st.dictionaries(st.sampled_from(["sleeves", "length"]), st.sampled_from(["long", "short"]))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["", "g", "h"]), STATED), max_size=8))
def test_siblings_are_the_other_products_of_the_group(
    tmp_path_factory: pytest.TempPathFactory, shop: list[tuple[str, dict[str, str]]]
) -> None:
    listings = [listing("", group=group, **stated) for group, stated in shop]
    siblings = SiblingValues(tmp_path_factory.mktemp("siblings") / "values.sqlite")
    half = len(listings) // 2
    siblings.add(listings[:half])
    siblings.add(listings[half:])
    siblings.finish()
    for i, counted in enumerate(siblings.of(listings)):
        others = [
            x for j, x in enumerate(listings) if j != i and x.group_id and x.group_id == listings[i].group_id
        ]
        pairs = {(n, v) for x in others for n, v in x.attributes.items()}
        assert dict(counted) == {(n, v): sum(x.attributes.get(n) == v for x in others) for n, v in pairs}
    siblings.close()


def careless_sellers(wrong: float, count: int = 600, values: int = 4) -> tuple[AttributeEvidence, np.ndarray]:
    """Sellers who state another value at a known rate, under evidence that tells the true one well."""
    rng = np.random.default_rng(4)
    true = rng.integers(values, size=count)
    features = np.zeros((count, values, len(FEATURES)))
    features[:, :, FEATURES.index("examples")] = rng.normal(0, 1, (count, values))
    features[np.arange(count), true, FEATURES.index("examples")] += 4
    slip = rng.random(count) < wrong
    stated = np.where(slip, (true + rng.integers(1, values, size=count)) % values, true)
    names = tuple(f"value {i}" for i in range(values))
    plausible = np.ones((count, values), dtype=bool)
    held = np.zeros((count, values), dtype=bool)
    return AttributeEvidence("hue", names, np.arange(count), stated, features, plausible, held), slip


@pytest.mark.parametrize("wrong", [0.05, 0.2])
def test_the_rate_of_wrong_values_is_found_without_the_truth(tmp_path: Path, wrong: float) -> None:
    evidence, slip = careless_sellers(wrong)
    calibration = calibrate([evidence], SUPPORT.penalty, SUPPORT.keep_above)
    weights = calibration.weights("hue")
    assert weights.wrong == pytest.approx(slip.mean(), abs=0.03)
    right = weights.right(evidence)[np.arange(len(slip)), evidence.stated]
    assert right[~slip].mean() > 0.95 and right[slip].mean() < 0.2
    assert calibration.report["hue"]["stated_dropped"] == pytest.approx(slip.mean(), abs=0.04)
    assert calibration.visible(0.8) == {"hue"}, "the picture prefers what most sellers state"


def test_evidence_that_says_nothing_drops_nothing() -> None:
    evidence, _ = careless_sellers(0.1)
    silent = replace(evidence, features=0 * evidence.features)
    for calibration in (calibrate(e, SUPPORT.penalty, SUPPORT.keep_above) for e in ([silent], [])):
        assert (calibration.weights("hue").right(silent) > SUPPORT.keep_above).all()
        assert not calibration.visible(0.6)
