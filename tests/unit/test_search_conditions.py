"""What ``--where`` asks for: values and ranges, numbers as numbers, and a sentence where nothing fits."""

from __future__ import annotations

from unicodedata import normalize

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.catalog.format.records import PAIRS
from components.encoder.search.conditions import Condition, conditions, fulfilling
from components.retrieval.errors import FilterError

WORD = st.text(st.characters(exclude_characters="<>=", exclude_categories=("Z", "C")), min_size=1)
LISTED = [
    {"colour": "Navy", "price_eur": "9.50", "capacity_ml": "500", "length": "185 cm", "size": "M"},
    {"colour": "red", "price_eur": "49.99", "capacity_ml": "1500", "length": "1.2 m", "size": "42"},
    {"colour": "navy", "price_eur": "1299.00", "length": "70", "size": "43.0"},
    {"colour": "cafe\u0301", "width_cm": "5", "width_mm": "70"},
    None,
]


def products() -> pa.Table:
    count = len(LISTED)
    attributes = [
        None if one is None else [{"name": name, "value": value} for name, value in one.items()]
        for one in LISTED
    ]
    return pa.table(
        {
            "category": ["home"] * count,
            "product_type": ["mug", "mug", "Teapot", "mug", "mug"],
            "split": ["train"] * count,
            "group_id": [f"g{place}" for place in range(count)],
            "attributes": pa.array(attributes, PAIRS),
        }
    )


def found(*asked: str) -> list[int]:
    return [place for place, fits in enumerate(fulfilling(products(), conditions(asked))) if fits]


@settings(deadline=None)
@given(WORD, st.sampled_from(["=", "<", "<=", ">", ">="]), WORD)
def test_name_sign_and_value_come_back(name: str, sign: str, value: str) -> None:
    asked = conditions([f" {name} {sign} {value} "])
    assert asked == (Condition(normalize("NFC", name), sign, normalize("NFC", value)),)


def test_a_value_may_hold_signs() -> None:
    assert conditions(["size=a=b", "age=<5"]) == (Condition("size", "=", "a=b"), Condition("age", "=", "<5"))


@pytest.mark.parametrize("asked", ["colour", "=red", "colour=", "  =  ", "", "<5", "price<"])
def test_a_wrong_condition_is_refused_with_an_example(asked: str) -> None:
    with pytest.raises(FilterError, match="colour=red, or price<50, not"):
        conditions([asked])


@pytest.mark.parametrize(
    ("asked", "places"),
    [
        (["colour=navy"], [0, 2]),  # whatever its capitals
        (["Colour=NAVY", "price<50"], [0]),  # all must hold; the attribute is called price_eur
        (["price>=49.99"], [1, 2]),
        (["price>9.5"], [1, 2]),
        (["price<=9,50 €"], [0]),
        (["price>1.000,00 EUR"], [2]),
        (["price>10", "price<100"], [1]),  # a range
        (["capacity_ml<1 l"], [0]),
        (["capacity=0.5 l"], [0]),
        (["length>1.5 m"], [0]),  # 70 has no unit: nobody knows
        (["length=1850 mm"], [0]),
        (["size>42"], [2]),  # M is no number
        (["size=43"], [2]),
        (["colour=caf\u00e9"], [3]),  # in any form of Unicode
        (["product_type=teapot", "group_id=g2"], [2]),
        (["price<1"], []),
    ],
    ids=str,
)
def test_products_are_found_by_values_and_ranges(asked: list[str], places: list[int]) -> None:
    assert found(*asked) == places


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("color=navy", "No product has a field 'color'; did you mean 'colour'"),
        ("width<5", "'width' may be 'width_cm' or 'width_mm'; say which"),
        ("weight<5", "No product has a field 'weight' .known: category, "),
        ("colour=navi", "No product has colour 'navi'; did you mean '[nN]avy'"),
        ("price<cheap", "'cheap' is no single price"),
        ("price<50 USD", "'50 USD' is not in EUR"),
        ("size<huge", "'huge' is no number to compare size with"),
        ("colour<5", "no colour is a number of that kind; they are such as 'Navy', 'red'"),
        ("length<5 kg", "no length is a number of that kind"),
        ("capacity_ml<5 kg", "'5 kg' is no number to compare capacity_ml with"),
    ],
)
def test_what_no_product_can_fulfil_is_told(asked: str, told: str) -> None:
    with pytest.raises(FilterError, match=told):
        found(asked)
