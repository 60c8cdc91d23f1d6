"""The catalogue's gate, through its stage: what is set aside, what stops the pipeline, what goes on."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.catalog.format.records import PRODUCTS, QRELS, QUERIES, WITH_MORE_IMAGES
from components.stage import frame
from tests.data.parameter_blocks import quality_block
from tests.data.stage_workspace import enter

pytest.importorskip("great_expectations")

SCHEMA = {
    "categories": {
        "clothes": {
            "product_types": ["shirt", "skirt"],
            "attributes": {
                "colour": {"type": "enum", "values": ["red", "blue"], "required": True},
                "length_cm": {"type": "number", "values": [], "required": False},
                "note": {"type": "string"},
                "use": {
                    "type": "enum",
                    "values": ["home", "office", "sea"],
                    "multiple": True,
                    "max_values": 2,
                },
            },
        },
        "home": {"product_types": ["lamp"], "attributes": {}},
    }
}
SPLIT_OF = ("train", "train", "validation", "test")


def picture(seed: int, side: int = 24, form: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


class Shop:
    """A small sound catalogue to break: 40 products in 20 groups, 12 queries."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.params = quality_block()
        self.products = [self.product(i) for i in range(40)]
        self.queries = [
            {"query_id": f"q{i:02d}", "text": f"text {i}", "kind": "textual", "split": SPLIT_OF[i % 4]}
            for i in range(12)
        ]
        self.qrels = [
            {
                "query_id": f"q{i:02d}",
                "product_id": f"p{i + j:02d}",
                "relevance": 3 - j,
                "desirability": j or None,
            }
            for i in range(12)
            for j in range(3)
        ]
        self.rejects: list[dict[str, Any]] = []

    @staticmethod
    def product(i: int) -> dict[str, Any]:
        return {
            "product_id": f"p{i:02d}",
            "split": SPLIT_OF[i // 2 % 4],
            "image": {"bytes": picture(i), "path": f"{i}.png"},
            "title": f"title {i}",
            "description": "",
            "category": "clothes",
            "product_type": "shirt",
            "attributes": [{"name": "colour", "value": "red"}],
            "group_id": f"g{i // 2}",
        }

    def run(
        self, shards: int = 1, damage: Callable[[Path], Any] = lambda root: None, form: pa.Schema = PRODUCTS
    ) -> int:
        folder = self.root / "data/catalog"
        (folder / "products").mkdir(parents=True)
        for k in range(shards):
            table = pa.Table.from_pylist(self.products[k::shards], schema=form)
            pq.write_table(table, folder / f"products/part-{k:05d}.parquet", row_group_size=5)
        pq.write_table(pa.Table.from_pylist(self.queries, schema=QUERIES), folder / "queries.parquet")
        pq.write_table(pa.Table.from_pylist(self.qrels, schema=QRELS), folder / "qrels.parquet")
        (folder / "schema.json").write_text(json.dumps(SCHEMA))
        (folder / "manifest.json").write_text(json.dumps({"origin": "test", "products": len(self.products)}))
        if self.rejects:
            pq.write_table(pa.Table.from_pylist(self.rejects), folder / "rejects.parquet")
        (self.root / "params.yaml").write_text(json.dumps({"quality": self.params}))
        damage(self.root)
        return frame.main(["quality.catalogue"])

    def checked(self) -> list[dict[str, Any]]:
        files = sorted((self.root / "data/checked/products").glob("*.parquet"))
        assert [f.name for f in files] == [f"part-{i:05d}.parquet" for i in range(len(files))]
        return [row for file in files for row in pq.read_table(file).to_pylist()]

    def ids(self) -> set[str]:
        return {row["product_id"] for row in self.checked()}

    def quarantine(self, failed: bool = False) -> list[dict[str, Any]]:
        refused = self.root / ".vitrine/quality/quality.catalogue/quarantine.parquet"
        return pq.read_table(
            refused if failed else self.root / "data/quarantine/quarantine.parquet"
        ).to_pylist()

    def summary(self) -> dict[str, Any]:
        return json.loads((self.root / "reports/quality/catalog.json").read_text())


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return Shop(enter(tmp_path, monkeypatch))


def change(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda product: product.update(values)


def image(data: bytes | None) -> Callable[[dict[str, Any]], None]:
    return change(image={"bytes": data, "path": "x.jpg"})


def attributes(*pairs: tuple[str, str]) -> Callable[[dict[str, Any]], None]:
    return change(attributes=[{"name": n, "value": v} for n, v in pairs])


RED = ("colour", "red")
BAD_PRODUCTS = {
    "no id": (change(product_id=""), "product_id", "missing"),
    "unknown split": (change(split="dev"), "split", "'dev' is unknown"),
    "no split": (change(split=None), "split", "missing"),
    "no group": (change(group_id=""), "group_id", "missing"),
    "long title": (change(title="x" * 61), "title", "61 characters"),
    "long description": (change(description="x" * 101), "description", "101 characters"),
    "long id": (change(product_id="x" * 10_000), "product_id", "10000 characters, more than 200"),
    "long group": (change(group_id="x" * 201), "group_id", "201 characters"),
    "long value": (attributes(RED, ("note", "x" * 1001)), "attributes", "note has 1,001 characters, more"),
    "escape in a title": (change(title="a\x1b[31m"), "text", "title holds U+001B"),
    "control in a value": (attributes(RED, ("note", "\x9b2J")), "text", "attributes.note holds U+009B"),
    "unknown category": (change(category="toys"), "category", "'toys' is unknown"),
    "no category": (change(category=None), "category", "missing"),
    "type of another category": (change(product_type="lamp"), "product_type", "'lamp'"),
    "unknown attribute": (
        attributes(("colour", "red"), ("size", "XL")),
        "attributes",
        "attributes.size is not an attribute",
    ),
    "attribute twice": (attributes(("colour", "red"), ("colour", "blue")), "attributes", "given twice"),
    "too many values": (
        attributes(RED, *(("use", u) for u in ("home", "office", "sea"))),
        "attributes",
        "at most 2",
    ),
    "unknown value of several": (attributes(RED, ("use", "home"), ("use", "moon")), "attributes", "'moon'"),
    "unknown value": (attributes(("colour", "{mauve}")), "attributes", "'{mauve}'"),
    "not a number": (
        attributes(("colour", "red"), ("length_cm", "long")),
        "attributes",
        "not a finite number",
    ),
    "required missing": (attributes(("length_cm", "3")), "attributes", "required and missing"),
    "no image": (image(None), "image", "missing"),
    "text as image": (image(b"<html>not found</html>"), "image", "not a JPEG, PNG or WebP"),
    "gif as jpg": (image(picture(1, form="GIF")), "image", "not a JPEG, PNG or WebP"),
    "truncated image": (image(picture(7)[:-600]), "image", "cannot be decoded"),
    "truncated jpeg": (image(picture(7, form="JPEG")[:-300]), "image", "cannot be decoded"),
    "huge image": (image(picture(1, side=101)), "image", "max_bytes"),
    "many pixels": (image(picture(1, side=110, form="JPEG")), "image", "max_pixels"),
    "tiny image": (image(picture(1, side=4)), "image", "min_side_px"),
}


def test_a_sound_catalogue_passes_byte_for_byte(shop):
    attributes(RED, ("use", "home"), ("use", "sea"))(shop.products[0])  # several values, as the schema allows
    assert shop.run() == 0
    for file in (shop.root / "data/catalog").rglob("*.parquet"):
        copied = shop.root / "data/checked" / file.relative_to(shop.root / "data/catalog")
        assert copied.read_bytes() == file.read_bytes()
    assert shop.quarantine() == []
    assert shop.summary()["passed"] is True
    assert shop.summary()["kinds"]["products"]["rows"] == 40
    assert not (shop.root / ".vitrine/quality").exists()


def test_further_pictures_must_decode_and_come_along(shop):
    form = WITH_MORE_IMAGES
    for i, product in enumerate(shop.products):
        product["more_images"] = [{"bytes": picture(100 + i), "path": ""}] if i % 2 else None
    shop.products[7]["more_images"].append({"bytes": picture(1)[:-600], "path": ""})
    assert shop.run(shards=3, form=form) == 0
    assert shop.checked() == [
        row for k in range(3) for row in shop.products[k::3] if row["product_id"] != "p07"
    ]
    (bad,) = [bad for bad in shop.quarantine() if bad["kind"] == "products"]
    assert (bad["product_id"], bad["field"]) == ("p07", "more_images")
    assert "picture 3 cannot be decoded" in bad["reason"]


def test_each_bad_product_is_set_aside_with_its_reason_and_the_rest_goes_on(shop):
    shop.params["max_bad_fraction"] = 0.5
    for i, (breaks, _, _) in enumerate(BAD_PRODUCTS.values(), start=40):
        shop.products.append(shop.product(i))
        breaks(shop.products[-1])
    assert shop.run(shards=3) == 0
    assert shop.ids() == {f"p{i:02d}" for i in range(40)}
    manifest = json.loads((shop.root / "data/checked/manifest.json").read_text())
    assert (manifest["products"], manifest["origin"]) == (40, "test")
    rows = [row for k in range(3) for row in shop.products[k::3]]  # the order of the shards
    found = {rows[bad["row"]]["title"]: bad for bad in shop.quarantine()}
    assert len(found) == len(shop.quarantine()) == len(BAD_PRODUCTS)  # one reason each
    for product, (name, (_, field, reason)) in zip(shop.products[40:], BAD_PRODUCTS.items(), strict=True):
        bad = found[product["title"]]
        assert (bad["kind"], bad["field"], bad["counted"]) == ("products", field, True), name
        assert bad["product_id"] == product["product_id"], name
        assert reason in bad["reason"], name


def test_overlong_names_reach_neither_rows_nor_schema_of_what_goes_on(shop):
    long, name = "c" * 20_000, "n" * 101
    note = {"type": "enum", "values": ["short", "v" * 1001, "\x1b[2J"]}
    sound = {"product_types": ["lamp", "t" * 201], "attributes": {name: {"type": "string"}, "note": note}}

    def name_them(root: Path) -> None:
        schema = {"categories": {**SCHEMA["categories"], "home": sound, long: sound}}
        (root / "data/catalog/schema.json").write_text(json.dumps(schema))

    home = {"category": "home", "product_type": "lamp", "attributes": []}
    shop.products[0] |= home | {"category": long}
    shop.products[1] |= home | {"product_type": "t" * 201}
    shop.products[2] |= home | {"attributes": [{"name": name, "value": "x"}]}
    assert shop.run(shards=1, damage=name_them) == 0
    assert shop.checked() == shop.products[3:]
    said = {bad["field"]: bad["reason"] for bad in shop.quarantine() if bad["kind"] == "products"}
    assert "category has 20000 characters, more than 200" in said["category"]
    assert "product_type has 201 characters" in said["product_type"]
    assert "has 101 characters, more than 100" in said["attributes"]
    assert max(map(len, said.values())) < 250
    categories = json.loads((shop.root / "data/checked/schema.json").read_text())["categories"]
    assert list(categories) == ["clothes", "home"]
    assert categories["home"]["product_types"] == ["lamp"]
    assert {n: a["values"] for n, a in categories["home"]["attributes"].items()} == {"note": ["short"]}
    left_out = shop.summary()["facts"]["Left out of the schema"]
    assert left_out == {"categories": 1, "product types": 1, "attributes": 1, "values": 2}


def test_a_shard_that_loses_all_its_rows_leaves_no_gap(shop):
    shop.params["max_bad_fraction"] = 0.5
    for product in shop.products[0::3]:
        product["title"] = "x" * 61
    assert shop.run(shards=3) == 0
    assert shop.ids() == {product["product_id"] for i, product in enumerate(shop.products) if i % 3}


def test_duplicate_ids_and_pairs_are_all_set_aside(shop):
    shop.products[30]["product_id"] = "p31"
    shop.qrels[2] |= {"product_id": shop.qrels[1]["product_id"]}
    assert shop.run() == 0
    assert not shop.ids() & {"p30", "p31"} and len(shop.ids()) == 38
    found = [bad for bad in shop.quarantine() if bad["kind"] == "products"]
    assert [bad["product_id"] for bad in found] == ["p31", "p31"]
    assert len({bad["row"] for bad in found}) == 2
    assert "used by more than one row" in found[0]["reason"]
    assert [bad["row"] for bad in shop.quarantine() if bad["kind"] == "qrels"] == [1, 2]


def test_values_outside_the_schema_may_be_only_reported(shop):
    shop.params |= {"attribute_values": "report", "required_attributes": "report"}
    attributes(("colour", "mauve"))(shop.products[3])
    attributes(("length_cm", "3"))(shop.products[4])
    assert shop.run() == 0
    assert len(shop.ids()) == 40
    noted = [e for e in shop.summary()["kinds"]["products"]["expectations"] if e["severity"] == "info"]
    assert [e["failing"] for e in noted] == [1, 1]


def reject(kind: str, row: int, field: str, reason: str) -> dict[str, Any]:
    return {"kind": kind, "product_id": "", "file": "a.csv", "row": row, "field": field, "reason": reason}


def test_rejects_of_the_import_count_and_are_shown(shop):
    shop.rejects = [
        reject("product", 7, "image", "no file 'a.jpg'"),
        reject("product", 7, "title", "missing"),
        reject("product", 9, "title", "missing"),
        reject("query", 7, "text", "missing"),
    ]
    assert shop.run() == 0
    kinds = shop.summary()["kinds"]
    counts = {kind: (said["rows"], said["quarantined"]) for kind, said in kinds.items()}
    assert counts == {"products": (42, 2), "queries": (13, 1), "qrels": (36, 0)}
    assert [bad["row"] for bad in shop.quarantine()] == [None] * 4
    assert shop.quarantine()[0]["reason"] == "a.csv, row 7: no file 'a.jpg'"
    assert len(shop.ids()) == 40
    checks = {(kind, e["says"]): e for kind in kinds for e in kinds[kind]["expectations"]}
    read = checks["products", "the source row can be read"]
    assert (read["rows"], read["failing"], read["success"]) == (42, 2, False)
    assert ("qrels", "the source row can be read") not in checks


def test_judgements_follow_a_bad_or_unread_product_and_do_not_count(shop):
    shop.products[1]["category"] = "toys"  # p01 answers q00, q01 and nothing else
    del shop.products[5]  # p05 answers q03, q04 and q05
    shop.rejects = [reject("product", 7, "image", "cannot be decoded") | {"product_id": "p05"}]
    assert shop.run() == 0
    left = pq.read_table(shop.root / "data/checked/qrels.parquet").to_pylist()
    assert left == [row for row in shop.qrels if row["product_id"] not in ("p01", "p05")]
    aside = [bad for bad in shop.quarantine() if bad["kind"] == "qrels"]
    assert not any(bad["counted"] for bad in aside)
    follow = Counter(bad["reason"] for bad in aside)
    assert follow == {"product 'p01' was set aside": 2, "product 'p05' was set aside": 3}
    assert shop.summary()["kinds"]["qrels"]["bad_fraction"] == 0


BAD_JUDGEMENTS = {
    "unknown product": ({"product_id": "zz"}, "product_id", "'zz' is no product"),
    "unknown query": ({"query_id": "zz"}, "query_id", "'zz' is no query"),
    "grade too high": ({"relevance": 4}, "relevance", "relevance 4"),
    "negative grade": ({"relevance": -1}, "relevance", "relevance -1"),
    "no grade": ({"relevance": None}, "relevance", "missing"),
    "desirability too high": ({"desirability": 5}, "desirability", "desirability 5"),
}


def test_each_bad_judgement_is_set_aside_with_its_reason(shop):
    shop.params["max_bad_fraction"] = 0.5
    rows = shop.qrels[2::3][: len(BAD_JUDGEMENTS)]  # each query keeps its better answers
    for row, (values, _, _) in zip(rows, BAD_JUDGEMENTS.values(), strict=True):
        row |= values
    assert shop.run() == 0
    found = shop.quarantine()
    assert sorted(bad["row"] for bad in found) == [2, 5, 8, 11, 14, 17]
    for bad in found:
        name, (_, field, reason) = list(BAD_JUDGEMENTS.items())[(bad["row"] - 2) // 3]
        assert (bad["field"], bad["counted"]) == (field, True), name
        assert reason in bad["reason"], name
    left = pq.read_table(shop.root / "data/checked/qrels.parquet").to_pylist()
    assert left == [row for row in shop.qrels if row not in rows]


BAD_QUERIES = {
    "no answer": (lambda q, r: [x.update(relevance=1) for x in r], "relevance", "relevance 2 or more"),
    "empty text": (lambda q, r: q.update(text="  "), "text", "0 characters"),
    "long text": (lambda q, r: q.update(text="\U0001f97f" * 41), "text", "41 characters"),
    "long id": (
        lambda q, r: [x.update(query_id="q" * 10_000) for x in (q, *r)],
        "query_id",
        "10000 characters",
    ),
    "escape": (lambda q, r: q.update(text="red \x1b[2J"), "text", "control character"),
    "unknown split": (lambda q, r: q.update(split="dev"), "split", "'dev' is unknown"),
}


def test_each_bad_query_is_set_aside_with_its_judgements(shop):
    shop.params["max_bad_fraction"] = 0.5
    numbers = (3, 0, 1, 2, 4, 5)  # the first is of the split test, where a query must have an answer
    for number, (breaks, _, _) in zip(numbers, BAD_QUERIES.values(), strict=True):
        own = [row for row in shop.qrels if row["query_id"] == f"q{number:02d}"]
        breaks(shop.queries[number], own)
    assert shop.run() == 0
    found = {bad["row"]: bad for bad in shop.quarantine() if bad["kind"] == "queries"}
    assert sorted(found) == sorted(numbers)
    for number, (_, field, reason) in zip(numbers, BAD_QUERIES.values(), strict=True):
        assert found[number]["field"] == field
        assert reason in found[number]["reason"]
    for file in ("queries", "qrels"):
        left = pq.read_table(shop.root / f"data/checked/{file}.parquet")["query_id"].to_pylist()
        assert set(left) == {f"q{i:02d}" for i in range(6, 12)}


def test_a_catalogue_without_queries_passes(shop):
    shop.queries, shop.qrels = [], []
    assert shop.run() == 0


def test_a_catalogue_whose_test_queries_are_all_bad_does_not(shop, capsys):
    shop.params["max_bad_fraction"] = 1.0
    shop.qrels = [{**row, "relevance": 0} for row in shop.qrels]
    assert "test queries left: 0" in refused(shop, capsys)


def refused(shop: Shop, capsys: pytest.CaptureFixture[str], **arguments: Any) -> str:
    """Run a gate that must fail: exit code 3, a sentence, page and quarantine beside the graph."""
    assert shop.run(**arguments) == 3
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(said) == 1
    for output in ("data/checked", "data/quarantine", "reports"):
        assert not (shop.root / output).exists()
    folder = shop.root / ".vitrine/quality/quality.catalogue"
    assert f"see {folder.relative_to(shop.root)}/page.html" in said[0]
    assert "Did not pass" in (folder / "page.html").read_text()
    assert json.loads((folder / "summary.json").read_text())["passed"] is False
    assert pq.read_schema(folder / "quarantine.parquet").names[:3] == ["kind", "product_id", "query_id"]
    return said[0]


def test_too_many_bad_rows_stop_the_pipeline_and_are_named(shop, capsys):
    for i in (1, 5, 9, 13):
        shop.products[i]["category"] = "toys"
    shop.products[20]["image"]["bytes"] = b"no"
    sentence = refused(shop, capsys)
    assert (
        "5 of 40 products are bad (12.5%, quality.max_bad_fraction is 10.0%): 4 not 'category is one of"
        in sentence
    )
    assert len([bad for bad in shop.quarantine(failed=True) if bad["kind"] == "products"]) == 5


def test_at_the_limit_the_rest_goes_on_unchanged_and_in_order(shop):
    for i in (0, 5, 13, 39):
        shop.products[i]["category"] = "toys"
    assert shop.run() == 0
    assert shop.checked() == [row for row in shop.products if row["category"] != "toys"]
    assert len(shop.ids()) == 36


def test_rejects_count_towards_the_limit(shop, capsys):
    shop.rejects = [reject("product", i, "image", "none") for i in range(5)]
    assert "5 of 45 products are bad" in refused(shop, capsys)


def every(field: str, value: Any) -> Callable[[Shop], None]:
    return lambda shop: [product.update({field: value}) for product in shop.products]


def no_test_split(shop: Shop) -> None:
    for row in [*shop.products, *shop.queries]:
        row["split"] = "train" if row["split"] == "test" else row["split"]


def twin_pictures(shop: Shop) -> None:
    for i in range(0, 8, 2):
        shop.products[i]["image"]["bytes"] = picture(99)


BAD_SETS: dict[str, tuple[Callable[[Shop], Any], str]] = {
    "group across splits": (
        lambda s: s.products[8].update(group_id="g6"),
        "'a group lies in one split' does not hold",
    ),
    "empty split": (no_test_split, "products in split test: 0, fewer than 2"),
    "too few products": (
        lambda s: s.params.update(min_products=41),
        "products left: 40, fewer than 41; the limit is quality.min_products)",
    ),
    "picture in two splits": (
        twin_pictures,
        "of the pictures occur in more than one split' does not hold (4 rows",
    ),
    "nothing left": (
        lambda s: (every("category", "toys")(s), s.params.update(max_bad_fraction=1.0)),
        "products left: 0",
    ),
}


TOGETHER = ("group across splits", "too few products")  # a sentence names the first two


@pytest.mark.parametrize("names", [TOGETHER, *([name] for name in BAD_SETS if name not in TOGETHER)])
def test_a_set_that_breaks_the_contract_stops_the_pipeline(shop, capsys, names):
    for name in names:
        BAD_SETS[name][0](shop)
    sentence = refused(shop, capsys)
    assert all(BAD_SETS[name][1] in sentence for name in names), sentence


def test_few_twin_pictures_are_let_through_but_noted(shop):
    shop.params["max_cross_split_pictures"] = 0.2
    twin_pictures(shop)
    assert shop.run() == 0
    checks = shop.summary()["kinds"]["products"]["expectations"]
    assert next(e for e in checks if "the pictures occur" in e["says"])["failing"] == 4


def cushion(hue: int, side: int = 96, form: str = "PNG") -> bytes:
    """One woven cushion on white ground, dyed in one of 256 hues."""
    across, down = np.meshgrid(np.linspace(-1, 1, 96), np.linspace(-1, 1, 96))
    inside = np.abs(across) ** 4 + np.abs(down) ** 4 < 0.3
    value = 200 - 40 * across - 20 * np.sin(9 * down)
    pixels = np.stack([np.full_like(value, hue), np.where(inside, 190, 0), np.where(inside, value, 255)], -1)
    image = Image.fromarray(pixels.astype(np.uint8), "HSV").convert("RGB")
    buffer = io.BytesIO()
    image.resize((side, side), Image.Resampling.LANCZOS).save(buffer, form)
    return buffer.getvalue()


def test_one_design_in_twelve_colours_is_not_one_picture(shop):
    shop.params["max_cross_split_pictures"] = 0
    for i in range(12):
        shop.products[2 * i]["image"]["bytes"] = cushion(256 * i // 12)
    assert shop.run() == 0
    assert len(shop.ids()) == 40


def test_smaller_copies_in_another_split_are_found_and_named(shop, capsys):
    copies = {0: cushion(20), 7: cushion(20, 48, "JPEG"), 12: cushion(20, 96, "WEBP"), 22: cushion(60)}
    for i, data in copies.items():
        shop.products[i]["image"]["bytes"] = data
    shop.params["max_cross_split_pictures"] = 0
    sentence = refused(shop, capsys)
    assert "does not hold (3 rows; first: the picture of product 'p00' lies in 3 splits" in sentence
    assert (
        "in another one as that of 'p07'; name a field that both share as 'group' in the mapping" in sentence
    )


def test_a_catalogue_without_products_is_refused(shop, capsys):
    shop.products = []
    assert "holds no products" in refused(shop, capsys)


def without_shards(root: Path) -> None:
    for file in (root / "data/catalog/products").iterdir():
        file.unlink()


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no shards": (without_shards, "no products/part-*.parquet"),
    "damaged shard": (
        lambda r: (r / "data/catalog/products/part-00001.parquet").write_bytes(b"PAR1"),
        "a shard of data/catalog is damaged",
    ),
    "no queries": (lambda r: (r / "data/catalog/queries.parquet").unlink(), "queries.parquet"),
    "schema is no schema": (lambda r: (r / "data/catalog/schema.json").write_text("[]"), "schema.json"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_cannot_be_read_does_not_pass(shop, capsys, name):
    damage, words = DAMAGE[name]
    assert words in refused(shop, capsys, damage=damage)


def expect(shop: Shop, table: str, kind: str, severity: str = "warning", **kwargs: Any) -> None:
    """What a data steward does: one more line in the parameters of a profile."""
    texts = {name: kwargs.pop(name) for name in ("description", "reason") if name in kwargs}
    line = {"type": kind, "kwargs": kwargs, "severity": severity, **texts}
    shop.params.setdefault("expectations", {}).setdefault(table, []).append(line)


def test_a_line_in_a_profile_sets_rows_aside(shop):
    shop.params["max_bad_fraction"] = 0.5
    expect(shop, "products", "expect_column_value_lengths_to_be_between", column="title", min_value=8)
    assert shop.run() == 0
    assert shop.ids() == {f"p{i:02d}" for i in range(10, 40)}  # "title 9" is too short
    bad = [bad for bad in shop.quarantine() if bad["kind"] == "products"]
    assert {bad["reason"] for bad in bad} == {f"title is 'title {i}'" for i in range(10)}
    assert {bad["expectation"] for bad in bad} == {"title column value lengths to be between (min_value 8)"}


FURTHER: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "an attribute": (
        "products",
        "expect_column_values_to_be_in_set",
        {"column": "attributes.colour", "value_set": ["red"]},
        1,
    ),
    "width of pictures": (
        "products",
        "expect_column_values_to_be_between",
        {"column": "image_width", "min_value": 20},
        1,
    ),
    "a regular expression": (
        "products",
        "expect_column_values_to_match_regex",
        {"column": "title", "regex": "^title"},
        1,
    ),
    "titles of the whole catalogue": (
        "products",
        "expect_column_values_to_be_unique",
        {"column": "title"},
        2,
    ),
    "a parameter": (
        "queries",
        "expect_column_value_lengths_to_be_between",
        {"column": "text", "max_value": "${min_products}"},
        12,
    ),
}


def test_lines_of_a_steward_hold_for_every_column_and_one_about_the_whole_sets_nothing_aside(shop):
    attributes(("colour", "blue"))(shop.products[4])
    shop.products[5]["image"]["bytes"] = picture(1, side=10)
    shop.products[6]["title"] = "TITLE 6"
    shop.products[8]["title"] = "title 9"  # of another shard than the one it repeats
    for name, (table, kind, kwargs, _) in FURTHER.items():
        expect(shop, table, kind, "info", **kwargs, description=name)
    expect(shop, "products", "expect_column_mean_to_be_between", column="image_width", min_value=100,
           description="pictures are large")  # fmt: skip
    assert shop.run() == 0
    checks = [e for said in shop.summary()["kinds"].values() for e in said["expectations"]]
    found = {e["says"]: e["failing"] for e in checks}
    assert {name: found[name] for name in FURTHER} == {n: failing for n, (*_, failing) in FURTHER.items()}
    assert shop.quarantine() == []
    page = (shop.root / "reports/quality/catalog.html").read_text()
    assert "\u2018pictures are large\u2019 does not hold" in page


def test_a_critical_line_about_the_whole_stops_the_pipeline(shop, capsys):
    expect(shop, "products", "expect_column_mean_to_be_between", "critical", column="image_width",
           min_value=100, reason="the mean is {value:.0f} px", description="pictures are large")  # fmt: skip
    assert "'pictures are large' does not hold (the mean is 24 px)" in refused(shop, capsys)


BAD_LINES: dict[str, tuple[tuple[str, str, str, dict[str, Any]], str]] = {
    "table": (
        ("goods", "expect_column_values_to_not_be_null", "info", {"column": "title"}),
        "no table 'goods'",
    ),
    "type": (
        ("products", "expect_column_values_to_be_nul", "info", {"column": "title"}),
        "did you mean expect_column_values_to_be_null",
    ),
    "column": (
        ("products", "expect_column_values_to_not_be_null", "info", {"column": "tittle"}),
        "could not be done",
    ),
    "argument": (
        ("products", "expect_column_values_to_be_between", "info", {"column": "image_width", "least": 3}),
        "cannot be asked like this",
    ),
    "parameter": (
        (
            "products",
            "expect_column_values_to_be_between",
            "info",
            {"column": "row", "max_value": "${max_titel}"},
        ),
        "did you mean ${max_title_chars}",
    ),
    "nowhere to put rows": (
        ("kept_products", "expect_column_values_to_not_be_null", "warning", {"column": "split"}),
        "no row of it can be set aside",
    ),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_line_that_cannot_be_checked_fails_closed(shop, capsys, name):
    (table, kind, severity, kwargs), words = BAD_LINES[name]
    expect(shop, table, kind, severity, **kwargs)
    assert words in refused(shop, capsys)


def test_an_expectation_that_raises_fails_closed(shop, capsys):
    expect(shop, "products", "expect_column_values_to_match_regex", "info",
           column="product_id", regex="(", description="titles match")  # fmt: skip
    sentence = refused(shop, capsys)
    assert "the check 'titles match' could not be done" in sentence
    page = shop.root / ".vitrine/quality/quality.catalogue/page.html"
    assert "could not be checked" in page.read_text()


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError("full"), KeyError("x")])
def test_an_error_while_checking_fails_closed(shop, capsys, monkeypatch, error):
    from components.quality import expectations

    def explode(*_: object) -> None:
        raise error

    monkeypatch.setattr(expectations, "_validated", explode)
    assert "nothing passes unchecked" in refused(shop, capsys)


def test_a_check_without_a_result_fails_closed(shop, capsys, monkeypatch):
    from components.quality import expectations

    real = expectations._validated
    monkeypatch.setattr(expectations, "_validated", lambda f, c: {k: v for k, v in real(f, c).items() if k})
    assert "No result came back" in refused(shop, capsys)


def test_the_same_catalogue_gives_the_same_bytes(tmp_path, monkeypatch):
    outputs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        shop = Shop(tmp_path / name)
        shop.params["workers"] = 1 if name == "a" else 2
        shop.products[5]["category"] = "<script>alert(1)</script>"
        shop.qrels[30]["product_id"] = "zz"
        assert shop.run(shards=3) == 0
        found = {}
        for folder in ("data/checked", "data/quarantine", "reports"):
            for file in sorted((tmp_path / name / folder).rglob("*")):
                if file.is_file():
                    found[file.relative_to(tmp_path / name).as_posix()] = file.read_bytes()
        outputs.append(found)
    assert outputs[0] == outputs[1]
    page = outputs[0]["reports/quality/catalog.html"].decode()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
