"""Titles: no word in them that the listing does not support; learned from a category's own titles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.catalog.format.attributes import as_value
from components.catalog.format.schema import CatalogSchema
from components.opal.model.arrangement import arranged, arrangement
from components.opal.model.listing_text import Listing, answer_text
from components.opal.model.titles.grammar import CategoryTitles, Titles
from components.opal.model.titles.learn import learn_titles, observe_titles
from components.opal.model.titles.params import TitlesParams
from components.opal.model.titles.words import cores
from components.opal.model.writing.confidence import StepScores, ending_tokens, span_confidence

COLOURS, LIDS = ("red", "navy blue", "green"), ("cork", "screw cap", "no lid")
SCHEMA = CatalogSchema.model_validate(
    {
        "categories": {
            "kitchen": {
                "product_types": ["mug", "tea pot"],
                "attributes": {
                    "brand": {"type": "string"},
                    "colour": {"type": "enum", "values": COLOURS},
                    "lid": {"type": "enum", "values": LIDS},
                    "size_cm": {"type": "number"},
                },
            },
            "new": {
                "product_types": ["thing"],
                "attributes": {"colour": {"type": "enum", "values": COLOURS}},
            },
        }
    }
)  # fmt: skip
VISIBLE = ("colour", "lid")


def sold(i: int) -> tuple[str, Listing]:
    """A listing whose title says colour, type, lid and maker, or some of them; "ruby" stands for red."""
    colour, lid, kind = COLOURS[i % 3], LIDS[i // 3 % 3], ("mug", "tea pot")[i % 2]
    seen = "Ruby" if colour == "red" and i % 4 else colour.title()
    ending = "" if lid == "no lid" else f" with {lid} lid"
    stated = {"brand": "Acme", "colour": colour, "lid": lid, "size_cm": str(i)}
    return "kitchen", Listing(f"{seen} {kind.title()}{ending} by Acme", stated, kind)


@pytest.fixture(scope="module")
def titles() -> Titles:
    return Titles(categories=learned())


def learned(**changes: Any) -> Mapping[str, CategoryTitles]:
    params = TitlesParams.model_validate({"fewest": 30, **changes})
    seen = observe_titles(map(sold, range(90)), SCHEMA)
    return learn_titles(seen, SCHEMA, VISIBLE, params, ("colour", "brand"))


def test_order_and_words_are_those_of_the_categorys_titles(titles: Titles) -> None:
    listing = Listing("", {"lid": "cork", "colour": "green", "brand": "Acme", "size_cm": "4"}, "mug")
    assert titles.compose("kitchen", listing, 80) == "Green mug with cork lid"
    bare = Listing("", {"lid": "no lid", "colour": "green"}, "tea pot")
    assert titles.compose("kitchen", bare, 80) == "Green tea pot", "what titles leave unsaid is left unsaid"
    slots = titles.categories["kitchen"].slots
    assert [slot.attribute for slot in slots] == ["colour", None, "lid"], "no picture tells a maker"
    assert learned() == titles.categories and json.loads(titles.model_dump_json())["kind"] == "composed"


def test_attributes_are_written_as_pictures_and_titles_tell_them() -> None:
    listings = [sold(i) for i in range(90)]
    named = {category: tally.shares() for category, tally in observe_titles(listings, SCHEMA).items()}
    assert named["kitchen"] == pytest.approx(
        {"brand": 1, "colour": 0.75, "lid": 2 / 3, "size_cm": 0}, abs=0.02
    )
    made = arrangement(listings, SCHEMA, named, VISIBLE, 9)
    assert made == {"kitchen": ("colour", "lid", "brand", "size_cm"), "new": ("colour",)}
    assert arrangement(listings, SCHEMA, named, (), 2)["kitchen"] == ("brand", "colour"), (
        "nobody knows what is seen"
    )
    shown = arranged(SCHEMA, {"kitchen": ["lid", "gone", "brand"]})
    assert list(shown.categories["kitchen"].attributes) == ["lid", "brand"]
    assert shown.categories["new"] == SCHEMA.categories["new"]
    text = answer_text(Listing("", {"brand": "Acme", "lid": "cork"}), shown.categories["kitchen"])
    assert text == '{"attributes":{"lid":"cork","brand":"Acme"}}'


def test_few_titles_teach_nothing_and_the_named_attributes_are_taken(titles: Titles) -> None:
    listing = Listing("", {"colour": "red", "brand": "Acme"}, "thing")
    assert titles.compose("new", listing, 80) == "Red thing"
    few = learned(fewest=91)["kitchen"]
    assert [slot.attribute for slot in few.slots] == ["colour", None]
    unseen = observe_titles([], SCHEMA)
    everything = learn_titles(unseen, SCHEMA, (), TitlesParams(), ("colour", "brand"))["kitchen"]
    assert [slot.attribute for slot in everything.slots] == ["colour", "brand", None], (
        "nobody knows what is seen"
    )


def test_words_around_a_part_need_enough_titles_that_name_it() -> None:
    plain = [("kitchen", Listing("Red saucer", {"colour": "red"}, "mug")) for _ in range(60)]
    sets = [("kitchen", Listing("Red mug set of six", {"colour": "red"}, "mug")) for _ in range(20)]
    params = TitlesParams(fewest=40)
    for shown, after in ((19, ()), (20, ("set", "of"))):
        seen = observe_titles([*plain, *sets[:shown]], SCHEMA)
        slots = learn_titles(seen, SCHEMA, VISIBLE, params, ())["kitchen"].slots
        assert {slot.attribute: slot.after for slot in slots}[None] == after


def test_a_long_title_leaves_out_whole_attributes(titles: Titles) -> None:
    listing = Listing("", {"colour": "navy blue", "lid": "screw cap"}, "tea pot")
    found = [titles.compose("kitchen", listing, most) for most in (40, 36, 20, 5)]
    whole = "Navy blue tea pot with screw cap lid"
    assert found[:2] == [whole, whole] and found[3] == "Tea p"
    assert found[2] == "Navy blue tea pot"
    assert titles.compose("a category of many words", Listing(""), 10) == "A category"


def test_the_category_stands_for_a_type_that_is_not_said(titles: Titles) -> None:
    assert titles.compose("kitchen", Listing("", {"colour": "green", "lid": "cork"}), 80) == (
        "Green kitchen with cork lid"
    )


ANY = st.text(min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["brand", "colour", "lid", "size_cm"]), st.lists(ANY, min_size=1).map(as_value)
    ),
    st.one_of(st.sampled_from(["", "mug", "tea pot"]), ANY),
    st.sampled_from(["kitchen", "new", "unknown"]),
    st.integers(1, 60),
)
def test_every_word_of_a_composed_title_is_supported(
    titles: Titles, attributes: dict[str, Any], kind: str, category: str, most: int
) -> None:
    listing = Listing("", attributes, kind)
    title = titles.compose(category, listing, 10_000)
    said = {*cores(category), *cores(kind)}
    for value in attributes.values():
        said.update(word for text in ([value] if isinstance(value, str) else value) for word in cores(text))
    slots = titles.categories[category].slots if category in titles.categories else ()
    around = {word for slot in slots for word in (*slot.before, *slot.after)}
    assert set(cores(title)) <= said | around
    assert titles.supports(category, Listing(title, attributes, kind))
    short = titles.compose(category, listing, most)
    assert len(short) <= most and short == titles.compose(category, listing, most)


@pytest.mark.parametrize(
    ("title", "supported"),
    [
        ("Green mug with cork lid, by Acme", True),
        ("Acme: a mug", False),  # "a" is in no title
        ("Diapersalent green mug", False),
        ("Red green mug", False),  # a colour that it does not state
        ("Ruby mug", False),  # a word that stands for a colour
        ("Green tea pot", False),
    ],
)
def test_a_written_title_may_say_what_its_listing_says(titles: Titles, title: str, supported: bool) -> None:
    listing = Listing(title, {"colour": "green", "lid": "cork", "brand": "Acme"}, "mug")
    assert titles.supports("kitchen", listing) == supported
    printed = Listing(title, listing.attributes, "mug", frozenset(cores(title)))
    assert titles.supports("kitchen", printed), "and what is printed on the product"


def test_a_confidence_is_of_the_tokens_that_write_the_value_and_of_its_end() -> None:
    tokens = ['{"type":"', "mug", '","attributes":{', '"lid":"', "no", " lid", '","size":', "4", "2", "}}"]
    text = "".join(tokens)
    ends = np.cumsum([len(token) for token in tokens])
    chosen = np.log(np.linspace(0.5, 0.95, len(tokens)))
    endings = tuple(np.log(np.full(len(tokens), p)) for p in (0.8, 0.9))
    found = span_confidence(text, ends - [len(t) for t in tokens], ends, StepScores(chosen, endings))
    share = np.exp(chosen)
    assert found == pytest.approx(
        {"type": share[1] * 0.8, "lid": share[4] * share[5] * 0.8, "size": share[7] * share[8] * 0.9}
    )
    assert ending_tokens([b'"x', b"", b",", b"}}", b"a"]) == [[0], [2, 3]]


def test_each_of_several_values_counts_and_a_token_may_hold_two_things() -> None:
    tokens = ['{"attributes":{"a":["', "x", '","', 'y"', ']},"title":"z"}']
    text = "".join(tokens)
    ends = np.cumsum([len(token) for token in tokens])
    chosen = np.log([0.9, 0.5, 0.7, 0.6, 0.4])
    endings = (np.log([0.1, 0.1, 0.8, 0.1, 0.1]), np.log(np.full(5, 0.1)))
    found = span_confidence(text, ends - [len(t) for t in tokens], ends, StepScores(chosen, endings))
    assert found["a"] == pytest.approx(0.5 * 0.8 * 0.6) and found["title"] == pytest.approx(0.4)
