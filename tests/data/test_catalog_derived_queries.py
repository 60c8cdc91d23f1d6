"""Queries made from attributes: one per combination and split, judged by comparing tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.catalog.build.params import CatalogParams
from components.catalog.source.derived_queries import TableDescription, derived_queries
from components.catalog.source.importer import FileSource
from components.catalog.source.mapping import DerivedQueries, parse_mapping
from components.stage.errors import ConfigurationError
from tests.data.test_catalog_build import MAPPING, PARAMS, workspace
from tests.data.test_catalog_importer import folder_of, item, mapping_of, source_of

RULE = DerivedQueries(templates=("{colour} {product_type} for {sex}",), kind="attributes")


def described(
    product_id: str, colour: str, sex: str, split: str = "train", kind: str = "Boot"
) -> TableDescription:
    return TableDescription(
        product_id, split, kind, {"colour": colour, "sex": sex} if sex else {"colour": colour}
    )


def test_every_combination_of_a_split_is_asked_and_judged_there() -> None:
    shop = [
        described("a", "Red", "Men"),
        described("b", "Red", "Women"),
        described("c", "Blue", "Women"),
        described("d", "Red", ""),
        described("e", "Red", "Men", split="test"),
        described("f", "Red", "Men", kind="Clog"),
    ]
    found = {
        (q.split, q.text): {j.product_id: j.relevance for j in js} for q, js in derived_queries(shop, RULE)
    }
    assert found == {
        ("test", "red boot for men"): {"e": 3},
        ("train", "blue boot for women"): {"c": 3, "b": 1},
        ("train", "red boot for men"): {"a": 3, "b": 1, "d": 1},
        ("train", "red boot for women"): {"b": 3, "a": 1, "c": 1, "d": 1},
        ("train", "red clog for men"): {"f": 3},
    }
    ids = [q.query_id for q, _ in derived_queries(shop, RULE)]
    assert len(set(ids)) == len(ids) and {q.kind for q, _ in derived_queries(shop, RULE)} == {"attributes"}


def test_a_product_answers_by_any_of_its_values() -> None:
    rule = DerivedQueries(templates=("{colour} {product_type} for {sex}",))
    shop = [
        TableDescription("a", "train", "boot", {"colour": ("Blue", "Red"), "sex": "Men"}),
        TableDescription("b", "train", "boot", {"colour": "red", "sex": ("Men", "Women")}),
    ]
    found = {q.text: {j.product_id: j.relevance for j in js} for q, js in derived_queries(shop, rule)}
    assert found == {
        "blue boot for men": {"a": 3, "b": 1},
        "red boot for men": {"a": 3, "b": 3},
        "red boot for women": {"a": 1, "b": 3},
    }


def test_capitals_make_no_other_query() -> None:
    rule = DerivedQueries(templates=("{colour} {product_type}",))
    shop = [described("a", "navy", ""), described("b", "Navy", "", kind="BOOT"), described("c", "Red", "")]
    found = {q.text: {j.product_id: j.relevance for j in js} for q, js in derived_queries(shop, rule)}
    assert found == {"navy boot": {"a": 3, "b": 3}, "red boot": {"c": 3}}


def test_one_asked_attribute_has_no_near_miss() -> None:
    rule = DerivedQueries(templates=("{colour} {product_type}",), splits=("train",))
    shop = [described("a", "Red", "Men"), described("b", "Blue", "Men"), described("c", "Red", "Men", "test")]
    assert [[j.product_id for j in judged] for _, judged in derived_queries(shop, rule)] == [["b"], ["a"]]


def test_a_source_without_queries_gets_them_for_every_split(tmp_path: Path) -> None:
    root = workspace(tmp_path)
    rule = {"templates": ["{colour} {product_type}"]}
    mapping = parse_mapping({**MAPPING, "derive_queries": rule}, "here")
    params = CatalogParams.model_validate(PARAMS)
    with FileSource(root / "data/source/files", mapping, params, tmp_path / "work") as source:
        queries, qrels = (list(rows) for rows in source.queries())
        split = {p.product_id: p.split for p, _ in source.products()}
    assert {q.split for q in queries} == {"train", "validation", "test"}
    asked = {q.query_id: q.split for q in queries}
    assert qrels and all(split[j.product_id] == asked[j.query_id] for j in qrels)
    assert [q.query_id for q in queries] == sorted(asked)


def test_no_query_is_made_of_a_product_whose_picture_is_missing(tmp_path: Path) -> None:
    rows = [item(0), item(1), item(2, photo="gone.jpg", specs={"colour": "green"})]
    rule = mapping_of(derive_queries={"templates": ["{colour} {product_type}"]})
    with source_of(folder_of(tmp_path / "shop", rows), rule) as source:
        queries, qrels = (list(found) for found in source.queries())
    assert {query.text for query in queries} == {"red lamp", "blue lamp"}
    assert {judged.product_id for judged in qrels} == {"s000", "s001"}


@pytest.mark.parametrize(
    ("templates", "said"),
    [
        (["{colour} things"], "product_type"),
        (["{hue} {product_type}"], "hue"),
        (["{} {product_type}"], "no name"),
        (["{colour {product_type}"], "template"),
    ],
)
def test_a_template_that_asks_for_nothing_known_is_refused(templates: list[str], said: str) -> None:
    values: dict[str, Any] = {**MAPPING, "derive_queries": {"templates": templates}}
    with pytest.raises(ConfigurationError, match=said):
        parse_mapping(values, "here")


def test_the_worked_example_maps_its_own_attributes() -> None:
    path = Path(__file__).parents[2] / "conf/mappings/fashion.yaml"
    mapping = parse_mapping(yaml.safe_load(path.read_text()), str(path))
    assert mapping.derive_queries and mapping.derive_queries.attributes() <= set(mapping.attributes)
