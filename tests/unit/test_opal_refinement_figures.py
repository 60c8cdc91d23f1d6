"""The refinement's figures, against counts made by hand and scikit-like formulas."""

from __future__ import annotations

import numpy as np
import pytest

from components.catalog.format.records import Noise, Truth
from components.opal.evaluate.listings.measures import rouge_l
from components.opal.evaluate.refinement.figures import (
    Case,
    judged_titles,
    judged_values,
    macro_f1,
    pair_f1,
    product_figures,
    untold,
)
from components.opal.model.listing_text import Listing


def case(i: int, seller: dict[str, str], refined: dict[str, str], true: dict[str, str], **more: str) -> Case:
    noise = (
        (Noise(field="attributes.hue", kind="attribute_wrong"),) if seller.get("hue") != true["hue"] else ()
    )
    titles = [more.get(k, "A saw") for k in ("sold", "now", "title")]
    return Case(
        f"p{i}", "c", f"g{i}", Listing(titles[0], seller), Listing(titles[1], refined),
        Truth(product_id=f"p{i}", title=titles[2], attributes=true, noise=noise),
    )  # fmt: skip


CASES = [
    case(0, {"hue": "red", "size": "1"}, {"size": "1"}, {"hue": "teal", "size": "1"}),
    case(1, {"hue": "red", "size": "1"}, {"hue": "red", "size": "1"}, {"hue": "red", "size": "1"}),
    case(2, {"hue": "RED", "size": "1"}, {"hue": "red"}, {"hue": "red", "size": "1"}),
    case(3, {"size": "2"}, {"size": "2"}, {"hue": "red", "size": "1"}),
]


def test_precision_recall_and_f1_of_pairs() -> None:
    assert pair_f1({"a": "1", "b": "2"}, {"a": "1", "c": "3", "d": "4"}) == pytest.approx((0.5, 1 / 3, 0.4))
    assert np.isnan(pair_f1({}, {"a": "1"})[0]) and pair_f1({}, {"a": "1"})[2] == 0


def test_drops_and_normalisations_are_judged_value_by_value() -> None:
    found = {name: sum(values) / len(values) for name, (values, _) in judged_values(CASES).items()}
    assert found == {
        "drop_precision": 0.5,  # the wrong hue of p0, the right size of p2
        "drop_recall": 2 / 3,  # of p0's hue, p2's hue and p3's size
        "drop_recall_attribute_wrong": 1.0,
        "drop_recall_unknown": 0.0,
        "right_kept": 3 / 4,
        "normalise_precision": 1.0,
    }


def test_several_values_are_counted_one_by_one() -> None:
    assert pair_f1({"a": ("1", "2"), "b": "3"}, {"a": ("1", "4")}) == pytest.approx((1 / 3, 1 / 2, 2 / 5))
    held = (("RED", "green", "teal"), ("green", "red", "teal"), ("blue", "red", "teal"))
    hues = [{"hue": each} for each in held]
    found = {n: sum(v) / len(v) for n, (v, _) in judged_values([case(0, *hues)]).items()}
    assert found == {
        "normalise_precision": 1.0,
        "right_kept": 1.0,
        "drop_recall": 0.5,
        "drop_recall_attribute_wrong": 0.5,
    }


def test_macro_f1_is_the_mean_over_attributes() -> None:
    def f1(variant: str, name: str) -> float:
        stated = [c.listing(variant).attributes.get(name) for c in CASES]
        true = [c.truth.attributes.get(name) for c in CASES]
        hits = sum(s is not None and s == t for s, t in zip(stated, true, strict=True))
        return 2 * hits / (sum(s is not None for s in stated) + sum(t is not None for t in true))

    for variant in ("seller", "refined"):
        found = macro_f1(CASES, variant, seed=0, samples=200)
        assert found.value == pytest.approx((f1(variant, "hue") + f1(variant, "size")) / 2)
        assert found.low is not None and found.high is not None
        assert found.low <= found.value <= found.high and found.n == 4


def test_titles_count_as_corrected_only_when_they_are_the_true_ones() -> None:
    noisy = Noise(field="title", kind="shouting")
    shouted = case(4, {"hue": "red"}, {}, {"hue": "red"}, sold="A SAW", now="A saw")
    shouted = Case(**{**shouted.__dict__, "truth": shouted.truth.model_copy(update={"noise": (noisy,)})})
    found = judged_titles([shouted, CASES[0]])
    assert {k: v[0] for k, v in found.items()} == {"title_mended_shouting": [1.0], "title_unharmed": [1.0]}


def test_a_value_that_the_title_states_is_no_finding_of_the_refinement() -> None:
    true = {"hue": "navy blue", "sex": "Men", "size": "1"}
    assert untold(true, "Blue shirt for men's sizes") == {"hue", "size"}
    told = case(5, {"hue": "red", "size": "2"}, {"size": "1"}, {"hue": "red", "size": "1"}, sold="Red saw")
    assert product_figures(told, "seller")["untold_attribute_f1"] == 0
    assert product_figures(told, "refined")["untold_attribute_f1"] == 1
    all_told = case(6, {"hue": "red"}, {}, {"hue": "red"}, sold="Red saw")
    assert np.isnan(product_figures(all_told, "refined")["untold_attribute_f1"])


def test_rouge_l_is_the_share_of_the_longest_common_subsequence() -> None:
    assert rouge_l("teal saw by hand", "teal saw") == pytest.approx(2 * (2 / 4) * 1 / (2 / 4 + 1))
    assert np.isnan(rouge_l("teal saw", ""))
