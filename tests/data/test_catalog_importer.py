"""A user's files through a mapping: every format, every rule, every kind of bad row."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.catalog.build.params import CatalogParams
from components.catalog.format.errors import MappingError, SchemaError, SourceError
from components.catalog.format.records import Product
from components.catalog.source.__main__ import main
from components.catalog.source.importer import FileSource, in_order
from components.catalog.source.manifest import import_source, read_source
from components.catalog.source.mapping import mapping_values, parse_mapping, read_mapping
from components.catalog.source.values.paths import field_names, look_up
from components.catalog.source.values.texts import text_of
from components.stage.errors import ConfigurationError
from tests.data.parameter_blocks import catalog_block
from tests.in_process import Done, run_command

ROOT = Path(__file__).parents[2]
FASHION = Path(os.environ.get("VITRINE_FASHION_DATA", "no-such-folder"))


def jpeg(number: int, side: int = 24) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (number % 256, 80, 160)).save(buffer, "JPEG")
    return buffer.getvalue()


def mapping_of(**changes: object) -> dict[str, Any]:
    values: dict[str, Any] = {
        "products": "items.jsonl",
        "fields": {"product_id": "sku", "title": "name", "category": "path.0", "product_type": "path.1"},
        "image": {"path": "photo", "folder": "images"},
        "attributes": {"colour": "specs.colour"},
    }
    return {**values, **changes}


def item(number: int, **changes: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "sku": f"s{number:03d}",
        "name": f"Item {number}",
        "path": ["Home", "Lamp"],
        "photo": f"{number}.jpg",
        "specs": {"colour": ("red", "blue")[number % 2]},
    }
    return {**row, **changes}


def folder_of(root: Path, rows: list[Any], images: int = 10) -> Path:
    (root / "images").mkdir(parents=True, exist_ok=True)
    for number in range(images):
        (root / "images" / f"{number}.jpg").write_bytes(jpeg(number))
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (root / "items.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@contextmanager
def source_of(root: Path, mapping: dict[str, Any], **changes: object) -> Iterator[FileSource]:
    parsed = parse_mapping(mapping, "mapping.yaml")
    with FileSource(
        root,
        parsed,
        CatalogParams.model_validate(catalog_block(**changes)),
        root.parent / f"{root.name}.work",
    ) as source:
        yield source


def products_of(root: Path, mapping: dict[str, Any], **changes: object) -> list[Product]:
    with source_of(root, mapping, **changes) as source:
        return [product for product, _ in source.products()]


def rejects_of(root: Path, mapping: dict[str, Any], **changes: object) -> list[tuple[str, int, str, str]]:
    with source_of(root, mapping, **changes) as source:
        for _ in source.products():
            pass
        return [(r["product_id"], r["row"], r["field"], r["reason"]) for r in source.rejects()]


def test_rows_come_sorted_with_their_pictures(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(n) for n in (3, 1, 2)])
    found = products_of(root, mapping_of())
    assert [p.product_id for p in found] == ["s001", "s002", "s003"]
    first = found[0]
    assert (first.title, first.category, first.product_type) == ("Item 1", "Home", "Lamp")
    assert first.attributes == {"colour": "blue"}
    assert first.image == jpeg(1)
    assert first.image_path == "images/1.jpg"
    assert first.group_id == "s001"


def test_all_formats_give_the_same_products(tmp_path: Path) -> None:
    rows = [item(n) for n in range(6)]
    jsonl = folder_of(tmp_path / "jsonl", rows)
    expected = products_of(jsonl, mapping_of())
    flat = [
        {**{k: r[k] for k in ("sku", "name", "photo")}, "kind": "Lamp", "colour": r["specs"]["colour"]}
        for r in rows
    ]
    fields = {"product_id": "sku", "title": "name", "category": {"constant": "Home"}, "product_type": "kind"}
    flat_mapping = mapping_of(fields=fields, attributes=["colour"])
    for suffix, delimiter in ((".csv", ","), (".csv", ";"), (".tsv", "\t")):
        root = folder_of(tmp_path / f"separated{ord(delimiter)}", [])
        with (root / f"items{suffix}").open("w", encoding="utf-8-sig", newline="") as handle:
            writer = csv.DictWriter(handle, flat[0].keys(), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(flat)
        assert products_of(root, {**flat_mapping, "products": f"items{suffix}"}) == expected
    root = folder_of(tmp_path / "parquet", [])
    pq.write_table(pa.Table.from_pylist(rows[:2]), root / "a-0.parquet")
    pq.write_table(pa.Table.from_pylist(rows[2:]), root / "a-1.parquet")
    assert products_of(root, mapping_of(products="a-*.parquet")) == expected


def test_pictures_in_the_rows(tmp_path: Path) -> None:
    rows = [item(n) for n in range(300)]
    expected = [jpeg(n) for n in range(300)]
    shapes = {
        "struct": [{"bytes": jpeg(n), "path": "x.jpg"} for n in range(300)],
        "binary": expected,
        "base64": [base64.b64encode(data).decode() for data in expected],
    }
    for name, pictures in shapes.items():
        (tmp_path / name).mkdir()
        table = [{**row, "picture": picture} for row, picture in zip(rows, pictures, strict=True)][::-1]
        pq.write_table(pa.Table.from_pylist(table), tmp_path / name / "items.parquet")
        mapping = mapping_of(products="items.parquet", image={"bytes": "picture"})
        assert [p.image for p in products_of(tmp_path / name, mapping)] == expected


BAD_ROWS: list[tuple[Any, str, str]] = [
    ("{broken", "row", "not JSON"),
    ("[1, 2]", "row", "not an object"),
    (item(1, sku=None), "product_id", "sku is missing"),
    (item(1, path=["Home"]), "product_type", "path.1 is missing"),
    (item(1, photo=""), "image", "photo is missing"),
    (item(1, photo="none.jpg"), "image", "cannot be read"),
    (item(1, photo="x" * 300 + ".jpg"), "image", "cannot be read"),
    (item(1, photo="../items.jsonl"), "image", "outside"),
    (item(1, photo="/etc/hostname"), "image", "outside"),
    (item(1, photo="text.jpg"), "image", "the image is not a JPEG, PNG or WebP"),
    (item(1, photo="cut.jpg"), "image", "cannot be decoded"),
    (item(1, photo="huge.jpg"), "image", "max_pixels"),
    (item(1, photo="fat.jpg"), "image", "max_bytes"),
    (item(1, photo="."), "image", "cannot be read"),
    (item(1, name={"en": "x"}), "title", "fields of its own"),
    (item(1, name="x" * 30_000), "title", "characters"),
    ('{"sku": "a", "name": "\\ud800", "path": ["a", "b"], "photo": "1.jpg"}', "title", "Unicode"),
]


@pytest.mark.parametrize(("row", "field", "reason"), BAD_ROWS)
def test_a_bad_row_is_set_aside_with_its_reason(tmp_path: Path, row: Any, field: str, reason: str) -> None:
    root = folder_of(tmp_path / "s", [item(2), row, item(3)])
    pictures = root / "images"
    (pictures / "text.jpg").write_text("<html>404</html>")
    (pictures / "cut.jpg").write_bytes(jpeg(1, 200)[:700])
    (pictures / "huge.jpg").write_bytes(jpeg(1, 600))
    (pictures / "fat.jpg").write_bytes(bytes(100_001))
    with source_of(root, mapping_of()) as source:
        assert [product.product_id for product, _ in source.products()] == ["s002", "s003"]
        (reject,) = source.rejects()
    assert (reject["kind"], reject["row"], reject["file"]) == ("product", 2, "items.jsonl")
    assert reject["field"] == field
    assert reason in reject["reason"]


def test_badly_encoded_line_is_one_bad_row(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(1)])
    with (root / "items.jsonl").open("ab") as handle:
        handle.write(b'{"sku": "\xff\xfe"}\n' + json.dumps(item(2)).encode())
    assert [r[1:3] for r in rejects_of(root, mapping_of())] == [(2, "row")]


def test_too_many_csv_fields_is_one_bad_row(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [])
    (root / "i.csv").write_text("sku,photo,c\na,1.jpg,red\nb,2.jpg,red,more\n")
    constant = {"constant": "x"}
    mapping = mapping_of(
        products="i.csv",
        fields={"product_id": "sku", "category": constant, "product_type": constant},
        attributes=["c"],
    )
    assert rejects_of(root, mapping) == [("", 2, "row", "has more fields than the header")]


def test_equal_ids_stay_visible_and_share_a_group_and_split(tmp_path: Path) -> None:
    rows = [item(1, name="first"), item(2), item(1, name="second", photo="2.jpg")]
    found = products_of(folder_of(tmp_path / "s", rows), mapping_of())
    assert [(p.product_id, p.title) for p in found] == [
        ("s001", "first"),
        ("s001", "second"),
        ("s002", "Item 2"),
    ]
    assert len({(p.group_id, p.split) for p in found[:2]}) == 1


def test_groups_are_the_union_of_their_fields(tmp_path: Path) -> None:
    # 1-2 by name, 2-3 by twin, 4 alone (blank joins nothing), 5-6 by twin
    names = ["Same", "Same", "Other", "", "", "Last"]
    twins = ["a", "b", "b", "", "c", "c"]
    rows = [item(n + 1, name=names[n], twin=twins[n]) for n in reversed(range(6))]
    mapping = mapping_of(group={"union_of": ["name", "twin"]})
    found = products_of(folder_of(tmp_path / "s", rows), mapping)
    assert [p.group_id for p in found] == ["s001", "s001", "s001", "s004", "s005", "s005"]
    assert all(len({p.split for p in found if p.group_id == group}) == 1 for group in ("s001", "s005"))
    by_name = products_of(folder_of(tmp_path / "t", rows), mapping_of(group="name"))
    assert [p.group_id for p in by_name] == ["s001", "s001", "s003", "s004", "s005", "s006"]


def test_split_field_and_its_words(tmp_path: Path) -> None:
    rows = [item(n, fold=("train", "val", "test", "holdout")[n % 4]) for n in range(8)]
    mapping = mapping_of(split={"field": "fold", "values": {"val": "validation"}})
    root = folder_of(tmp_path / "s", rows)
    assert [p.split for p in products_of(root, mapping)] == ["train", "validation", "test"] * 2
    (root.parent / "s.work").rename(tmp_path / "old")
    assert [(r[0], r[2]) for r in rejects_of(root, mapping)] == [("s003", "split"), ("s007", "split")]


def test_attributes_by_star_with_lists_and_numbers(tmp_path: Path) -> None:
    rows = [
        item(1, specs={"colour": ["red", "blue"], "watts": 40, "dimmable": True, "empty": None}),
        item(2, specs=[{"name": "colour", "value": "red"}]),
        item(3, specs='{"colour": "red"}'),
    ]
    found = products_of(folder_of(tmp_path / "s", rows), mapping_of(attributes=["specs.*"]))
    assert found[0].attributes == {"colour": ("blue", "red"), "watts": "40", "dimmable": "true"}
    assert found[1].attributes == found[2].attributes == {"colour": "red"}


def test_values_and_defaults_translate(tmp_path: Path) -> None:
    colour = {"field": "specs.colour", "values": {"red": "Rot"}, "default": "none"}
    rows = [item(1), item(2), item(3, specs={})]
    found = products_of(folder_of(tmp_path / "s", rows), mapping_of(attributes={"colour": colour}))
    assert [p.attributes["colour"] for p in found] == ["blue", "Rot", "none"]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"attributes": {"colour": "specs.color"}}, "'specs.color'"),
        ({"fields": {"product_id": "id", "category": "path.0", "product_type": "path.7"}}, "'id', 'path.7'"),
        ({"split": "fold"}, "'fold'"),
        ({"group": {"union_of": ["name", "twin"]}}, "'twin'"),
        ({"image": {"bytes": "picture"}}, "'picture'"),
    ],
)
def test_a_mapped_field_that_no_row_has_is_fatal(tmp_path: Path, changes: dict[str, Any], names: str) -> None:
    root = folder_of(tmp_path / "s", [item(n) for n in range(5)])
    known = r"sku, name, path\.0, path\.1, photo, specs\.colour"
    with (
        pytest.raises(MappingError, match=f"field {names}; it has these: {known}"),
        source_of(root, mapping_of(**changes)),
    ):
        pass


def test_wrong_parquet_field_lists_every_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"sku": ["a"], "a b": ["c"]}), tmp_path / "i.parquet")
    with (
        pytest.raises(MappingError, match="it has these: sku, a b"),
        source_of(tmp_path, mapping_of(products="i.parquet", image={"bytes": "x"})),
    ):
        pass


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: (root / "items.jsonl").unlink(), r"items\.jsonl does not exist \(.*holds images"),
        (lambda root: (root / "items.jsonl").write_text("\n"), "holds no rows"),
        (lambda root: (root / "images").rename(root / "pictures"), "not a folder of images"),
        (lambda root: (root / "items.jsonl").write_text('{"sku": "a"}\n{oops\n'), "has the mapped field"),
        (lambda root: (root / "items.jsonl").write_text(json.dumps(item(1, photo=None))), "photo is missing"),
    ],
)
def test_a_source_that_cannot_be_used_is_fatal(tmp_path: Path, break_it: Any, message: str) -> None:
    root = folder_of(tmp_path / "s", [item(1)])
    break_it(root)
    with pytest.raises((SourceError, MappingError), match=message), source_of(root, mapping_of()):
        pass


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"colour": "x"}, "colour: unknown key"),
        ({"products": "../items.jsonl"}, "products"),
        ({"products": "/etc/passwd"}, "products"),
        ({"image": {"path": "photo", "bytes": "x"}}, "image"),
        ({"split": {"field": "fold", "values": {"a": "dev"}}}, "not dev"),
        ({"fields": {"product_id": "a", "category": "b"}}, "fields.product_type"),
        ({"attributes": {"colour": "specs.*"}}, r"attributes\.colour"),
        ({"qrels": {"file": "q.csv", "fields": {}}}, r"qrels\.fields"),
    ],
)
def test_a_wrong_mapping_names_its_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        parse_mapping(mapping_of(**changes), "mapping.yaml")


def test_queries_and_qrels(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(1), item(2)])
    queries = [{"id": "q2", "q": "blue lamp"}, {"id": "q1", "q": "lamp"}, {"id": "q3", "q": ""}]
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (root / "qrels.csv").write_text("q,p,grade,bought\nq2,s002,1,\nq1,s001,3,4\nq1,s002,7,0\nq1,s001,2.5,0\n")
    rules = {
        "queries": {
            "file": "queries.jsonl",
            "fields": {
                "query_id": "id",
                "text": "q",
                "kind": {"constant": "textual"},
                "split": {"constant": "test"},
            },
        },
        "qrels": {
            "file": "qrels.csv",
            "fields": {"query_id": "q", "product_id": "p", "relevance": "grade", "desirability": "bought"},
        },
    }
    with source_of(root, mapping_of(**rules)) as source:
        found, judged = (list(rows) for rows in source.queries())
        rejects = [(r["kind"], r["row"], r["field"]) for r in source.rejects()]
    assert [(query.query_id, query.text) for query in found] == [("q1", "lamp"), ("q2", "blue lamp")]
    assert [(q.query_id, q.product_id, q.relevance, q.desirability) for q in judged] == [
        ("q1", "s001", 3, 4),
        ("q2", "s002", 1, None),
    ]
    assert rejects == [("qrel", 3, "relevance"), ("qrel", 4, "relevance"), ("query", 3, "text")]


def test_reencoding_is_applied(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(1)])
    (root / "images/1.jpg").write_bytes(jpeg(1, 300))
    (found,) = products_of(root, mapping_of(), reencode={"longest_side_px": 64, "jpeg_quality": 80})
    with Image.open(io.BytesIO(found.image)) as image:
        assert image.size == (64, 64)


def test_own_schema_is_used_and_a_broken_one_is_named(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(1)])
    own = {"categories": {"Home": {"product_types": ["Lamp", "Chair"], "attributes": {}}}}
    (root / "schema.json").write_text(json.dumps(own))
    with source_of(root, mapping_of(schema="schema.json")) as source:
        assert source.schema().categories["Home"].product_types == ("Lamp", "Chair")
    (root / "schema.json").write_text("{}")
    (tmp_path / "s.work").rename(tmp_path / "old")
    with (
        source_of(root, mapping_of(schema="schema.json")) as source,
        pytest.raises(SchemaError, match="categories"),
    ):
        source.schema()


@pytest.mark.parametrize("workers", [1, 4])
def test_threads_keep_the_order_and_run_only_a_little_ahead(workers: int) -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            asked.append(number)
            yield number

    pool = ThreadPoolExecutor(workers) if workers > 1 else None
    results = in_order(pool, lambda number: number * 2, items(), window=8)
    assert [next(results) for _ in range(10)] == list(range(0, 20, 2))
    assert len(asked) <= 20
    assert list(results) == list(range(20, 200, 2))


def test_paths_find_what_field_names_lists() -> None:
    row = {"a": {"b": [1, {"c": 2}], "x.y": 3}, "d.e": 4, "f": [5, 6], "g": {}}
    assert list(field_names(row)) == ["a.b.0", "a.b.1", "a.x.y", "d.e", "f.0", "f.1", "g"]
    assert look_up(row, "a.b.1.c") == (True, 2)
    assert look_up(row, "d.e") == (True, 4)
    assert look_up(row, "f.2") == (False, None)
    assert text_of(float("nan")) == ""
    assert text_of(" a\n b\x00c ") == "a b c"


def test_import_brings_only_what_the_mapping_names(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(1), item(2), item(3, photo="gone.jpg")])
    (root / "secret.txt").write_text("not mapped")
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(jpeg(9))
    (root / "images/2.jpg").unlink()
    (root / "images/2.jpg").symlink_to(outside)
    mapping = parse_mapping(mapping_of(), "m")
    for link in (False, True):
        found = import_source(root, mapping, tmp_path / "into", link=link)
        assert (found.rows, found.products, found.failed) == (3, 1, 2)
        assert found.failures["image"].rows == 2
        files = tmp_path / "into/files"
        names = sorted(p.relative_to(files).as_posix() for p in files.rglob("*") if p.is_file())
        assert names == ["images/1.jpg", "items.jsonl"]
        assert (files / "images/1.jpg").samefile(root / "images/1.jpg") == link
    manifest = read_source(tmp_path / "into")
    assert manifest.mapping == mapping
    assert parse_mapping(mapping_values(mapping), "again") == mapping
    assert [p.name for p in (tmp_path / "into").iterdir() if p.name.startswith(".")] == []


def test_a_failed_import_leaves_the_former_one(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(1)])
    into = tmp_path / "into"
    import_source(root, parse_mapping(mapping_of(), "m"), into, link=False)
    before = (into / "manifest.yaml").read_text()
    with pytest.raises(MappingError):
        import_source(root, parse_mapping(mapping_of(attributes=["price"]), "m"), into, link=False)
    assert (into / "manifest.yaml").read_text() == before
    assert sorted(p.name for p in into.iterdir()) == ["files", "manifest.yaml"]
    assert (into / "files/images/1.jpg").is_file()


def test_import_command_speaks_one_sentence(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "s", [item(1), item(2, photo="2.JPG")])
    (tmp_path / "m.yaml").write_text(json.dumps(mapping_of()))
    (tmp_path / "wrong.yaml").write_text(json.dumps(mapping_of(attributes=["price"])))

    def run(mapping: str, source: Path = root) -> Done:
        return run_command(tmp_path, main, "--source", str(source), "--mapping", mapping)

    good = run("m.yaml")
    assert (good.returncode, good.stdout) == (0, "2 rows, 1 with a picture, now in data/source.\n")
    other = "'images/2.JPG' does not exist, but '2.jpg' does: capitals differ"
    assert f"image in 1 row: items.jsonl row 2: {other}" in good.stderr
    for result, code, text in (
        (run("wrong.yaml"), 2, "'price'"),
        (run("none.yaml"), 2, "none.yaml"),
        (run("m.yaml", tmp_path / "nowhere"), 4, "nowhere"),
    ):
        assert result.returncode == code
        assert result.stderr.startswith("error: ")
        assert text in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.skipif(not FASHION.is_dir(), reason="VITRINE_FASHION_DATA names no folder")
def test_fashion_mapping_fits_its_source() -> None:
    from components.catalog.source.drafts import Draft
    from components.catalog.source.importer import product_drafts

    drafts = [
        draft for _, _, draft in product_drafts(FASHION, read_mapping(ROOT / "conf/mappings/fashion.yaml"))
    ]
    assert len(drafts) == 8661
    assert all(isinstance(draft, Draft) and draft.split for draft in drafts)
