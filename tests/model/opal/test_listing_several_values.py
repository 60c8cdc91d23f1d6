"""Attributes with several values in listings: schema, training answers and grammar agree on every set."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from components.catalog.format.attributes import as_value
from components.catalog.format.schema import CatalogSchema, listing_json_schema
from components.opal.evaluate.listings.baselines import voted
from components.opal.evaluate.listings.macro_f1 import attribute_scores, count_values
from components.opal.evaluate.listings.measures import Target, compare, product_measures
from components.opal.model.language.tokenizer import learn_listing_tokenizer
from components.opal.model.listing_text import Listing, answer_text, parse_answer, schema_problems
from components.opal.model.preferences.pairs import faults
from components.opal.model.writing.grammar import Grammars

VALUES = ("Warm, wet", "Indoor", 'a "b"', "é\\n", "]", "x")  # in the shop's own order
SETS = {"type": "enum", "values": VALUES, "multiple": True, "max_values": 3}
SCHEMA = CatalogSchema.model_validate(
    {
        "categories": {
            "coats": {
                "product_types": ["coat"],
                "attributes": {
                    "any": {"type": "enum", "values": ["p", "q"], "multiple": True},
                    "climate": SETS,
                    "colour": {"type": "enum", "values": ["red", "blue"]},
                },
            },
            "texts": {
                "product_types": ["text"],
                "attributes": {
                    "note": {"type": "string", "multiple": True, "max_values": 2},
                    "climate": {**SETS, "required": True},
                    "size_cm": {"type": "number"},
                },
            },
        }
    }
)
COATS, TEXTS = SCHEMA.categories["coats"], SCHEMA.categories["texts"]
TRUE = Listing("Coat", {"climate": ("Indoor", "Warm, wet"), "colour": "red"})


TOKENIZER = learn_listing_tokenizer(["coat"], 300, 8)


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(SCHEMA, TOKENIZER, len(TOKENIZER), 24, require_attributes=True)


def accepts(matcher: LLMatcher, grammars: Grammars, text: str) -> bool:
    ids = grammars.tokenizer.tokenize_str(text)
    return matcher.try_consume_tokens(ids) == len(ids) and bool(matcher.is_accepting())


def subsets(values: tuple[str, ...], most: int) -> st.SearchStrategy[Any]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=most).map(as_value)


@settings(max_examples=80, deadline=None)
@example({"climate": "Warm, wet", "note": "\x7f"})
@given(
    st.fixed_dictionaries(
        {"climate": subsets(VALUES, 3)},
        optional={
            "note": st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=2).map(as_value),
            "size_cm": st.integers(0, 500).map(str),
        },
    )
)
def test_every_answer_that_is_taught_can_be_written_and_is_read_back(
    grammars: Grammars, attributes: dict[str, Any]
) -> None:
    listing = Listing("Coat", attributes)
    text = answer_text(listing, TEXTS)
    assert parse_answer(text, TEXTS) == listing
    assert not list(
        jsonschema.Draft202012Validator(listing_json_schema(SCHEMA, "texts")).iter_errors(json.loads(text))
    )
    assert accepts(grammars.matcher("texts"), grammars, text)


@pytest.mark.parametrize("seed", range(25))
def test_whatever_the_grammar_lets_through_is_a_listing_in_its_taught_form(
    grammars: Grammars, seed: int
) -> None:
    """A model that writes at random under the grammar, whose title is composed."""
    untitled = Grammars(SCHEMA, TOKENIZER, len(TOKENIZER), 24, require_attributes=True, titled=False)
    draws, matcher = np.random.default_rng(seed), untitled.matcher("coats")
    mask, ids = allocate_token_bitmask(1, grammars.vocabulary), list[int]()
    matcher.consume_tokens(start := grammars.tokenizer.tokenize_str('{"type":"coat"'))
    while len(ids) < 400:
        fill_next_token_bitmask(matcher, mask)
        allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
        token = int(draws.choice(allowed))
        if token == grammars.end:
            break
        ids.append(token)
        assert matcher.consume_token(token)
    text = grammars.tokenizer.decode_str([*start, *ids])
    listing = parse_answer(text, COATS)
    assert listing is not None and answer_text(listing, COATS) == text
    assert schema_problems(SCHEMA, "coats", listing, require=False, titled=False) == []
    whole = {**json.loads(text), "title": "Coat"}
    jsonschema.Draft202012Validator(listing_json_schema(SCHEMA, "coats")).validate(whole)


@pytest.mark.parametrize(
    "climate",
    ["[]", '["Indoor","Indoor"]', '["Indoor","Warm, wet"]', '["x","y"]', '"Indoor"', '["Indoor"', "[1]"],
)
def test_the_grammar_refuses_what_is_no_set_in_its_order(grammars: Grammars, climate: str) -> None:
    text = f'{{"attributes":{{"climate":{climate}}},"title":"Coat"}}'
    assert not accepts(grammars.matcher("texts"), grammars, text)
    four = json.dumps(VALUES[:4], ensure_ascii=False, separators=(",", ":"))
    assert not accepts(
        grammars.matcher("texts"), grammars, f'{{"attributes":{{"climate":{four}}},"title":"Coat"}}'
    )


def test_a_list_where_one_value_is_due_is_no_listing() -> None:
    assert parse_answer('{"title":"a","attributes":{"colour":["red"]}}', COATS) is None
    assert parse_answer('{"title":"a","attributes":{"climate":[]}}', COATS) is None
    assert parse_answer('{"title":"a","attributes":{"climate":[["x"]]}}', COATS) is None
    assert parse_answer('{"title":"a","attributes":{"climate":["x","x"]}}', COATS) == Listing(
        "a", {"climate": "x"}
    )


def test_measures_count_values_and_not_attributes() -> None:
    said = Listing("Coat", {"climate": ("Indoor", "x"), "colour": "red"})
    target = Target("p", "coats", TRUE)
    found = compare(SCHEMA, target, said)
    assert (found.right, found.wrong, found.missed) == (2, 1, 1)
    measures = {n: v.item() for n, v in product_measures(SCHEMA, [target], [said]).items()}
    assert measures["precision"] == measures["attribute_f1"] == pytest.approx(2 / 3)
    assert (measures["completion_rate"], measures["valid"], measures["correct"]) == (1.0, 1.0, 0.0)
    one = product_measures(SCHEMA, [target], [Listing("Coat", {"climate": "Indoor"})])
    assert (one["completion_rate"].item(), one["precision"].item()) == (pytest.approx(1 / 3), 1.0)
    scores = attribute_scores(count_values([target], [said]))
    assert scores == {"climate": 0.5, "colour": 1.0}


def test_a_neighbourhood_agrees_on_each_value_by_itself() -> None:
    near = [Listing("c", {"climate": held}) for held in (("Indoor", "x"), "Indoor", ("]", "x"))]
    assert voted(near) == Listing("c", {"climate": ("Indoor", "x")})


def test_an_answer_that_lacks_one_of_several_values_is_worse() -> None:
    for climate, fault in (("Indoor", "omits a value: climate"), (("Indoor", "x"), "contradicts: climate")):
        worse = answer_text(Listing("Coat", {**TRUE.attributes, "climate": climate}), COATS)
        assert faults(SCHEMA, "coats", TRUE, worse) == (fault,)
    assert faults(SCHEMA, "coats", TRUE, answer_text(TRUE, COATS)) == ()
