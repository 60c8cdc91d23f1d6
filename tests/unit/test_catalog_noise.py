"""The seller-noise model: every change is named, nothing unnamed changes, held-back kinds stay in test."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.catalog.format.attributes import each
from components.catalog.format.records import SPLITS, Product, Split
from components.catalog.format.schema import Attribute, CatalogSchema, Category
from components.catalog.noise.params import NoiseParams
from components.catalog.noise.seller_text import KINDS, SellerNoise
from components.stage.errors import ConfigurationError
from tests.product_problems import product_problems

SCHEMA = CatalogSchema(
    categories={
        "Shoes": Category(
            product_types=("boot", "pump", "clog"),
            attributes={
                "colour": Attribute(type="enum", values=("red", "blue", "green"), required=True),
                "only": Attribute(type="enum", values=("one",)),
                "note": Attribute(type="string"),
                "size": Attribute(type="number"),
            },
        )
    }
)
PROBABILITIES = [name for name in NoiseParams.model_fields if name != "test_only"]
TEST_ONLY = ("misspelling.neighbour_key", "boilerplate.disclaimer", "shouting")


def params(test_only: tuple[str, ...] = (), **given: float) -> NoiseParams:
    return NoiseParams(**{**dict.fromkeys(PROBABILITIES, 0.0), **given, "test_only": test_only})


def product(number: int, split: Split = "train") -> Product:
    return Product(
        product_id=f"p{number:04d}",
        image=b"i",
        title="Striped leather boot in red, large",
        description="A sturdy boot with rounded toes.",
        category="Shoes",
        product_type="boot",
        attributes={"colour": "red", "only": "one", "note": "waterproof lining", "size": "40"},
        group_id=f"g{number}",
        split=split,
    )


ALL = params(**dict.fromkeys(PROBABILITIES, 0.5))


def changed_fields(before: Product, after: Product) -> set[str]:
    texts = {field for field in ("title", "description") if getattr(before, field) != getattr(after, field)}
    names = {n for n in before.attributes if before.attributes[n] != after.attributes.get(n)}
    return texts | {f"attributes.{name}" for name in names | (set(after.attributes) - set(before.attributes))}


@pytest.mark.parametrize("number", range(0, 200, 7))
def test_acts_name_every_changed_field_and_the_listing_stays_legal(number: int) -> None:
    clean = product(number, SPLITS[number % 3])
    listed, acts = SellerNoise(ALL, SCHEMA, seed=1).apply(clean)
    assert changed_fields(clean, listed) <= {act.field for act in acts}
    assert {act.kind for act in acts} <= set(KINDS)
    assert product_problems(SCHEMA, listed) == []
    assert listed.title or listed.description
    untouched = {"product_id", "image", "category", "product_type", "group_id", "split"}
    assert listed.model_dump(include=untouched) == clean.model_dump(include=untouched)


def test_without_probability_there_is_no_noise() -> None:
    noise = SellerNoise(params(), SCHEMA, seed=1)
    assert all(noise.apply(product(n)) == (product(n), ()) for n in range(50))


def test_same_seed_same_listing_and_other_seed_another() -> None:
    def listings(seed: int) -> list[Product]:
        noise = SellerNoise(ALL, SCHEMA, seed)
        return [noise.apply(product(n))[0] for n in reversed(range(40))]

    assert listings(1) == listings(1)
    assert listings(1) != listings(2)


@pytest.mark.parametrize("family", PROBABILITIES)
def test_each_probability_gives_its_own_kind_at_its_own_rate(family: str) -> None:
    noise = SellerNoise(params(**{family: 0.3}), SCHEMA, seed=3)
    acts = [act for n in range(400) for act in noise.apply(product(n))[1]]
    assert {act.kind.split(".")[0] for act in acts} == {family}
    slots = {"attribute_dropped": 4, "attribute_wrong": 1, "attribute_free_form": 4}.get(family, 1)
    happened = sum(act.field.startswith("attributes") for act in acts) if slots > 1 else len(acts)
    assert 0.2 * 400 * slots < happened < 0.4 * 400 * slots


def test_held_back_kinds_occur_in_the_test_split_only() -> None:
    noise = SellerNoise(params(TEST_ONLY, **dict.fromkeys(PROBABILITIES, 0.5)), SCHEMA, seed=5)
    seen: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    for n in range(300):
        split = SPLITS[n % 3]
        seen[split].update(act.kind for act in noise.apply(product(n, split))[1])
    assert all(seen["test"][kind] for kind in TEST_ONLY)
    assert not any(seen[split][kind] for kind in TEST_ONLY for split in ("train", "validation"))
    assert seen["train"]["misspelling.swapped"]


def test_unknown_held_back_kind_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="loudness"):
        SellerNoise(params(("loudness",)), SCHEMA, seed=1)


def test_wrong_value_is_another_value_of_the_same_attribute() -> None:
    noise = SellerNoise(params(attribute_wrong=1.0), SCHEMA, seed=1)
    listed = {noise.apply(product(n))[0].attributes["colour"] for n in range(60)}
    assert listed == {"blue", "green"}


def test_free_form_leaves_closed_lists_to_the_text() -> None:
    listed, _ = SellerNoise(params(attribute_free_form=1.0), SCHEMA, seed=1).apply(product(1))
    assert set(listed.attributes) == {"note"}
    assert listed.attributes["note"] != "waterproof lining"
    assert "colour" in listed.description


@settings(max_examples=80, deadline=None)
@given(title=st.text(max_size=60), description=st.text(max_size=60), value=st.text(min_size=1, max_size=12))
def test_any_text_survives_and_foreign_attributes_too(title: str, description: str, value: str) -> None:
    given = product(1).model_copy(
        update={
            "title": title,
            "description": description,
            "attributes": {"foreign": value},
            "category": "Other",
        }
    )
    listed, acts = SellerNoise(ALL, SCHEMA, seed=2).apply(given)
    assert changed_fields(given, listed) <= {act.field for act in acts}


def test_words_of_a_value_leave_the_title_and_those_of_the_type_stay() -> None:
    told = product(1).model_copy(update={"title": "Men's Red Boot, red", "attributes": {"colour": "red"}})
    for_men = told.model_copy(update={"attributes": {"colour": "red", "for": "Men", "use": "boot walks"}})
    noise = SellerNoise(params(title_value_missing=1.0), SCHEMA, 1)
    assert noise.apply(told)[0].title == "Men's Boot,"
    listed, acts = noise.apply(for_men)
    assert listed.title == "Boot," and listed.attributes == for_men.attributes
    assert [(a.field, a.detail) for a in acts] == [("title", "Red red"), ("title", "Men's")]
    only = told.model_copy(update={"title": "red"})
    assert noise.apply(only) == (only, ())  # a title is never emptied


def test_each_of_several_values_is_an_act_of_its_own() -> None:
    sets = Attribute(type="enum", values=("a", "b", "c", "d"), multiple=True)
    schema = CatalogSchema(categories={"Shoes": Category(product_types=("boot",), attributes={"use": sets})})
    noise = SellerNoise(params(attribute_dropped=0.4, attribute_wrong=0.4), schema, seed=2)
    seen: Counter[str] = Counter()
    for n in range(100):
        clean = product(n).model_copy(update={"attributes": {"use": ("a", "b")}})
        listed, acts = noise.apply(clean)
        assert product_problems(schema, listed) == []
        held, details = set(each(listed.attributes.get("use"))), [act.detail for act in acts]
        for value in ("a", "b"):
            assert (value in held) == (not any(d.split(" ")[0] == value for d in details))
        seen.update(act.kind for act in acts)
    assert seen["attribute_dropped"] > 50 and seen["attribute_wrong"] > 30
