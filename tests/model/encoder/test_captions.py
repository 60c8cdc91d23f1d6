"""Captions: which text stands for a product, and which pairs of a batch are no negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.encoder.model.features.captions import AnsweredQueries, CaptionBatch, Captions, entailed
from components.encoder.model.params import CaptionShares

NONE = dict.fromkeys(CaptionShares.model_fields, 0.0)
ATTRIBUTES = CaptionShares(**NONE | {"attributes": 1.0})


def product(number: int, colour: str, title: str = "", kind: str = "square") -> dict[str, Any]:
    return {
        "product_id": f"p{number}",
        "title": title,
        "description": "",
        "product_type": kind,
        "attributes": [{"name": "colour", "value": colour}],
    }


def products(*colours: str) -> list[dict[str, Any]]:
    return [product(i, colour, f"thing {i}") for i, colour in enumerate(colours)]


def draw(captions: Captions, count: int, seed: int = 0) -> CaptionBatch:
    return captions.draw(np.arange(count), np.random.default_rng(seed))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 6), max_size=4), min_size=2, max_size=6).flatmap(
        lambda known: st.tuples(
            st.just(known),
            st.lists(st.sets(st.integers(0, 6), max_size=3), min_size=len(known), max_size=len(known)),
        )
    )
)
def test_entailment_is_the_subset_relation(case: tuple[list[set[int]], list[set[int]]]) -> None:
    def padded(sets: list[set[int]]) -> np.ndarray:
        out = np.full((len(sets), 5), -1, dtype=np.int32)
        for row, values in zip(out, sets, strict=True):
            row[: len(values)] = sorted(values)
        return out

    known, stated = case
    expected = [[bool(s) and s <= k for s in stated] for k in known]
    assert entailed(padded(known), padded(stated)).tolist() == expected


def test_captions_of_a_product_state_what_the_product_is() -> None:
    captions = Captions(products("red", "red", "blue"), ATTRIBUTES, {"colour"}, swapped=True)
    batch = draw(captions, 3)
    assert [captions.texts[t] for t in batch.texts] == ["red square", "red square", "blue square"]
    # every caption is true of the products of that colour, and of no other
    assert batch.entailed.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    # with the value changed it is true of the products of the other colour alone
    assert (batch.swapped_entailed == ~batch.entailed).all()
    assert [captions.texts[t] for t in batch.swapped] == ["blue square", "blue square", "red square"]


def test_nothing_is_swapped_unless_asked_for() -> None:
    rows = products("red", "green", "blue")
    without, with_swaps = (Captions(rows, ATTRIBUTES, {"colour"}, swapped=s) for s in (False, True))
    one, other = draw(without, 3), draw(with_swaps, 3)
    assert one.swapped.shape == (0,) and one.swapped_entailed.shape == (3, 0)
    assert len(other.swapped) == 3 and np.array_equal(one.entailed, other.entailed)
    assert [without.texts[t] for t in one.texts] == [with_swaps.texts[t] for t in other.texts]


def test_a_product_type_of_one_colour_has_no_changed_captions() -> None:
    rows = [product(i, "red", kind=kind) for i, kind in enumerate(["square", "square", "circle"])]
    batch = draw(Captions(rows, CaptionShares(), {"colour"}, swapped=True), 3)
    assert batch.swapped.shape == (0,) and batch.swapped_entailed.shape == (3, 0)


def test_a_qualified_attribute_is_said_with_its_qualifier() -> None:
    row = product(0, "blue") | {"attributes": [{"name": "accent_colour", "value": "blue"}]}
    captions = Captions([row], ATTRIBUTES, {"colour", "accent_colour"}, swapped=False)
    assert captions.texts == ["accent blue square"]


def test_free_text_names_nothing_that_pictures_share() -> None:
    row = product(0, "blue") | {"attributes": [{"name": "brand", "value": "Tarnow"}]}
    assert Captions([row], ATTRIBUTES, {"colour"}, swapped=False).texts == ["square"]


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_equal_texts_are_masked_whatever_they_state(share: float) -> None:
    shares = CaptionShares(**NONE | {"title": 1.0, "queries": share})
    rows = [product(i, "red", title) for i, title in enumerate(["a mug", "a mug", "a lamp"])]
    batch = draw(Captions(rows, shares, {"colour"}, swapped=False), 3)
    assert batch.entailed.tolist() == [[True, True, False], [True, True, False], [False, False, True]]


QUERIES = AnsweredQueries(["q0", "q1"], ["red things", "red things"], [[0], [0, 1], [], [1]])


def with_queries(share: float, rows: Sequence[dict[str, Any]] | None = None) -> Captions:
    shares = CaptionShares(**NONE | {"title": 0.6, "queries": share})
    return Captions(rows or products("red", "red", "red", "red"), shares, {"colour"}, False, QUERIES)


def test_the_share_of_queries_is_respected_by_products_that_answer_one() -> None:
    captions = with_queries(0.4)
    rows, rng = np.resize(np.arange(4), 40_000), np.random.default_rng(0)
    texts = np.concatenate([captions.draw(part, rng).texts for part in np.split(rows, 40)])
    asked = np.array([captions.texts[t] == "red things" for t in texts])
    for number, expected in ((0, 0.4), (1, 0.4), (2, 0.0), (3, 0.4)):
        assert asked[rows == number].mean() == pytest.approx(expected, abs=0.015)


def test_without_a_share_no_query_is_drawn_and_without_queries_any_share_does_nothing() -> None:
    texts = with_queries(0.0).draw(np.resize(np.arange(4), 1000), np.random.default_rng(0)).texts
    assert "red things" not in {with_queries(0.0).texts[t] for t in texts}
    shares = CaptionShares(**NONE | {"title": 0.6, "queries": 0.9})
    plain = Captions(products("red", "blue"), shares, {"colour"}, swapped=False)
    assert set(plain.texts) == {"thing 0", "thing 1"}


def test_every_product_that_answers_a_query_is_no_negative_of_it() -> None:
    """Also where the judgement alone says so: the sellers' texts do not."""
    queries = AnsweredQueries(["q0", "q1"], ["gift", "office"], [[0], [0], [1], []])
    shares = CaptionShares(**NONE | {"title": 1e-9, "queries": 1.0})
    captions = Captions(products("red", "green", "blue", "white"), shares, {"colour"}, False, queries)
    batch = draw(captions, 4)
    assert [captions.texts[t] for t in batch.texts] == ["gift", "gift", "office", "thing 3"]
    own = np.eye(4, dtype=bool)
    own[0, 1] = own[1, 0] = True
    own[3, 3] = True
    assert np.array_equal(batch.entailed, own)


def test_every_answer_of_a_query_is_drawn_equally_often() -> None:
    queries = AnsweredQueries(["q0", "q1", "q2"], ["a", "b", "c"], [[0, 1, 2]])
    shares = CaptionShares(**NONE | {"title": 1e-9, "queries": 1.0})
    captions = Captions(products("red"), shares, {"colour"}, False, queries)
    texts = captions.draw(np.zeros(9000, dtype=np.int64), np.random.default_rng(0)).texts
    counts = [np.mean([captions.texts[t] == word for t in texts]) for word in "abc"]
    assert counts == pytest.approx([1 / 3] * 3, abs=0.02)


def test_something_besides_queries_must_be_sampled() -> None:
    with pytest.raises(ValueError, match="besides queries"):
        CaptionShares(**NONE | {"queries": 1.0})


def test_each_kind_has_a_caption_and_its_share_and_queries_go_to_those_that_answer_one() -> None:
    shares = CaptionShares(**NONE | {"title": 0.3, "attributes": 0.3, "queries": 0.4})
    captions = Captions(products("red", "red", "red", "red"), shares, {"colour"}, True, QUERIES)
    fields = captions.draw_fields(np.arange(4), np.random.default_rng(0))
    assert [f.share for f in fields] == pytest.approx([0.3, 0.3, 0.4])
    said = [[captions.texts[t] for t in f.captions.texts] for f in fields]
    assert said[0] == [f"thing {i}" for i in range(4)] and set(said[1]) == {"red square"}
    assert fields[2].products.tolist() == [0, 1, 3] and said[2] == ["red things"] * 3
    assert fields[2].captions.entailed.all(), "equal texts were made negatives"
    assert not fields[0].captions.entailed[0, 1]
