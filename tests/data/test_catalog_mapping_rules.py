"""Rows that are no products, joined tables, lists, and ids and file names made of fields."""

from __future__ import annotations

import base64
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.catalog.format.errors import MappingError, SourceError
from components.catalog.format.schema import Attribute
from components.catalog.source.manifest import import_source
from components.catalog.source.mapping import mapping_values, parse_mapping
from components.catalog.source.observed_schema import ObservedSchema
from components.catalog.source.params import SourceParams
from components.catalog.source.summary import Summary
from components.catalog.source.values.paths import look_up, own_name
from components.stage.errors import ConfigurationError
from tests.data.test_catalog_importer import (
    folder_of,
    item,
    jpeg,
    mapping_of,
    products_of,
    rejects_of,
    source_of,
)

SHOPIFY = {
    "products": "items.csv",
    "fields": {
        "product_id": "Handle",
        "title": "Title",
        "category": {"constant": "All"},
        "product_type": "Type",
    },
    "image": {"path": "Image Src", "folder": "images"},
    "attributes": {"size": {"field": "Option1 Value", "take": "join"}, "colour": "Colour"},
    "continues": "Title",
}
SHOPIFY_ROWS = """Handle,Title,Type,Option1 Value,Colour,Image Src
shirt,Shirt,Shirts,S,red,https://cdn.example/a/7.jpg?v=1
shirt,,,M,blue,https://cdn.example/a/1.jpg?v=1
shirt,,,L,,
mug,Mug,Mugs,,white,2.jpg
lamp,,,,,3.jpg
hat,Hat,,,,4.jpg
"""


def imported(root: Path, values: dict[str, Any]) -> Summary:
    return import_source(root, parse_mapping(values, "m"), root.parent / "into", link=False)


def csv_folder(root: Path, text: str, images: int = 5) -> Path:
    folder_of(root, [], images)
    (root / "items.csv").write_text(text, encoding="utf-8")
    return root


def test_rows_without_a_title_belong_to_the_product_above(tmp_path: Path) -> None:
    root = csv_folder(tmp_path / "s", SHOPIFY_ROWS)
    mug, shirt = products_of(root, SHOPIFY)
    # The first picture of the shirt is not there, its second came in a row of its own.
    assert (shirt.image_path, shirt.attributes) == (
        "images/1.jpg",
        {"size": "S, M, L", "colour": ("blue", "red")},
    )
    assert mug.attributes == {"colour": "white"}
    assert rejects_of(root.rename(tmp_path / "t"), SHOPIFY) == [
        ("", 5, "row", "Title is empty, and Handle is not that of the product above"),
        ("hat", 6, "product_type", "Type is missing or empty"),
    ]


def test_every_row_is_a_product_a_reject_or_told_as_left_out(tmp_path: Path) -> None:
    found = imported(csv_folder(tmp_path / "s", SHOPIFY_ROWS), SHOPIFY)
    assert (found.rows, found.products, found.failed, found.left_out.total()) == (6, 2, 2, 2)
    said = "\n".join(found.warnings())
    assert "2 rows left out, as no product of its own: it continues the product above." in said
    assert "attributes.size has several values in 1 products, such as S, M, L: joined into one text" in said
    assert "attributes.colour" not in said
    assert "1 more pictures are left aside" in said
    assert "row in 1 row: items.csv row 5: Title is empty" in said


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(*map(st.sampled_from, (["", "a", "b"], ["", "T"], ["", "K"], ["", "1.jpg", "x.jpg"]))),
        max_size=8,
    ),
    st.sampled_from([{}, {"skip_where_empty": "Type"}]),
)
def test_whatever_rows_come_each_of_them_is_counted_once(
    rows: list[tuple[str, ...]], more: dict[str, str]
) -> None:
    first = "start,Start,Kind,S,,2.jpg"  # one product, so that the source is none without any
    lines = [f"{handle},{title},{kind},M,,{photo}" for handle, title, kind, photo in rows]
    with TemporaryDirectory() as folder:
        root = csv_folder(
            Path(folder) / "s", "\n".join([SHOPIFY_ROWS.split("\n")[0], first, *lines]) + "\n", 3
        )
        found = imported(root, SHOPIFY | more)
        assert found.rows == len(rows) + 1
        assert found.products + found.failed + found.left_out.total() == found.rows
        assert len(products_of(root, SHOPIFY | more)) == found.products


def test_rows_where_a_field_is_empty_can_be_left_out(tmp_path: Path) -> None:
    values = {**SHOPIFY, "skip_where_empty": "Type"}
    del values["continues"]
    root = csv_folder(tmp_path / "s", SHOPIFY_ROWS.replace("/7.jpg", "/0.jpg"))
    assert [p.product_id for p in products_of(root, values)] == ["mug", "shirt"]
    assert imported(root, values).left_out == {"Type is empty": 4}


def test_a_url_is_never_fetched_and_its_file_is_found_by_name(tmp_path: Path) -> None:
    rows = [item(1, photo="https://cdn.example/p/1.jpg?x=2"), item(2, photo="//cdn.example/a%20b.jpg")]
    root = folder_of(tmp_path / "s", [*rows, item(3, photo="https://cdn.example/none.jpg")])
    (root / "images/cdn.example").mkdir()
    (root / "images/cdn.example/a b.jpg").write_bytes(jpeg(9))
    assert [p.image_path for p in products_of(root, mapping_of())] == [
        "images/1.jpg",
        "images/cdn.example/a b.jpg",
    ]
    (reason,) = imported(root, mapping_of()).reasons()
    assert "is a URL, and URLs are never fetched: put the picture into images as 'none.jpg'" in reason


def test_further_pictures_come_along_and_none_of_them_costs_the_product(tmp_path: Path) -> None:
    names = ["7.jpg", "0.jpg", "1.jpg", "1.jpg", "broken.jpg", "copy.jpg", "2.jpg", "3.jpg"]
    root = folder_of(tmp_path / "s", [item(1, photo=names), item(2)], images=5)
    (root / "images/broken.jpg").write_bytes(jpeg(1)[:200])
    (root / "images/copy.jpg").write_bytes(jpeg(0))
    mapping = mapping_of(image={"path": "photo", "folder": "images", "most": 5})
    first, second = products_of(root, mapping)
    assert (first.image, first.more_images) == (jpeg(0), (jpeg(1), jpeg(2)))
    assert second.more_images == ()
    found = imported(root, mapping)
    assert (found.products, found.more_pictures, found.pictures_left) == (2, 4, 2)  # 7.jpg and 3.jpg are left
    kept = {path.name for path in (tmp_path / "into/files/images").iterdir()}
    assert kept == {"0.jpg", "1.jpg", "2.jpg", "broken.jpg", "copy.jpg"}
    again = tmp_path / "into/files"
    assert products_of(again, mapping) == [first, second]
    mapping["image"]["most"] = 1
    with source_of(root.rename(tmp_path / "one"), mapping) as source:
        assert not source.has_more_images
        assert [p.image for p, _ in source.products()] == [jpeg(0), jpeg(2)]


def test_further_pictures_in_the_row_are_kept_where_they_can_be_read(tmp_path: Path) -> None:
    coded = [base64.b64encode(jpeg(n)).decode() for n in (3, 200)]
    root = folder_of(tmp_path / "s", [item(1, photo=[coded[0], "?", coded[1]]), item(2, photo=coded[1])])
    first, second = products_of(root, mapping_of(image={"bytes": "photo"}))
    assert (first.image, first.more_images) == (jpeg(3), (jpeg(200),))
    assert (second.image, second.more_images) == (jpeg(200), ())


def test_urls_that_end_alike_are_told(tmp_path: Path) -> None:
    rows = [item(n, photo=f"https://cdn.example/{n % 2}/1.jpg") for n in range(4)]
    root = folder_of(tmp_path / "s", rows)
    (said,) = imported(root, mapping_of()).warnings()
    assert said.startswith("2 products have a picture whose URL ends like that of another product's")
    for folder in "01":
        (root / f"images/cdn.example/{folder}").mkdir(parents=True)
        (root / f"images/cdn.example/{folder}/1.jpg").write_bytes(jpeg(int(folder)))
    assert [*imported(root, mapping_of()).warnings()] == []


@pytest.mark.parametrize("url", ["https://[broken/x.jpg", "https://cdn.example/", "//"])
def test_a_url_that_is_none_is_one_bad_row(tmp_path: Path, url: str) -> None:
    root = folder_of(tmp_path / "s", [item(1), item(2, photo=url)])
    assert imported(root, mapping_of()).failures["image"].rows == 1


def test_a_mapping_without_pictures_says_that_each_product_needs_one() -> None:
    values = {key: value for key, value in mapping_of().items() if key != "image"}
    with pytest.raises(ConfigurationError, match="image is missing: every product needs a picture"):
        parse_mapping(values, "m")


def test_tables_are_joined_by_a_key(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(n, photo=None, main=f"p{n}") for n in (1, 2, 3)])
    (root / "photos.csv").write_text("id,file,alt\np1,99.jpg,far\np1,1.jpg,near\np2,2.jpg,\nx,3.jpg,\n")
    pq.write_table(pa.table({"sku": ["s001"], "picture": [jpeg(4)], "watts": [40]}), root / "more.parquet")
    join = {
        "photos": {"file": "photos.csv", "field": "main", "key": "id"},
        "more": {"file": "more.parquet", "field": "sku", "key": "sku"},
    }
    image = {"path": "photos.file", "folder": "images"}
    values = mapping_of(join=join, image=image, attributes={"watts": "more.watts", "alt": "photos.0.alt"})
    found = products_of(root, values)
    assert [(p.image_path, p.attributes) for p in found] == [
        ("images/1.jpg", {"watts": "40", "alt": "far"}),
        ("images/2.jpg", {}),
    ]
    summary = imported(root, values)
    assert {"items.jsonl", "photos.csv", "more.parquet"} <= {
        p.name for p in (tmp_path / "into/files").iterdir()
    }
    assert [*summary.reasons()] == ["image in 1 row: items.jsonl row 3: photos.file is missing or empty"]
    bytes_of = mapping_of(join=join, image={"bytes": "more.picture"})
    assert [p.image for p in products_of(root.rename(tmp_path / "t"), bytes_of)] == [jpeg(4)]
    with pytest.raises(
        MappingError, match=r"photos\.csv has the mapped field 'url'; it has these: id, file, alt"
    ):
        imported(tmp_path / "t", mapping_of(join=join, image={"path": "photos.url"}))


def test_further_pictures_have_a_field_of_their_own(tmp_path: Path) -> None:
    rows = [
        item(0, photo=None, main="a", others=["c", "gone", "b"], plain="0.jpg", rest="2.jpg, 99.jpg,1.jpg"),
        item(1, photo=None, main="b", others=[], plain="1.jpg", rest=None),
        item(2, photo=None, main=None, others=["c"], plain=None, rest="0.jpg"),
    ]
    root = folder_of(tmp_path / "s", rows)
    (root / "photos.csv").write_text("id,file\na,0.jpg\nb,1.jpg\nc,2.jpg\n")
    join = {n: {"file": "photos.csv", "field": n, "key": "id"} for n in ("main", "others")}
    join = {f"{n}_photo": rule for n, rule in join.items()}
    joined = {"path": "main_photo.file", "more": "others_photo.file", "folder": "images"}
    found = products_of(root, mapping_of(join=join, image=joined))
    assert [(p.image, p.more_images) for p in found] == [
        (jpeg(0), (jpeg(2), jpeg(1))),
        (jpeg(1), ()),
        (jpeg(2), ()),  # the only picture there is is the main one
    ]
    cells = {"path": "plain", "more": {"field": "rest", "separator": ","}, "folder": "images"}
    found = products_of(root.rename(tmp_path / "t"), mapping_of(image=cells))
    assert [p.more_images for p in found] == [(jpeg(2), jpeg(1)), (), ()]
    with pytest.raises(ConfigurationError, match="more goes with path"):
        parse_mapping(mapping_of(image={"bytes": "photo", "more": "rest"}), "m")


def test_ids_and_file_names_are_made_of_fields(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(n, locale="de" if n else None) for n in range(3)])
    fields = {**mapping_of()["fields"], "product_id": {"template": "{locale}-{sku}"}}
    image = {"path": {"template": "{specs.number}.jpg"}, "folder": "images"}
    values = mapping_of(fields=fields, image=image, attributes=[])
    for number, line in enumerate((root / "items.jsonl").read_text().splitlines()):
        with (root / "more.jsonl").open("a") as out:
            out.write(line.replace('"specs": {', f'"specs": {{"number": {number}, ') + "\n")
    found = products_of(root, {**values, "products": "more.jsonl"})
    assert [(p.product_id, p.image_path) for p in found] == [
        ("de-s001", "images/1.jpg"),
        ("de-s002", "images/2.jpg"),
    ]
    rejected = rejects_of(root.rename(tmp_path / "t"), {**values, "products": "more.jsonl"})
    assert rejected == [("", 1, "product_id", "locale is missing or empty")]


@pytest.mark.parametrize(
    ("take", "kept"),
    [
        ({"take": "first"}, "Indoor"),
        ({"take": "last"}, "Warm"),
        ({"take": "join"}, "Indoor, Warm"),
    ],
)
@pytest.mark.parametrize("cell", [["Indoor", "Warm"], "Indoor;Warm"])
def test_of_several_values_the_mapping_says_which_and_it_is_told(
    tmp_path: Path, take: dict[str, str], kept: str, cell: object
) -> None:
    separator = {"separator": ";"} if isinstance(cell, str) else {}
    root = folder_of(tmp_path / "s", [item(1, climate=cell), item(2, climate="Warm")])
    values = mapping_of(attributes={"climate": {"field": "climate", **take, **separator}})
    assert [p.attributes["climate"] for p in products_of(root, values)] == [kept, "Warm"]
    (said,) = imported(root, values).warnings()
    assert said.startswith("attributes.climate has several values in 1 products, such as Indoor, Warm")


@pytest.mark.parametrize(
    ("cell", "separator"),
    [
        (["Warm", "Indoor", "Warm"], {}),
        ("Warm;Indoor;;Warm", {"separator": ";"}),
        ('["Warm", "Indoor"]', {}),
    ],
)
def test_an_attribute_holds_all_values_of_a_list(
    tmp_path: Path, cell: object, separator: dict[str, str]
) -> None:
    rows = [item(1, climate=cell), item(2, climate="Cool"), item(3)]
    root = folder_of(tmp_path / "s", rows)
    values = mapping_of(attributes={"climate": {"field": "climate", **separator}})
    found = products_of(root, values)
    assert [p.attributes.get("climate") for p in found] == [("Indoor", "Warm"), "Cool", None]
    assert not list(imported(root, values).warnings())
    schema = ObservedSchema(SourceParams(enum_max_values=9))
    for one in found:
        schema.add(one.category, one.product_type, one.attributes)
    (category,) = schema.schema().categories.values()
    assert category.attributes["climate"] == Attribute(
        type="enum", values=("Cool", "Indoor", "Warm"), multiple=True, max_values=2
    )


def test_names_that_are_listed_twice_are_one_attribute_of_two_values(tmp_path: Path) -> None:
    specs = [{"name": n, "value": v} for n, v in (("size", "M"), ("size", "L"), ("colour", "red"))]
    (found,) = products_of(
        folder_of(tmp_path / "s", [item(1, specs=specs)]), mapping_of(attributes=["specs.*"])
    )
    assert found.attributes == {"size": ("L", "M"), "colour": "red"}


def test_more_values_than_a_product_may_have_set_its_row_aside(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(1, climate=[str(n) for n in range(101)]), item(2, climate="x")])
    values = mapping_of(attributes=["climate"])
    assert [p.attributes for p in products_of(root, values)] == [{"climate": "x"}]
    ((_, row, field, reason),) = rejects_of(root.rename(tmp_path / "t"), values)
    assert (row, field, reason) == (1, "attributes.climate", "climate holds 101 values, more than 100")


def test_numbers_and_flags_of_yaml_are_texts(tmp_path: Path) -> None:
    rows = [item(1, new=True, grade=1), item(2, new=False, grade=2), item(3, grade=None)]
    attributes = {
        "grade": {"field": "grade", "values": {1: 3}, "default": 0},
        "new": {"field": "new", "values": {True: "yes", False: "no"}, "default": "no"},
        "shop": {"constant": 3},
    }
    mapping = parse_mapping(mapping_of(attributes=attributes), "m")
    assert parse_mapping(mapping_values(mapping), "again") == mapping
    found = products_of(folder_of(tmp_path / "s", rows), mapping_of(attributes=attributes))
    assert [tuple(p.attributes.values()) for p in found] == [
        ("3", "yes", "3"),
        ("2", "no", "3"),
        ("0", "no", "3"),
    ]


def test_paths_reach_the_last_one_language_and_cells_of_json() -> None:
    names = [
        {"tag": "de_DE", "value": "Becher"},
        {"tag": "en_US", "value": "Mug"},
        {"tag": "en_GB", "value": "Cup"},
    ]
    row = {"path": ["A", "B"], "name": names, "cell": '{"a": [1, 2]}', "s": {"Max. load": 5, "Max": {}}}
    assert look_up(row, "path.-1") == (True, "B")
    assert look_up(row, "path.-3") == (False, None)
    assert look_up(row, "name.[tag=en_*].value") == (True, ["Mug", "Cup"])
    assert look_up(row, "name.[tag=fr_*].value") == (False, None)
    assert look_up(row, "name.0.value") == (True, "Becher")
    assert look_up(row, "name.tag") == (True, ["de_DE", "en_US", "en_GB"])
    assert look_up(row, "cell.a.-1") == (True, 2)
    assert look_up(row, "s.Max. load") == (True, 5)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("specs.size", "size"),
        ("Max. load", "Max. load"),
        ("Size (U.S.)", "Size (U.S.)"),
        ("Weight approx.", "Weight approx."),
        ("brand.[language_tag=en_US].value", "value"),
        ("category_path.2", "category_path"),
    ],
)
def test_an_attribute_without_a_name_has_that_of_its_field(path: str, name: str) -> None:
    assert own_name(path) == name
    assert list(parse_mapping(mapping_of(attributes=[path]), "m").attributes) == [name]


def test_attributes_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="two fields would be named 'size'"):
        parse_mapping(mapping_of(attributes=["specs.size", "size"]), "m")


def test_a_split_that_the_mapping_does_not_translate_is_named(tmp_path: Path) -> None:
    rows = [item(n, fold=("train", "dev", "holdout", "dev")[n % 4]) for n in range(8)]
    (said,) = imported(folder_of(tmp_path / "s", rows), mapping_of(split="fold")).reasons()
    assert said == (
        "split in 6 rows: items.jsonl row 2: fold is 'dev', not one of train, validation, test (4 rows); "
        "items.jsonl row 3: fold is 'holdout', not one of train, validation, test (2 rows)"
    )


def test_a_source_of_which_no_row_can_be_read_says_why(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", ["[", "{oops", "[1]"])
    said = r"no row of .*items\.jsonl can be read: 1 row says: is not JSON"
    with pytest.raises(SourceError, match=said):
        imported(root, mapping_of())


def test_a_source_without_pictures_says_that_each_product_needs_one(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(n, photo=f"{'x' * 300}{n}.jpg") for n in range(5)])
    with pytest.raises(
        SourceError, match=r"image in 5 rows: items\.jsonl row 1: .*every product needs a picture"
    ):
        imported(root, mapping_of())


@pytest.mark.parametrize(
    ("written", "currency", "amount"),
    [
        ("$1,299.00", "", "1299.00"),
        ("US$ 1 299", "", "1299"),
        ("1.299,00", "USD", "1299.00"),
        ("0.125 USD", "", "0.125"),
        ("from 12,50", "usd", "12.50"),
        (12.125, "", "12.125"),  # a number of JSON has no sign for thousands
        ("12", "EUR", None),
        ("12 €", "USD", None),  # what stands in the price counts
        ("10 - 20", "", None),
        ("2 for $5", "", None),
        ("-5", "", None),
        ("on request", "", None),
        (["$5", "$6"], "", None),
    ],
)
def test_prices_become_numbers_of_one_currency(
    tmp_path: Path, written: Any, currency: str, amount: str | None
) -> None:
    rows = [item(0) | {"cost": "7 USD", "in": ""}, item(1) | {"cost": written, "in": currency}]
    root = folder_of(tmp_path / "source", rows, 2)
    price = {"field": "cost", "price": True, "currency": "in"}
    mapping = mapping_of() | {"attributes": {"price_usd": price}}
    _, second = products_of(root, mapping)
    assert second.attributes == ({} if amount is None else {"price_usd": amount})
    warned = [line for line in imported(root, mapping).warnings() if "price_usd" in line]
    assert len(warned) == (amount is None)
    assert all("is left out of 1 products" in line for line in warned)


def test_a_price_without_a_currency_of_its_own_is_refused() -> None:
    for attributes in (
        {"price": {"field": "cost", "price": True}},
        {"price": {"field": "c", "currency": "in"}},
    ):
        with pytest.raises(ConfigurationError, match="currency"):
            parse_mapping(mapping_of() | {"attributes": attributes}, "m")
