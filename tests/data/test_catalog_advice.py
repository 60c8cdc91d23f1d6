"""What an import says before anything is trained: narrow budgets, small shapes, names that nothing has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.catalog.source.__main__ import main
from components.parameters.blocks import unknown_in_workspace
from tests.data.test_catalog_importer import folder_of, item, mapping_of, source_of


def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, rows: list[dict[str, Any]], **mapping: Any
) -> str:
    """The warnings of an import into a workspace that asks for colour, pattern and 10 products."""
    root = folder_of(tmp_path / "s", rows)
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(mapping_of(**mapping)))
    expected = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "attributes.material"}}
    parameters = {
        "catalog": {"max_attributes": 3, "enum_max_values": 4, "noise": None},
        "quality": {"min_products": 10, "expectations": {"products": [expected]}},
        "listing": {"taught": {"title_attributes": ["colour", "Patern"]}},
    }
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(parameters))
    assert main(["--source", str(root), "--mapping", "m.yaml", "--into", "into"]) == 0
    return capsys.readouterr().err


def test_a_small_catalogue_and_its_smallest_categories_are_named(tmp_path, monkeypatch, capsys):
    rows = [item(n, path=["Home" if n < 4 else "Garden", "Lamp"]) for n in range(6)]
    text = said(tmp_path, monkeypatch, capsys, rows)
    assert "6 products are fewer than the 10 that the gate asks for (quality.min_products)" in text
    assert "2 of 2 categories have fewer than 20 products" in text
    assert "Garden (2), Home (4)" in text


def test_hundreds_of_names_and_thousands_of_values_are_counted_and_said(tmp_path, monkeypatch, capsys):
    common = {"colour": "red", "pattern": "dots", "size": "S"}
    specs = [{**common, "code": f"{n}x", f"x{n}": "1"} for n in range(12)]
    rows = [item(n, photo="1.jpg", specs=found) for n, found in enumerate(specs)]
    text = said(tmp_path, monkeypatch, capsys, rows, attributes=["specs.*"])
    assert "category 'Home' has 16 attributes: the 3 that most of its products state are kept" in text
    assert "13 are left out of its products: size, x0, x1, x10, x11 and 8 more." in text
    assert "1 attribute has more than 4 values in a category" in text
    assert "code." in text.split("free text there")[1].splitlines()[0]
    with source_of(tmp_path / "s", mapping_of(attributes=["specs.*"]), max_attributes=3) as source:
        schema, products = source.schema(), [product for product, _ in source.products()]
    assert set(schema.categories["Home"].attributes) == {"code", "colour", "pattern"}
    assert all(set(p.attributes) == {"code", "colour", "pattern"} for p in products)


def test_a_wide_schema_of_ones_own_is_kept_and_said(tmp_path, monkeypatch, capsys):
    wide = {name: {"type": "string"} for name in ("colour", "material", "pattern", "size")}
    folder_of(tmp_path / "s", [])
    own = {"categories": {"Home": {"product_types": ["Lamp"], "attributes": wide}}}
    (tmp_path / "s/own.json").write_text(json.dumps(own))
    text = said(tmp_path, monkeypatch, capsys, [item(n) for n in range(3)], schema="own.json")
    assert "your schema gives category 'Home' 4 attributes, more than 3" in text
    assert "'material'" not in text and "title_attributes names the attribute 'Patern'" in text


def test_names_that_no_product_has_are_told_with_the_nearest(tmp_path, monkeypatch, capsys):
    rows = [item(n, specs={"colour": "red", "Pattern": "dots"}) for n in range(3)]
    text = said(tmp_path, monkeypatch, capsys, rows, attributes=["specs.*"])
    assert (
        "listing.taught.title_attributes names the attribute 'Patern', which the catalogue has not; "
        "did you mean 'Pattern'?" in text
    )
    assert "quality.expectations.products.0.kwargs.column names the attribute 'material'" in text
    assert "it has Pattern, colour." in text
    assert unknown_in_workspace(tmp_path) == []  # there is no checked catalogue yet
    (tmp_path / "data/checked").mkdir(parents=True)
    schema = {
        "categories": {"Home": {"product_types": ["Lamp"], "attributes": {"colour": {}, "material": {}}}}
    }
    (tmp_path / "data/checked/schema.json").write_text(json.dumps(schema))
    (told,) = unknown_in_workspace(tmp_path)
    assert "'Patern'" in told
