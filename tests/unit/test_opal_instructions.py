"""Instruction samples: every answer follows from the refined record, and what does not is found out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from components.catalog.format.schema import CatalogSchema, listing_json_schema
from components.evidence.listing import SellerListing
from components.opal.model.listing_text import Listing
from components.opal.refine.instructions import EntailedReply, Instruction, InstructionWriter, entailed
from components.opal.refine.params import InstructionParams

GRAINS = ("listing", "attribute", "attributes", "title", "visible", "not_visible")
PARAMS = InstructionParams(grains=GRAINS, most_attributes=3)
TEXT = st.text(min_size=1, max_size=12).filter(str.strip)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[CatalogSchema, SellerListing, frozenset[str]]:
    """Any schema with a record that fits it; names and values may be anything."""
    names = draw(st.lists(TEXT, max_size=6, unique=True))
    attributes: dict[str, Any] = {}
    for name in names:
        kind = draw(st.sampled_from(["enum", "string", "number"]))
        values = draw(st.lists(TEXT, min_size=1, max_size=4, unique=True)) if kind == "enum" else []
        attributes[name] = {"type": kind, "values": values}
    schema = CatalogSchema.model_validate(
        {"categories": {"c": {"product_types": ["t"], "attributes": attributes}}}
    )
    stated = {}
    for name in draw(st.lists(st.sampled_from(names), unique=True)) if names else []:
        values = attributes[name]["values"] or [draw(TEXT)]
        number = draw(st.one_of(st.integers(-999, 999), st.floats(-9, 9)))
        stated[name] = str(number) if attributes[name]["type"] == "number" else draw(st.sampled_from(values))
    title = draw(st.one_of(st.just(""), TEXT))
    visible = frozenset(draw(st.lists(st.sampled_from(names), unique=True)) if names else [])
    return schema, SellerListing("p", "train", title, "", "c", "t", stated, "g"), visible


def check(
    sample: Instruction, schema: CatalogSchema, listing: SellerListing, visible: frozenset[str]
) -> bool:
    record, reply = (
        Listing(listing.title, listing.attributes, listing.product_type),
        EntailedReply(sample.grain, sample.answer, sample.asked),
    )
    return entailed(reply, record, visible, schema.categories["c"])


@settings(max_examples=50, deadline=None)
@given(worlds(), st.integers(0, 2**31))
def test_every_sample_of_any_record_is_entailed(world: Any, seed: int) -> None:
    schema, listing, visible = world
    writer = InstructionWriter(PARAMS, schema, visible, seed)
    samples = writer.write(listing)
    assert not writer.refused
    assert all(check(sample, schema, listing, visible) for sample in samples)
    assert samples == InstructionWriter(PARAMS, schema, visible, seed).write(listing)
    grains = {sample.grain for sample in samples}
    assert ("listing" in grains) == ("title" in grains) == bool(listing.title)
    assert ("attribute" in grains) == bool(visible & set(listing.attributes))
    assert ("not_visible" in grains) == bool(set(schema.categories["c"].attributes) - visible)


@settings(max_examples=50, deadline=None)
@given(worlds())
def test_whole_listings_obey_the_json_schema_of_their_category(world: Any) -> None:
    import jsonschema

    schema, listing, visible = world
    for sample in InstructionWriter(PARAMS, schema, visible, 0).write(listing):
        if sample.grain == "listing":
            jsonschema.validate(json.loads(sample.answer), listing_json_schema(schema, "c"))


@settings(max_examples=50, deadline=None)
@given(worlds(), TEXT, st.data())
def test_an_answer_about_another_record_is_not_entailed(world: Any, lie: str, data: st.DataObject) -> None:
    schema, listing, visible = world
    assume(listing.attributes)
    name = data.draw(st.sampled_from(sorted(listing.attributes)))
    assume(lie != listing.attributes[name])
    told = InstructionWriter(PARAMS, schema, visible, 0).write(listing)
    lied = SellerListing("p", "train", listing.title, "", "c", "t", {**listing.attributes, name: lie}, "g")
    silent = {n: v for n, v in listing.attributes.items() if n != name}
    less = SellerListing("p", "train", listing.title, "", "c", "t", silent, "g")
    for sample in told:
        if sample.grain == "listing" or (sample.grain == "attributes" and name in sample.asked):
            number = schema.categories["c"].attributes[name].type == "number"
            assert number or not check(sample, schema, lied, visible)
            assert not check(sample, schema, less, visible)


KNOWN = (Listing("A cup", {"hue": "teal", "size": "5"}, "t"), {"hue"})


@pytest.mark.parametrize(
    ("grain", "answer", "asked", "follows"),
    [
        ("attribute", "teal", ("hue",), True),
        ("attribute", "ochre", ("hue",), False),
        ("attribute", "teal", ("hue", "size"), False),
        ("attributes", '{"hue":"teal","size":5}', ("hue", "size"), True),
        ("attributes", '{"hue":"teal","size":6}', ("hue", "size"), False),
        ("attributes", '{"hue":"teal"}', ("hue", "size"), False),
        ("listing", '{"title":"A cup","attributes":{"hue":"teal"}}', (), True),
        ("listing", '{"type":"t","attributes":{"hue":"teal"},"title":"A cup"}', (), True),
        ("listing", '{"type":"s","attributes":{"hue":"teal"},"title":"A cup"}', (), False),
        ("listing", '{"type":"t","attributes":{"hue":"teal"}}', (), False),
        ("listing", '{"title":"A mug","attributes":{"hue":"teal"}}', (), False),
        ("listing", '{"title":"A cup","attributes":{"weight":"1"}}', (), False),
        ("listing", '{"title":"A cup","attributes":{"hue":["teal"]}}', (), False),
        ("listing", '{"title":"A cup","attributes":{"hue":null}}', (), False),
        ("listing", "[" * 3000, (), False),
        ("title", "A cup", (), True),
        ("title", "A red cup", (), False),
        ("visible", '["hue"]', (), True),
        ("visible", '["size"]', (), False),
        ("visible", '[["hue"]]', (), False),
        ("not_visible", "not visible", ("size",), True),
        ("not_visible", "not visible", ("hue",), False),
        ("no such grain", "teal", ("hue",), False),
    ],
)
def test_only_samples_that_the_record_supports_are_entailed(
    grain: str, answer: str, asked: tuple[str, ...], follows: bool
) -> None:
    attributes = {
        "hue": {"type": "enum", "values": ["teal", "ochre"]},
        "size": {"type": "number"},
    }
    schema = CatalogSchema.model_validate(
        {"categories": {"c": {"product_types": ["t"], "attributes": attributes}}}
    )
    assert entailed(EntailedReply(grain, answer, asked), *KNOWN, schema.categories["c"]) is follows
