"""Files into rows, cells into texts and pictures: what other people's tools write."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import shutil
import unicodedata
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from components.catalog.format.errors import SourceError
from components.catalog.format.params import ImageLimits
from components.catalog.source.manifest import import_source
from components.catalog.source.mapping import parse_mapping
from components.catalog.source.params import SourceParams
from components.catalog.source.reading.rows import read_rows
from components.catalog.source.reading.separated import REMEDY
from components.catalog.source.values.markup import plain_text
from components.catalog.source.values.texts import text_of
from tests.data.test_catalog_importer import folder_of, item, jpeg, mapping_of, products_of, rejects_of


def rows_of(path: Path, data: bytes) -> list[dict[str, Any] | str]:
    path.write_bytes(data)
    return [row.problem or row.fields for row in read_rows(path, ())]


def parquet_of(path: Path, table: pa.Table) -> list[dict[str, Any] | str]:
    pq.write_table(table, path)
    return [row.problem or row.fields for row in read_rows(path, ())]


def test_an_open_quote_costs_its_own_row(tmp_path: Path) -> None:
    lines = ["sku,name", '1,"12in pan', "2,mug", '3,"a ""big"" mug"', '4,"two', 'lines"', '5,"x', "6,cup"]
    assert rows_of(tmp_path / "a.csv", "\n".join(lines).encode()) == [
        "a quote is not closed",
        {"sku": "2", "name": "mug"},
        {"sku": "3", "name": 'a "big" mug'},
        {"sku": "4", "name": "two\nlines"},
        "a quote is not closed",
        {"sku": "6", "name": "cup"},
    ]


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2), max_size=6))
def test_what_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    assert rows_of(path, text.getvalue().encode()) == [dict(zip("ab", row, strict=True)) for row in rows]


@pytest.mark.parametrize(("name", "sign"), [("a.csv", ";"), ("a.csv", ","), ("a.tsv", "\t")])
def test_a_line_of_delimiters_alone_is_no_row(tmp_path: Path, name: str, sign: str) -> None:
    lines = [["sku", "name"], ["1", ""], ["", ""], ["", "mug"], ["", ""], ['""', '""']]
    found = rows_of(tmp_path / name, "\r\n".join(map(sign.join, lines)).encode())
    assert found == [{"sku": "1", "name": ""}, {"sku": "", "name": "mug"}, {"sku": "", "name": ""}]


def test_a_bad_byte_costs_its_own_row(tmp_path: Path) -> None:
    bad, good = rows_of(tmp_path / "a.csv", b"sku,name\n1,caf\xe9\n2,caf\xc3\xa9\n")
    assert bad == "'name' holds byte 0xe9, which is not UTF-8; " + REMEDY
    assert good == {"sku": "2", "name": "café"}
    assert rows_of(tmp_path / "a.jsonl", b'{"a": "\xe9"}\n{"a": 1}')[1] == {"a": 1}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_in_another_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    text = "sku,name\n1,plain\n2,café\n3,thé\n4,né\n"
    with pytest.raises(SourceError, match=r"row .*save the file as UTF-8, or give the mapping its encoding"):
        rows_of(tmp_path / "a.csv", text.encode(encoding))
    rows = [row.fields for row in read_rows(tmp_path / "a.csv", (), encoding)]
    assert [row["name"] for row in rows] == ["plain", "café", "thé", "né"]


def test_a_byte_that_its_encoding_does_not_know_costs_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"sku,name\n1,caf\x81\n2,caf\xe9\n")
    bad, good = read_rows(tmp_path / "a.csv", (), "cp1252")
    assert bad.problem == f"'name' holds byte 0x81, which is not cp1252; {REMEDY}"
    assert good.fields["name"] == "café"


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="two columns named 'colour'"):
        rows_of(tmp_path / "a.csv", b"colour,colour\nred,\n")
    table = pa.Table.from_arrays([pa.array(["red"]), pa.array([""])], names=["colour", "colour"])
    with pytest.raises(SourceError, match="two columns named 'colour'"):
        parquet_of(tmp_path / "a.parquet", table)
    assert rows_of(tmp_path / "a.jsonl", b'{"a": 1, "a": 2}') == [
        "is not JSON of one meaning (two fields are named 'a')"
    ]
    assert rows_of(tmp_path / "b.csv", b"a,,\n1,,\n") == [{"a": "1", "": ""}]


JSON_FORMS = {
    "array.json": '[{"a": 1}, {"a": [2, {"b": "]}"}]}]',
    "pretty.json": '{\n  "a": 1\n}\n{\n  "a": [\n 2, {"b": "]}"}]\n}',
    "pretty.jsonl": '[\n  {\n "a": 1}, {"a":\n [2, {"b": "]}"}]}\n]',
    "lines.json": '{"a": 1}\n{"a": [2, {"b": "]}"}]}\n',
    "wrapped.json": '{"count": 2, "products": [{"a": 1}, {"a": [2, {"b": "]}"}]}]}',
}


@pytest.mark.parametrize("name", JSON_FORMS)
def test_every_form_of_json_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    expected: list[Any] = [{"a": 1}, {"a": [2, {"b": "]}"}]}]
    data = JSON_FORMS[name].encode()
    assert rows_of(tmp_path / name, data) == expected
    assert rows_of(tmp_path / f"{name}.gz", gzip.compress(data)) == expected


def test_a_bad_element_of_an_array_costs_itself(tmp_path: Path) -> None:
    found = rows_of(tmp_path / "a.json", b'[{"a": 1},\n{"a": oops}, 3, {"a": "\xe9"},\n{"a": 2}]')
    assert found[::4] == [{"a": 1}, {"a": 2}]
    assert [str(row)[:11] for row in found[1:4]] == ["is not JSON", "is JSON, bu", "holds byte "]


def test_deep_json_costs_its_own_row(tmp_path: Path) -> None:
    deep = b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}"
    brackets = json.dumps({"a": "[" * 900}).encode()
    found = rows_of(tmp_path / "a.jsonl", deep + b"\n" + brackets)
    assert found == ["is nested more than 64 levels deep", {"a": "[" * 900}]
    root = folder_of(tmp_path / "s", [item(1, specs="[" * 900 + "]" * 900), item(2)])
    (bad,) = rejects_of(root, mapping_of(attributes=["specs.*"]))
    assert bad == ("s001", 1, "attributes", "specs.* holds no fields")


def test_a_damaged_gzip_says_after_which_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(np.random.default_rng(1).bytes(50_000).hex("\n").encode())[:20_000])
    with pytest.raises(SourceError, match=r"cannot be read after row \d+"):
        list(read_rows(path, ()))


def test_parquet_numbers_read_as_they_were_written(tmp_path: Path) -> None:
    (row, _) = parquet_of(
        tmp_path / "a.parquet",
        pa.table(
            {
                "id": pa.array([108775015.0, None]),
                "size": pa.array([42.0, None], pa.float32()),
                "price": pa.array([0.1, None], pa.float32()),
                "more": pa.array([{"w": [0.1, 2.5]}, None], pa.struct([("w", pa.list_(pa.float32()))])),
                "specs": pa.array([[("hue", "red")], None], pa.map_(pa.string(), pa.string())),
            }
        ),
    )
    assert isinstance(row, dict)
    assert [text_of(row[name]) for name in ("id", "size", "price")] == ["108775015", "42", "0.1"]
    assert row["more"] == {"w": [0.1, 2.5]}
    assert row["specs"] == {"hue": "red"}
    with pytest.raises(ValueError, match="lost its last digits"):
        text_of(2.0**60)


def test_a_parquet_value_that_python_cannot_hold_costs_its_own_row(tmp_path: Path) -> None:
    days = pa.array([0, 2**30], pa.int32()).cast(pa.date32())
    doubled = pa.array([[("a", 1)], [("b", 1), ("b", 2)]], pa.map_(pa.string(), pa.int64()))
    for name, column in {"day": days, "map": doubled}.items():
        first, second = parquet_of(tmp_path / f"{name}.parquet", pa.table({name: column}))
        assert first == {name: date(1970, 1, 1) if name == "day" else {"a": 1}}
        assert str(second).startswith(f"{name!r} holds what cannot be read")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Men&#39;s caf&eacute; <b>mug</b>, blue", "Men's café mug, blue"),
        ("<p>One</p><p>two &amp; three</p><script>alert(1)</script>", "One two & three"),
        ("5 < 6, size <S>, R&D, ?a=1&copy=2", "5 < 6, size <S>, R&D, ?a=1&copy=2"),
        ("5 < 6<br>and more", "5 < 6 and more"),
        ("&amp;lt;b&amp;gt;", "&lt;b&gt;"),
        ("<!-- hidden -->seen", "seen"),
    ],
)
def test_html_reads_as_text(written: str, shown: str) -> None:
    assert " ".join(plain_text(written).split()) == shown


def test_control_characters_read_as_white_space() -> None:
    assert text_of("Mug\x1b[31m \x9bblue\x00\x7f") == "Mug [31m blue"


def test_html_is_kept_on_request_and_in_ids(tmp_path: Path) -> None:
    root = folder_of(
        tmp_path / "s", [item(1, sku="a&amp;b", name="<b>A</b>", specs={"colour": "caf&eacute;"})]
    )
    (found,) = products_of(root, mapping_of())
    assert (found.product_id, found.title, found.attributes) == ("a&amp;b", "A", {"colour": "café"})
    fields = {**mapping_of()["fields"], "title": {"field": "name", "raw": True}}
    shutil.rmtree(root.parent / "s.work")
    (raw,) = products_of(root, mapping_of(fields=fields))
    assert raw.title == "<b>A</b>"


def test_both_forms_of_unicode_are_one(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    row = item(1, name=nfd, specs={nfd: nfd}, photo=f"{nfc}.jpg", sku=nfd)
    root = folder_of(tmp_path / "s", [row])
    (root / "images" / f"{nfd}.jpg").write_bytes(jpeg(5))
    for name in (nfc, nfd):
        mapping = mapping_of(attributes={"x": {"field": f"specs.{name}", "values": {name: f"{name}!"}}})
        (found,) = products_of(root, mapping)
        assert (found.product_id, found.title, found.attributes) == (nfc, nfc, {"x": f"{nfc}!"})
        assert found.image == jpeg(5)
        shutil.rmtree(root.parent / "s.work")


def test_base64_as_people_write_it(tmp_path: Path) -> None:
    picture = next(data for n in range(256) if b"+" in base64.b64encode(data := jpeg(n)))
    code = base64.b64encode(picture).decode()
    forms = [
        base64.encodebytes(picture).decode(),
        base64.urlsafe_b64encode(picture).decode(),
        code.rstrip("="),
        f"data:image/jpeg;base64,{code}",
    ]
    rows = [item(n, photo=form) for n, form in enumerate(forms)] + [item(8, photo="no base64!")]
    root = folder_of(tmp_path / "s", rows)
    mapping = mapping_of(image={"bytes": "photo"})
    assert [product.image for product in products_of(root, mapping)] == [picture] * len(forms)
    shutil.rmtree(root.parent / "s.work")
    assert rejects_of(root, mapping) == [("s008", 5, "image", "photo is not base64")]


def test_other_pictures_come_in_or_are_named_at_the_import(tmp_path: Path) -> None:
    names = ["a.gif", "b.heic", "c.jpg", "n" * 300, "big.jpg"]
    root = folder_of(tmp_path / "s", [item(n, photo=name) for n, name in enumerate(names)])
    Image.new("RGB", (24, 24), "red").save(root / "images" / "a.gif")
    (root / "images" / "b.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    (root / "images" / "c.jpg").write_bytes(jpeg(1))
    (root / "images" / "big.jpg").write_bytes(jpeg(1) + bytes(100_000))
    into, params = tmp_path / "into", SourceParams(images=ImageLimits(max_bytes=50_000))
    mapping = parse_mapping(mapping_of(), "mapping.yaml")
    summary = import_source(root, mapping, into, link=False, params=params)
    reasons = " ".join(summary.reasons())
    assert "HEIC" in reasons
    assert "more than max_bytes=50,000" in reasons
    assert not (into / "files" / "images" / "big.jpg").exists()
    products = products_of(into / "files", mapping_of())
    assert [product.product_id for product in products] == ["s000", "s002"]
    assert products[0].image.startswith(b"\x89PNG")
    shutil.rmtree(into / "files.work")
    assert [(row[1], row[2]) for row in rejects_of(into / "files", mapping_of())] == [
        (2, "image"),
        (4, "image"),
        (5, "image"),
    ]
