"""The product index: equal to brute force, checked on load, filtered, repeatable."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.retrieval.errors import IndexFileError, RetrievalDataError
from components.retrieval.index import build_index, load_index
from components.retrieval.params import IndexParams
from components.stage.frame import main

PAIRS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))
FLAT = IndexParams(
    kind="flat", hnsw_m=16, ef_construction=80, ef_search=64, exact_filter_below=0.2, threads=1
)
HNSW = FLAT.model_copy(update={"kind": "hnsw"})
COLOURS = ("red", "green", "blue")


def unit_vectors(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def product_table(n: int) -> pa.Table:
    attributes = [
        [{"name": "colour", "value": COLOURS[i % 3]}]
        + ([{"name": "neck", "value": "round"}] if i % 50 == 0 else [])
        + ([{"name": "use", "value": use} for use in ("home", "office")] if i % 10 == 1 else [])
        for i in range(n)
    ]
    return pa.table(
        {
            "product_id": [f"p{i:05d}" for i in range(n)],
            "title": [f"title {i}" for i in range(n)],
            "category": ["clothes" if i % 2 else "home" for i in range(n)],
            "product_type": [f"type{i % 5}" for i in range(n)],
            "attributes": pa.array([a if i % 7 else None for i, a in enumerate(attributes)], PAIRS),
            "group_id": [f"g{i}" for i in range(n)],
            "split": ["test" if i % 4 == 0 else "train" for i in range(n)],
        }
    )


def meta(n: int, d: int = 16) -> dict[str, object]:
    return {"dimension": d, "count": n, "kind": "image", "model_sha256": "aa", "preprocessing_sha256": "bb"}


@pytest.mark.parametrize("params", [FLAT, HNSW], ids=["flat", "hnsw"])
@pytest.mark.parametrize(
    "every",
    [1, 2, 12, 50, 600],  # one product of so many is allowed
)
def test_search_finds_what_brute_force_finds(tmp_path, params, every):
    n, k = 600, 8
    vectors, queries, table = unit_vectors(n), unit_vectors(20, seed=1), product_table(n)
    build_index(tmp_path / "index", vectors, table, meta(n), params)
    index = load_index(tmp_path / "index", "aa", "bb")
    allowed = np.arange(n) % every == 0
    scores, rows = index.search(queries, k, allowed if every > 1 else None)
    exact = np.where(allowed, queries @ vectors.T, -np.inf)
    expected = np.argsort(-exact, axis=1)[:, :k]
    count = min(k, sum(allowed))
    assert (rows[:, :count] >= 0).all() and (rows[:, count:] == -1).all()
    assert np.isneginf(scores[:, count:]).all()
    overlap = np.mean([len({*a[:count]} & {*b[:count]}) / count for a, b in zip(rows, expected, strict=True)])
    assert overlap >= (1.0 if params.kind == "flat" else 0.95)
    found = np.take_along_axis(exact, rows[:, :count], axis=1)
    np.testing.assert_allclose(scores[:, :count], found, atol=1e-5)
    assert (np.diff(scores[:, :count], axis=1) <= 1e-6).all()


@pytest.mark.parametrize("params", [FLAT, HNSW], ids=["flat", "hnsw"])
@pytest.mark.parametrize("every", [1, 12])  # one product of so many is allowed
def test_biases_are_taken_from_scores_where_a_search_asks_for_it(tmp_path, params, every):
    n, k = 600, 8
    vectors, queries, table = unit_vectors(n), unit_vectors(20, seed=1), product_table(n)
    biases = np.random.default_rng(2).random(n, np.float32)
    build_index(tmp_path / "index", vectors, table, meta(n), params, biases=biases)
    index = load_index(tmp_path / "index")
    allowed = np.arange(n) % every == 0 if every > 1 else None
    for less_bias in (False, True):
        exact = queries @ vectors.T - (biases if less_bias else 0)
        exact = exact if allowed is None else np.where(allowed, exact, -np.inf)
        scores, rows = index.search(queries, k, allowed, less_bias=less_bias)
        expected = np.argsort(-exact, axis=1)[:, :k]
        overlap = np.mean([len({*a} & {*b}) / k for a, b in zip(rows, expected, strict=True)])
        assert overlap >= (1.0 if params.kind == "flat" else 0.95)
        np.testing.assert_allclose(scores, np.take_along_axis(exact, rows, axis=1), atol=1e-5)
    np.testing.assert_array_equal(index.vector(3), vectors[3])


@pytest.mark.parametrize("params", [FLAT, HNSW], ids=["flat", "hnsw"])
def test_equal_input_gives_equal_bytes(tmp_path, params):
    import faiss

    for name, threads in (("a", 1), ("b", 2)):
        faiss.omp_set_num_threads(threads)
        build_index(tmp_path / name, unit_vectors(700), product_table(700), meta(700), params)
        assert faiss.omp_get_max_threads() == threads
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == ["index.faiss", "meta.json", "products.parquet"]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    build_index(tmp_path / "index", unit_vectors(30), product_table(30), meta(30), FLAT)
    return tmp_path / "index"


def flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / "index.faiss").read_bytes())
    data[-1] ^= 1
    (folder / "index.faiss").write_bytes(data)


def other_products(folder: Path) -> None:
    pq.write_table(product_table(29), folder / "products.parquet")
    rehash(folder)


def other_index(folder: Path) -> None:
    (folder / "index.faiss").write_bytes(b"not an index")
    rehash(folder)


def rehash(folder: Path) -> None:
    description = json.loads((folder / "meta.json").read_text())
    for name in description["sha256"]:
        description["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "meta.json").write_text(json.dumps(description))


def wrong_kind(folder: Path) -> None:
    description = json.loads((folder / "meta.json").read_text())
    description["index"]["kind"] = "hnsw"
    (folder / "meta.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip_a_byte, "differs from what meta.json states"),
        (other_products, "is inconsistent"),
        (other_index, "cannot be read"),
        (wrong_kind, "is inconsistent"),
        (lambda folder: (folder / "products.parquet").unlink(), "missing"),
        (lambda folder: (folder / "meta.json").unlink(), "no index here"),
        (lambda folder: (folder / "meta.json").write_text("{}"), "does not describe an index"),
    ],
)
def test_a_damaged_index_is_refused(small, damage, words):
    damage(small)
    with pytest.raises(IndexFileError, match=words) as caught:
        load_index(small)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("asked", [("zz", "bb"), ("aa", "zz")])
def test_an_index_of_another_model_is_refused(small, asked):
    with pytest.raises(IndexFileError, match="zz"):
        load_index(small, *asked)


def test_nothing_is_found_where_nothing_is_allowed(small):
    scores, rows = load_index(small).search(unit_vectors(1), 3, np.zeros(30, bool))
    assert rows.tolist() == [[-1, -1, -1]] and np.isneginf(scores).all()


def test_products_are_found_by_id_and_their_vectors_find_them(small):
    index = load_index(small)
    row = index.row_of("p00011")
    assert index.search(index.vector(row)[None], 1)[1].tolist() == [[row]]
    assert index.product(row)["attributes"] == {"colour": "blue", "use": ("home", "office")}
    assert index.product(0)["attributes"] == {}
    with pytest.raises(RetrievalDataError, match="no product 'p9'"):
        index.row_of("p9")


@pytest.mark.parametrize(
    "change",
    [{"vectors": np.full((30, 16), np.nan)}, {"table": product_table(29)}, {"meta": meta(31)}, {"meta": {}}],
)
def test_input_that_does_not_fit_is_refused(tmp_path, change):
    given = {"vectors": unit_vectors(30), "table": product_table(30), "meta": meta(30)} | change
    with pytest.raises(RetrievalDataError):
        build_index(tmp_path / "index", given["vectors"], given["table"], given["meta"], FLAT)


def workspace(root: Path, n: int = 40) -> None:
    """A workspace whose embeddings are in order of id and whose shards are not."""
    (root / "data/embeddings").mkdir(parents=True)
    (root / "data/checked/products").mkdir(parents=True)
    (root / "reports/quality").mkdir(parents=True)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(unit_vectors(n).reshape(-1)), 16)
    ids = [f"p{i:05d}" for i in range(n)]
    file = root / "data/embeddings/embeddings.parquet"
    pq.write_table(pa.table({"product_id": ids, "vector": vectors}), file)
    (root / "data/embeddings/meta.json").write_text(json.dumps(meta(n)))
    table = product_table(n)
    for i in range(2):
        rows = [r for r in range(n) if r % 2 == i]
        pq.write_table(table.take(rows), root / f"data/checked/products/part-{i:05d}.parquet")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    report = {"passed": True, "inputs": {"data/embeddings/embeddings.parquet": digest}}
    (root / "reports/quality/embeddings.json").write_text(json.dumps(report))
    (root / "params.yaml").write_text(json.dumps({"index": FLAT.model_dump()}))


def run_stage() -> int:
    return main(["retrieval"])


def test_the_stage_builds_a_searchable_index(tmp_path, monkeypatch):
    workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run_stage() == 0
    index = load_index(tmp_path / "models/index", "aa", "bb")
    assert index.products["product_id"].to_pylist() == [f"p{i:05d}" for i in range(40)]
    assert index.search(unit_vectors(40), 1)[1][:, 0].tolist() == list(range(40))


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ('{"passed": false, "inputs": {"data/embeddings/embeddings.parquet": ""}}', "did not pass"),
        ('{"passed": true, "inputs": {"data/embeddings/embeddings.parquet": "00"}}', "judged another"),
        ("{}", "missing or unreadable"),
    ],
)
def test_the_stage_refuses_embeddings_that_no_gate_passed(tmp_path, monkeypatch, capsys, report, words):
    workspace(tmp_path)
    (tmp_path / "reports/quality/embeddings.json").write_text(report)
    monkeypatch.chdir(tmp_path)
    assert run_stage() == 4
    assert words in capsys.readouterr().err
    assert not (tmp_path / "models/index").exists()


def test_the_stage_refuses_embeddings_of_other_products(tmp_path, monkeypatch, capsys):
    workspace(tmp_path)
    (tmp_path / "data/checked/products/part-00001.parquet").unlink()
    monkeypatch.chdir(tmp_path)
    assert run_stage() == 4
    assert "p00001" in capsys.readouterr().err
