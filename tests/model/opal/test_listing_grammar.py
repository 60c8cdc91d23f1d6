"""Schema, training answers and grammar agree: what the schema accepts can be written, and is read back."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from components.catalog.format.attributes import as_value, each
from components.catalog.format.schema import CatalogSchema, attribute_problem, listing_json_schema
from components.opal.model.language.tokenizer import learn_listing_tokenizer
from components.opal.model.listing_text import DECIMALS, LARGEST, Listing, answer_text, parse_answer, writable
from components.opal.model.writing.grammar import Grammars
from components.opal.model.writing.number_pattern import number_pattern

CHARS = 24  # of a text
TOKENIZER = learn_listing_tokenizer(["a mug"], 300, 8)
TEXT = st.text(min_size=1, max_size=CHARS + 2)
NUMBERS = st.one_of(
    st.integers(-(10**16), 10**16).map(str),
    st.decimals(-(10**7), 10**7, places=3).map(str),
    st.decimals(-1, 1, places=DECIMALS + 1).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
)


def accepts(schema: CatalogSchema, text: str) -> bool:
    grammars = Grammars(schema, TOKENIZER, len(TOKENIZER), CHARS, require_attributes=True)
    matcher = grammars.matcher("c")
    assert not matcher.is_error()
    ids = grammars.tokenizer.tokenize_str(text)
    return matcher.try_consume_tokens(ids) == len(ids) and bool(matcher.is_accepting())


@st.composite
def worlds(draw: st.DrawFn) -> tuple[CatalogSchema, dict[str, Any]]:
    """Any schema of one category, and attributes that it accepts."""
    attributes: dict[str, Any] = {}
    stated: dict[str, Any] = {}
    for name in draw(st.lists(TEXT.filter(str.strip), min_size=1, max_size=3, unique=True)):
        kind = draw(st.sampled_from(["enum", "string", "number", "number"]))
        made: dict[str, Any] = {"type": kind}
        if kind == "number":
            said = draw(NUMBERS)
            if draw(st.booleans()):  # bounds from the data: the value may be one of them
                other = float(draw(NUMBERS))
                made |= {"minimum": min(float(said), other), "maximum": max(float(said), other)}
        elif kind == "enum":
            made["values"] = draw(st.lists(TEXT.filter(str.strip), min_size=1, max_size=4, unique=True))
            said = draw(st.sampled_from(made["values"]))
        else:
            said = draw(TEXT)
        if kind != "number" and draw(st.booleans()):
            made |= {"multiple": True, "max_values": 2}
            also = draw(st.sampled_from(made["values"]) if kind == "enum" else TEXT)
            said = as_value([said, also])
        attributes[name], stated[name] = made, said
    category = {"product_types": draw(st.lists(TEXT.filter(str.strip), min_size=1, max_size=3, unique=True))}
    schema = CatalogSchema.model_validate({"categories": {"c": {**category, "attributes": attributes}}})
    known = schema.categories["c"].attributes
    assume(all(not attribute_problem(known[name], value) for name, value in stated.items()))
    return schema, stated


def same(value: Any, other: Any) -> bool:
    try:
        return bool(value == other or float(value) == float(other))
    except (TypeError, ValueError):
        return False


@settings(max_examples=100, deadline=None)
@given(worlds(), st.sampled_from(["", "A mug", "\x7f\x00 \\u"]))
def test_what_the_schema_accepts_is_accepted_by_the_grammar_and_read_back(world: Any, title: str) -> None:
    schema, stated = world
    category = schema.categories["c"]
    kept = {n: v for n, v in stated.items() if writable(category.attributes[n], v, CHARS)}
    for name in set(stated) - set(kept):
        kind = category.attributes[name].type
        long = kind == "string" and any(len(text) > CHARS for text in each(stated[name]))
        assert long or (kind == "number" and not _fits(float(stated[name]))), "only these are not writable"
    listing = Listing(title, kept, category.product_types[-1])
    text = answer_text(listing, category)
    read = parse_answer(text, category)
    assert read is not None and (read.title, read.product_type) == (listing.title, listing.product_type)
    assert read.attributes.keys() == kept.keys()
    assert all(same(read.attributes[name], value) for name, value in kept.items())
    wanted = listing_json_schema(schema, "c")
    wanted["properties"]["attributes"]["required"] = []
    jsonschema.Draft202012Validator(wanted).validate({"title": "a", **json.loads(text)})
    titled = Grammars(schema, TOKENIZER, len(TOKENIZER), CHARS, False, titled=bool(title))
    matcher = titled.matcher("c")
    ids = titled.tokenizer.tokenize_str(text)
    assert matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting(), text


def _fits(number: float) -> bool:
    """Whether a number has few enough digits, said in another way."""
    decimals = f"{Decimal(repr(number)).normalize():f}".partition(".")[2]
    return abs(number) <= LARGEST and len(decimals) <= DECIMALS


def one_number(**bounds: float) -> CatalogSchema:
    attributes = {"x": {"type": "number", "required": True, **bounds}}
    return CatalogSchema.model_validate(
        {"categories": {"c": {"product_types": ["t"], "attributes": attributes}}}
    )


@pytest.mark.parametrize(
    "number", ["-4", "-0.5", "0.125", "0.000001", "12000000", "1234567.891", "999999999999999", "0"]
)
@pytest.mark.parametrize("bounds", [{}, {"minimum": -1e6, "maximum": 1e15}])
def test_negative_long_and_large_numbers_are_written_in_digits(number: str, bounds: dict[str, float]) -> None:
    schema = one_number(**bounds)
    text = answer_text(Listing("a", {"x": number}, "t"), schema.categories["c"])
    assert text == f'{{"type":"t","attributes":{{"x":{number}}},"title":"a"}}' and accepts(schema, text)
    assert parse_answer(text, schema.categories["c"]) == Listing("a", {"x": number}, "t")


@pytest.mark.parametrize(
    ("written", "bounds"),
    [
        ("1e5", {}),
        ("1E+5", {"minimum": 0}),
        ("0.0000001", {}),
        ("9999999999999999", {}),
        ("007", {}),
        ("12", {"maximum": 10}),
        ("-1", {"minimum": 0}),
        ('"12"', {}),
    ],
)
def test_no_other_number_is_written(written: str, bounds: dict[str, float]) -> None:
    text = f'{{"type":"t","attributes":{{"x":{written}}},"title":"a"}}'
    assert not accepts(one_number(**bounds), text)


WITHIN = st.decimals(-1000, 1000, places=3)


@settings(max_examples=150, deadline=None)
@given(st.tuples(WITHIN, WITHIN).map(sorted), st.integers(0, 3), st.lists(WITHIN, min_size=5, max_size=5))
def test_a_pattern_of_numbers_holds_those_within_its_bounds(
    bounds: list[Decimal], decimals: int, drawn: list[Decimal]
) -> None:
    low, high = bounds
    pattern = number_pattern(low, high, decimals)
    for number in (*bounds, *drawn, Decimal(round(low)), Decimal(0)):
        text = format(number.normalize() + 0, "f")
        digits = len(text.partition(".")[2])
        wanted = low <= number <= high and digits <= decimals
        assert bool(pattern and re.fullmatch(pattern, text)) == wanted, text
    assert not any(pattern and re.fullmatch(pattern, odd) for odd in ("007", "1.50", "-0", "1.", ".5", "1e3"))
