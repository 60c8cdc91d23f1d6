"""A catalogue on disk: what goes in comes out, in order, in bounded pieces, with the same bytes each time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.catalog.format.attributes import facts, of_facts, of_pairs, pairs
from components.catalog.format.errors import CatalogueError
from components.catalog.format.records import (
    PRODUCTS,
    QRELS,
    QUERIES,
    SPLITS,
    TRUTH,
    WITH_MORE_IMAGES,
    Noise,
    Product,
    Qrel,
    Query,
    Split,
    Truth,
)
from components.catalog.format.schema import CatalogSchema, Category, write_schema
from components.catalog.format.shards import (
    Catalogue,
    CatalogueWriter,
    write_manifest,
    write_qrels,
    write_queries,
)
from components.catalog.format.truth import TruthWriter, read_truth
from components.encoder.search.conditions import conditions
from components.search.products import fulfilling

SCHEMA = CatalogSchema(categories={"c": Category(product_types=("t",))})


def product(number: int, **values: object) -> Product:
    base = {
        "product_id": f"{number:05d}",
        "image": b"picture %d" % number,
        "image_path": f"images/{number}.jpg",
        "title": f"title {number}",
        "category": "c",
        "product_type": "t",
        "attributes": {"b": "2", "a": str(number)},
        "group_id": f"g{number}",
        "split": SPLITS[number % 3],
    }
    return Product(**{**base, **values})


def write(path: Path, count: int, rows_per_shard: int = 300) -> Catalogue:
    with CatalogueWriter(path, rows_per_shard) as writer:
        for number in range(count):
            writer.add(product(number))
    write_queries(path, [Query(query_id="q1", text="x", split="train"), Query(query_id="q2", text="y")])
    write_qrels(path, [Qrel(query_id="q1", product_id="00001", relevance=3, desirability=None)])
    write_schema(path / "schema.json", SCHEMA)
    write_manifest(path, {"products": count})
    return Catalogue(path)


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    catalogue = write(tmp_path, 700)
    assert list(catalogue.products()) == [product(number) for number in range(700)]
    assert catalogue.product_count == 700
    assert catalogue.schema == SCHEMA
    assert catalogue.manifest == {"products": 700}
    assert [query.query_id for query in catalogue.queries()] == ["q1", "q2"]
    assert [query.query_id for query in catalogue.queries("test")] == ["q2"]
    assert catalogue.qrels() == [Qrel(query_id="q1", product_id="00001", relevance=3, desirability=None)]


def test_files_have_the_contract_columns_and_small_row_groups(tmp_path: Path) -> None:
    catalogue = write(tmp_path, 700)
    assert [shard.name for shard in catalogue.shards] == [f"part-0000{n}.parquet" for n in range(3)]
    for shard in catalogue.shards:
        file = pq.ParquetFile(shard)
        assert file.schema_arrow.equals(PRODUCTS)
        assert all(file.metadata.row_group(n).num_rows <= 256 for n in range(file.num_row_groups))
    assert pq.read_schema(tmp_path / "queries.parquet").equals(QUERIES)
    assert pq.read_schema(tmp_path / "qrels.parquet").equals(QRELS)


def test_further_pictures_have_a_column_only_where_a_catalogue_has_them(tmp_path: Path) -> None:
    more = [product(n, more_images=(b"back", b"side %d" % n) if n % 2 else ()) for n in range(5)]
    with CatalogueWriter(tmp_path, 2, more_images=True) as writer:
        for one in more:
            writer.add(one)
    catalogue = Catalogue(tmp_path)
    assert catalogue.has_more_images and list(catalogue.products()) == more
    assert all(pq.read_schema(shard).equals(WITH_MORE_IMAGES) for shard in catalogue.shards)
    assert next(catalogue.products(["title"])).more_images == ()
    assert not write(tmp_path / "plain", 3).has_more_images


def test_large_pictures_close_a_row_group_early(tmp_path: Path) -> None:
    with CatalogueWriter(tmp_path, 300) as writer:
        for number in range(6):
            writer.add(product(number, image=bytes(12 * 2**20)))
    metadata = pq.read_metadata(Catalogue(tmp_path).shards[0])
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [3, 3]


def test_same_products_same_bytes(tmp_path: Path) -> None:
    def digests(folder: Path) -> list[str]:
        write(folder, 400)
        return [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()]

    assert digests(tmp_path / "a") == digests(tmp_path / "b")


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_exactly_its_products(tmp_path: Path, split: Split) -> None:
    catalogue = write(tmp_path, 700)
    expected = [product(number) for number in range(700) if SPLITS[number % 3] == split]
    assert list(catalogue.products(split=split)) == expected
    assert list(catalogue.images(split=split)) == [(p.product_id, p.image) for p in expected]
    assert catalogue.table(["product_id"], split)["product_id"].to_pylist() == [
        p.product_id for p in expected
    ]


def test_columns_not_asked_for_are_not_there(tmp_path: Path) -> None:
    catalogue = write(tmp_path, 5)
    assert "image" not in catalogue.table().column_names
    assert catalogue.table(["title", "image"]).column_names == ["title", "image"]
    bare = next(catalogue.products(columns=["title"]))
    assert (bare.product_id, bare.title, bare.image, bare.attributes) == ("00000", "title 0", b"", {})


def test_images_of_some_products(tmp_path: Path) -> None:
    catalogue = write(tmp_path, 700)
    assert [name for name, _ in catalogue.images(["00699", "00003"])] == ["00003", "00699"]
    with pytest.raises(CatalogueError, match="99999"):
        list(catalogue.images(["00003", "99999"]))


def test_disorder_is_refused_and_equal_ids_are_not(tmp_path: Path) -> None:
    with CatalogueWriter(tmp_path, 10) as writer:
        writer.add(product(5))
        writer.add(product(5, title="again"))
        with pytest.raises(CatalogueError, match="'00004' came after '00005'"):
            writer.add(product(4))
        with pytest.raises(CatalogueError, match="no split"):
            writer.add(product(6, split=None))
    assert [p.title for p in Catalogue(tmp_path).products()] == ["title 5", "again"]


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="not a catalogue"):
        Catalogue(tmp_path / "nothing")
    catalogue = write(tmp_path, 300)
    (tmp_path / "queries.parquet").unlink()
    with pytest.raises(CatalogueError, match=r"queries\.parquet does not exist"):
        catalogue.queries()
    shard = catalogue.shards[0]
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(CatalogueError, match=r"part-00000\.parquet"):
        list(catalogue.products())
    with pytest.raises(CatalogueError, match="no column price"):
        next(write(tmp_path / "b", 3).products(columns=["price"]))


def test_damaged_pages_are_an_error_not_a_crash(tmp_path: Path) -> None:
    catalogue = write(tmp_path, 250)
    data = bytearray(catalogue.shards[0].read_bytes())
    data[100:160] = bytes(60)
    catalogue.shards[0].write_bytes(bytes(data))
    with pytest.raises(CatalogueError, match="damaged"):
        list(catalogue.products())


def test_truth_comes_back(tmp_path: Path) -> None:
    rows = [
        Truth(product_id="1", box=(0.0, 0.25, 0.5, 1.0), scene="cluttered", attributes={"a": "b"}),
        Truth(product_id="2", title="t", noise=(Noise(field="title", kind="shouting", detail="d"),)),
    ]
    with TruthWriter(tmp_path / "truth.parquet") as writer:
        for row in rows:
            writer.add(row)
    assert list(read_truth(tmp_path / "truth.parquet")) == rows
    assert pq.read_schema(tmp_path / "truth.parquet").equals(TRUTH)


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.text(max_size=30), min_size=1, max_size=8),
    attributes=st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=4),
    rows_per_shard=st.integers(1, 4),
)
def test_any_text_and_any_shard_size(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    attributes: dict[str, str],
    rows_per_shard: int,
) -> None:
    path = tmp_path_factory.mktemp("any")
    products = [product(n, title=text, attributes=attributes) for n, text in enumerate(texts)]
    with CatalogueWriter(path, rows_per_shard) as writer:
        for item in products:
            writer.add(item)
    catalogue = Catalogue(path)
    assert list(catalogue.products()) == products
    assert len(catalogue.shards) == -(-len(products) // rows_per_shard)


def test_several_values_come_back_as_a_set_and_products_are_found_by_any_of_them(tmp_path: Path) -> None:
    uses = [("home", "office"), "home", ("office", "sea")]
    with CatalogueWriter(tmp_path, rows_per_shard=2) as writer:
        for n, use in enumerate(uses):
            writer.add(product(n, attributes={"use": use, "colour": "red"}))
    assert [p.attributes["use"] for p in Catalogue(tmp_path).products()] == uses
    assert fulfilling(tmp_path, conditions(["use=Office"])).tolist() == [True, False, True]
    assert fulfilling(tmp_path, conditions(["use=home", "colour=red"])).tolist() == [True, True, False]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(min_size=1, max_size=3)), max_size=9))
def test_pairs_and_attributes_say_the_same_set(stated: list[tuple[str, str]]) -> None:
    attributes = of_facts(stated)
    assert of_pairs(pairs(attributes)) == attributes == of_facts(reversed(stated))
    assert (
        sorted(facts(attributes))
        == sorted(set(stated))
        == [(p["name"], p["value"]) for p in pairs(attributes)]
    )
