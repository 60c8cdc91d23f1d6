"""Pairs of own answers: what the picture supports, what most views say, what the record corrects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from components.catalog.format.schema import CatalogSchema
from components.opal.model.listing_text import Listing
from components.opal.model.preferences.own_answers import agreed, corrected, judged_pair, verified, views
from components.opal.model.preferences.pairs import ListingQuestion
from components.opal.model.preferences.verifier import PictureVerifier

SCHEMA = CatalogSchema.model_validate(
    {
        "categories": {
            "c": {
                "product_types": ["bar"],
                "attributes": {
                    "colour": {"type": "enum", "values": ["blue", "green", "red"]},
                    "brand": {"type": "string"},
                },
            }
        }
    }
)
COLOURS = ("blue", "green", "red")
ASKED = ListingQuestion("p", "c", "List.", Listing("Bar"))


def said(colour: str, brand: str = "Acme") -> Listing:
    return Listing("Bar", {"colour": colour, "brand": brand})


@pytest.fixture(scope="module")
def verifier() -> PictureVerifier:
    """Pictures whose vectors show the colour; a group is two products, and p0 is recorded wrongly."""
    random = np.random.default_rng(0)
    rows, listings, vectors = [], {}, []
    for i in range(60):
        name, colour = f"p{i}", COLOURS[i // 2 % 3]
        rows.append(
            {
                "product_id": name,
                "split": "train",
                "category": "c",
                "product_type": "bar",
                "group_id": f"g{i // 2}",
            }
        )
        listings[name] = said("red" if i < 2 else colour)
        vectors.append(np.eye(4)[COLOURS.index(colour)] + random.normal(0, 0.2, 4))
    made = np.array(vectors, np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return PictureVerifier(rows, listings, made, SCHEMA, {"all": (1.0, 1.0)})


def test_the_picture_says_which_of_two_sampled_values_it_supports(verifier: PictureVerifier) -> None:
    for position, right, wrong in ((0, "blue", "red"), (2, "green", "blue"), (5, "red", "green")):
        for answers in ((said(right, "A"), said(wrong, "B")), (said(wrong, "A"), said(right, "B"))):
            judged = verified(position, answers, verifier, margin=1.0)
            assert judged is not None
            assert judged[1:] == ({"colour": right}, {"colour": wrong}), "no picture tells a brand"
            pair = judged_pair(SCHEMA, ASKED, judged, "verified")
            assert pair is not None and f'"colour":"{right}"' in pair.chosen
            assert pair.rejected == pair.chosen.replace(right, wrong) and '"brand":"A"' in pair.chosen
            assert pair.checks == ("the picture speaks against: colour",)
    assert verified(0, (said("blue"), said("red")), verifier, margin=1000.0) is None
    assert verified(0, (said("red"), said("red")), verifier, margin=0.0) is None
    assert verified(0, (None, said("red")), verifier, margin=0.0) is None


def test_the_value_of_most_views_is_preferred() -> None:
    def pair(*answers: Listing | None) -> Any:
        judged = agreed(answers)
        return judged and judged_pair(SCHEMA, ASKED, judged, "views")

    own_wrong = pair(said("red"), said("blue"), said("blue"), said("blue"))
    assert '"colour":"blue"' in own_wrong.chosen and '"colour":"red"' in own_wrong.rejected
    own_right = pair(said("blue"), said("blue"), said("red"), said("blue"))
    assert '"colour":"blue"' in own_right.chosen and '"colour":"red"' in own_right.rejected
    assert own_right.checks == ("most views say otherwise: colour",)
    assert pair(said("red"), said("red"), said("blue"), said("blue")) is None, "no majority"
    assert pair(said("red"), said("red"), None, None) is None
    assert pair(None, said("blue"), said("blue"), said("blue")) is None


def test_an_own_answer_is_corrected_where_the_record_says_otherwise() -> None:
    record = Listing("Bar", {"colour": "blue"})
    judged = corrected(said("red", "Zeta"), record)
    assert judged is not None
    pair = judged_pair(SCHEMA, ASKED, judged, "corrected")
    assert pair is not None
    assert '"colour":"blue"' in pair.chosen and '"brand":"Zeta"' in pair.chosen, "what is unknown stays"
    assert '"colour":"red"' in pair.rejected and pair.checks == ("contradicts: colour",)
    assert corrected(said("blue"), record) is None and corrected(None, record) is None
    outside = corrected(said("red"), Listing("Bar", {"colour": "mauve"}))
    assert outside and judged_pair(SCHEMA, ASKED, outside, "corrected") is None, "not in the schema"


def test_views_are_mirrored_and_cropped_and_the_first_is_the_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 20, 20, 3)).astype(np.uint8)
    made = views(pixels, 4, seed=1)
    assert len(made) == 4 and all(view.shape == pixels.shape and view.dtype == np.uint8 for view in made)
    assert np.array_equal(made[0], pixels)
    assert not np.array_equal(made[1], made[2]) and not np.array_equal(made[2], pixels)
    assert all(np.array_equal(a, b) for a, b in zip(made, views(pixels, 4, seed=1), strict=True))
