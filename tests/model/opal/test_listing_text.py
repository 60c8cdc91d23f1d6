"""Listings as text, pairs that must be worse, measures, and the order of training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.catalog.format.schema import CatalogSchema
from components.opal.evaluate.listings.baselines import nearest_rows, voted
from components.opal.evaluate.listings.macro_f1 import by_group, count_values, macro_f1, macro_f1_test
from components.opal.evaluate.listings.measures import Target, product_measures
from components.opal.model.errors import ListingDataError
from components.opal.model.language.tokenizer import learn_listing_tokenizer
from components.opal.model.listing_text import Listing, answer_text, parse_answer
from components.opal.model.listings import Lesson
from components.opal.model.params import SftParams, Taught
from components.opal.model.preferences.pairs import (
    ListingQuestion,
    PreferencePair,
    check_pairs,
    faults,
    make_pair,
    shared_out,
    swapped_listing,
)
from components.opal.model.sft.samples import Lessons, Sample
from components.opal.model.titles.grammar import CategoryTitles, Slot, Titles
from components.opal.model.writing.grammar import Grammars
from tests.model.opal.listing_shop import BLOCKS, SCHEMA, TRAINING

CATALOGUE = CatalogSchema.model_validate(SCHEMA)
SHAPES = CATALOGUE.categories["shapes"]
GOOD = Listing("Red bar", {"colour": "red", "size_cm": "10"}, "bar")


def test_an_answer_is_compact_in_the_schemas_order_with_numbers_as_numbers() -> None:
    listing = Listing("Red bar", {"size_cm": "10", "colour": "red", "brand": "Acme"}, "bar")
    text = answer_text(listing, SHAPES)
    assert text == (
        '{"type":"bar","attributes":{"brand":"Acme","colour":"red","size_cm":10},"title":"Red bar"}'
    )
    assert parse_answer(text) == listing
    assert parse_answer(answer_text(bare := Listing("", {"colour": "red"}), SHAPES)) == bare
    strange = answer_text(Listing("", {}, "spaceship"), SHAPES)
    assert strange == '{"attributes":{}}', "a type that the schema does not know is not taught"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_no_answer_breaks_the_reader(text: str) -> None:
    assert parse_answer(text) is None or isinstance(parse_answer(text), Listing)
    assert parse_answer(json.dumps({"title": text, "attributes": {}})) == Listing(text, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"title":1,"attributes":{}}',
        '{"type":1,"attributes":{}}',
        '{"attributes":{},"price":1}',
        '{"title":"a"}',
        '{"title":"a","attributes":{"b":{}}}',
        "[" * 9000,
    ],
)
def test_what_is_no_listing_is_none(text: str) -> None:
    assert parse_answer(text) is None


@pytest.mark.parametrize(
    ("rejected", "found"),
    [
        ("I am no JSON", "not a listing"),
        ('{"title":"Red bar","attributes":{"colour":"blue","size_cm":10}}', "contradicts: colour"),
        ('{"title":"Red bar","attributes":{"colour":"red"}}', "omits: size_cm"),
        ('{"type":"square","attributes":{"colour":"red","size_cm":10}}', "contradicts: product_type"),
        ('{"type":"ship","attributes":{"colour":"red","size_cm":10}}', "schema: product_type"),
        ('{"type":"bar","attributes":{"colour":"red","size_cm":10}}', "schema: title is blank"),
        ('{"title":"Red bar","attributes":{"brand":"X","colour":"red","size_cm":10}}', "unsupported: brand"),
        ('{"title":"Red bar","attributes":{"colour":"pink","size_cm":10}}', "schema: attributes.colour"),
    ],
)
def test_each_fault_is_named(rejected: str, found: str) -> None:
    assert any(fault.startswith(found) for fault in faults(CATALOGUE, "shapes", GOOD, rejected))


def test_equal_sides_make_no_pair_and_are_refused() -> None:
    same = answer_text(GOOD, SHAPES)
    asked = ListingQuestion("p1", "shapes", "?", GOOD)
    assert make_pair(CATALOGUE, asked, same, "seller") is None
    better_title = same.replace("Red bar", "A red bar")
    assert make_pair(CATALOGUE, asked, better_title, "seller") is None
    with pytest.raises(ListingDataError, match=r"equal sides: p7"):
        check_pairs([PreferencePair("p7", "shapes", "?", same, same + " ", "seller", ("x",))])
    with pytest.raises(ListingDataError, match="no preference pair"):
        check_pairs([])


def test_a_swap_changes_values_and_the_title_with_them() -> None:
    near = {"colour": "blue", "size_cm": "10", "brand": "Other"}
    swapped = swapped_listing(GOOD, near, 3, np.random.default_rng(0))
    assert swapped == Listing("Blue bar", {"colour": "blue", "size_cm": "10"}, "bar")
    assert swapped_listing(GOOD, dict(GOOD.attributes), 3, np.random.default_rng(0)) is None


def test_shares_of_a_whole_add_up_to_it() -> None:
    assert sum(shared_out(10, {"a": 1, "b": 1, "c": 1}).values()) == 10
    assert shared_out(8, {"a": 0.5, "b": 0.5, "c": 0}) == {"a": 4, "b": 4, "c": 0}


def test_what_is_taught_leaves_out_what_no_picture_shows() -> None:
    listing = Listing("Red bar by Acme", {"colour": "red", "brand": "Acme"}, "bar")
    composed, written = Titles(), Titles(kind="written")
    attributes = {"shapes": ("colour", "brand")}
    lesson = Lesson(CATALOGUE, attributes, Taught(stated="visible"), composed, 80)
    taught = lesson.of("shapes", listing, ["colour"])
    assert taught == Listing("", {"colour": "red"}, "bar"), "a title that is composed is not taught"
    by = CategoryTitles(slots=(Slot(attribute="colour"), Slot()), words=("by",))
    own = written.model_copy(update={"categories": {"shapes": by}})
    for titles, stated, title in (
        (own, "refined", "Red bar by Acme"),
        (own, "visible", "Red bar"),  # its own names a brand that it does not state
        (written, "refined", "Bar"),  # "by" is no word of the category's titles
    ):
        lesson = Lesson(CATALOGUE, attributes, Taught(stated=stated), titles, 80)
        assert lesson.of("shapes", listing, ["colour"]).title == title
    lesson = Lesson(CATALOGUE, attributes, Taught(), own, 10)
    assert lesson.of("shapes", listing, ()).title == "Red bar", "its own is too long"


LESSON = Lesson(CATALOGUE, {}, Taught(), Titles(), 80)


def sample(name: str, grain: str = "listing") -> Sample:
    return Sample(name, 0, "shapes", grain, "?", name)


def test_the_order_is_whole_epochs_and_a_function_of_the_seed() -> None:
    listings = [sample(f"p{i}") for i in range(10)]
    asked = [sample(f"q{i}", "attribute") for i in range(4)]
    training = TRAINING | {"steps": 8, "batch_size": 5}
    params = SftParams.model_validate({**BLOCKS["sft"], "seed": 3, "training": training})
    order = Lessons(listings, asked, [], LESSON).order(params)
    assert order == Lessons(listings, asked, [], LESSON).order(params)
    steps = [{s.grain for s in order[i : i + 5]} for i in range(0, 40, 5)]
    assert all(len(kinds) == 1 for kinds in steps) and sum("attribute" in kinds for kinds in steps) == 2
    whole = [s.product_id for s in order if s.grain == "listing"]
    assert sorted(whole[:10]) == sorted(s.product_id for s in listings)
    with pytest.raises(ListingDataError, match="no product"):
        Lessons([], asked, [], LESSON).order(params)


def test_epochs_bound_the_steps() -> None:
    lessons = Lessons([sample(f"p{i}") for i in range(10)], [sample("q", "attribute")], [], LESSON)
    block = {**BLOCKS["sft"], "instruction_share": 0.5, "training": TRAINING | {"steps": 50, "batch_size": 5}}
    for epochs, steps in ((None, 50), (2, 8), (2.25, 9), (100, 50), (0.01, 1)):
        params = lessons.capped(SftParams.model_validate(block | {"epochs": epochs}))
        assert params.training.steps == steps
        assert len(lessons.order(params)) == steps * 5


def test_measures_equal_those_computed_by_hand() -> None:
    truth = Listing("Red bar", {"colour": "red", "size_cm": "10", "brand": "Acme"})
    targets = [Target("a", "shapes", truth), Target("b", "shapes", truth)]
    said = [Listing("red bar", {"colour": "red", "size_cm": "12"}), None]
    counts = count_values(targets, said)
    values = product_measures(CATALOGUE, targets, said)
    assert values["valid"].tolist() == [1, 0] and values["correct"].tolist() == [0, 0]
    assert values["completion_rate"].tolist() == [pytest.approx(2 / 3), 0]
    assert values["precision"][0] == 0.5 and np.isnan(values["precision"][1])
    assert values["attribute_f1"][0] == pytest.approx(2 / (2 + 1 + 2))
    assert values["title_rouge_l"][0] == 1 and values["title_bleu"][1] == 0
    # colour: 1 right, 1 missed -> 2/3; size and brand: 0
    assert macro_f1(counts, np.ones((1, 2)))[0] == pytest.approx(2 / 9)
    assert by_group(counts, ["g", "g"]).right.sum() == 1


def test_a_macro_f1_test_finds_a_real_difference_and_none_where_there_is_none() -> None:
    truth = [Target(str(i), "shapes", Listing("x", {"colour": "red"})) for i in range(60)]
    right, wrong = Listing("x", {"colour": "red"}), Listing("x", {"colour": "blue"})
    good = count_values(truth, [right if i % 4 else wrong for i in range(60)])
    bad = count_values(truth, [right if i % 2 else wrong for i in range(60)])
    found = macro_f1_test([good], [bad], 1, 500)
    assert found.difference == pytest.approx(0.25) and found.low > 0
    same = macro_f1_test([good], [good], 1, 500)
    assert same.difference == 0 and same.p == 1
    seeds = macro_f1_test([good, bad], [bad, bad], 1, 500)
    assert seeds.difference == pytest.approx(0.125) and seeds.low > 0


def test_neighbours_stay_in_their_category_and_vote() -> None:
    vectors = np.eye(4, dtype=np.float32)
    found = nearest_rows(vectors[:1], ["a"], vectors, ["b", "a", "a", "b"], 3)
    assert sorted(found[0]) == [1, 2]
    votes = [
        Listing("near", {"c": "red"}),
        Listing("x", {"c": "blue", "d": "1"}),
        Listing("y", {"c": "blue"}),
    ]
    assert voted(votes) == Listing("near", {"c": "blue"})
    assert voted([]) is None


def test_what_the_seller_left_empty_is_not_invented_where_nobody_else_knows() -> None:
    seller, said = Listing("Mug", {"colour": "red"}), Listing("Mug", {"colour": "red", "material": "clay"})
    schema = CatalogSchema.model_validate({"categories": {"c": {"product_types": ["mug"]}}})
    for complete, invented in ((True, 0.5), (False, 0.0)):
        target = Target("a", "c", seller, complete)
        assert product_measures(schema, [target], [said])["hallucination_rate"].tolist() == [invented]
        assert count_values([target], [said]).wrong.sum() == int(complete)


@pytest.mark.parametrize("piece", ["\N{GRINNING FACE}" * 256, "x" * 5000, '":{' * 2000])
def test_no_text_teaches_a_token_that_decoding_under_a_grammar_cannot_hold(piece: str) -> None:
    text = json.dumps({"title": piece, "attributes": {}}, ensure_ascii=False)
    tokenizer = learn_listing_tokenizer([text] * 50, 1000, 256)
    assert 100 < max(map(len, tokenizer.get_vocab())) <= 200
    assert tokenizer.decode(tokenizer.encode(text)) == text
    schema = CatalogSchema.model_validate({"categories": {"mugs": {"product_types": ["mug"]}}})
    Grammars(schema, tokenizer, len(tokenizer), 80, False).matcher("mugs")
