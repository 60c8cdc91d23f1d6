"""The embeddings' gate, through its stage: one finite unit vector per checked product, and no collapse."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.catalog.format.records import PRODUCTS
from components.stage import frame
from tests.data.parameter_blocks import quality_block
from tests.data.stage_workspace import enter

pytest.importorskip("great_expectations")

PARAMS = quality_block(max_bad_fraction=0.5, min_products=1, min_products_per_split=1, min_test_queries=0)
N, D = 30, 8


class Embedded:
    """Sound embeddings of a checked catalogue, to break before they are written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ids = [f"p{i:02d}" for i in range(N)]
        vectors = np.random.default_rng(0).standard_normal((N, D))
        self.vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        self.meta: dict[str, Any] = {
            "dimension": D,
            "count": N,
            "kind": "image",
            "model_sha256": "aa",
            "preprocessing_sha256": "bb",
        }

    def run(self) -> int:
        products = [{"product_id": f"p{i:02d}"} for i in range(N)]
        (self.root / "data/checked/products").mkdir(parents=True)
        (self.root / "data/embeddings").mkdir(parents=True)
        pq.write_table(
            pa.Table.from_pylist(products, schema=PRODUCTS),
            self.root / "data/checked/products/part-00000.parquet",
        )
        flat = pa.array(self.vectors.reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, self.vectors.shape[1] if self.vectors.size else D)
        table = pa.table({"product_id": pa.array(self.ids, pa.string()), "vector": vectors})
        pq.write_table(table, self.root / "data/embeddings/embeddings.parquet", row_group_size=7)
        (self.root / "data/embeddings/meta.json").write_text(json.dumps(self.meta))
        (self.root / "params.yaml").write_text(json.dumps({"quality": PARAMS}))
        return frame.main(["quality.embeddings"])


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    return Embedded(enter(tmp_path, monkeypatch))


def test_sound_embeddings_pass_and_the_report_names_what_it_judged(embedded):
    assert embedded.run() == 0
    report = json.loads((embedded.root / "reports/quality/embeddings.json").read_text())
    file = embedded.root / "data/embeddings/embeddings.parquet"
    assert report["passed"] is True
    assert report["inputs"] == {
        "data/embeddings/embeddings.parquet": hashlib.sha256(file.read_bytes()).hexdigest()
    }
    assert "Passed" in (embedded.root / "reports/quality/embeddings.html").read_text()


def drop_last(e: Embedded) -> None:
    e.ids, e.vectors = e.ids[:-1], e.vectors[:-1]
    e.meta["count"] = N - 1


def nothing(e: Embedded) -> None:
    e.ids, e.vectors = [], e.vectors[:0]


def swap(e: Embedded) -> None:
    e.ids[3], e.ids[4] = e.ids[4], e.ids[3]


def same(e: Embedded, count: int) -> None:
    e.vectors[:count] = e.vectors[0]


def cone(e: Embedded) -> None:
    vectors = e.vectors[0] + 0.05 * e.vectors
    e.vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


BROKEN: dict[str, tuple[Callable[[Embedded], Any], str]] = {
    "not a number": (lambda e: e.vectors.__setitem__((3, 2), np.nan), "every number is finite"),
    "infinite": (lambda e: e.vectors.__setitem__((3, 2), np.inf), "every number is finite"),
    "not normalised": (lambda e: e.vectors.__setitem__(5, 2 * e.vectors[5]), "its length is 2.0000"),
    "zero vector": (lambda e: e.vectors.__setitem__(5, 0), "its length is 0.0000"),
    "product without a vector": (drop_last, "1 checked products have none"),
    "vector without a product": (
        lambda e: e.ids.__setitem__(N - 1, "zz"),
        "every vector belongs to a checked product",
    ),
    "two vectors of a product": (lambda e: e.ids.__setitem__(4, "p03"), "a product has one vector"),
    "out of order": (swap, "1 are out of order"),
    "count misstated": (lambda e: e.meta.update(count=3), "meta.json states the count"),
    "dimension misstated": (lambda e: e.meta.update(dimension=3), "meta.json states the count"),
    "no model hash": (lambda e: e.meta.pop("model_sha256"), "does not state model_sha256"),
    "all but a few identical": (lambda e: same(e, 21), "the model has collapsed"),
    "all in one direction": (cone, "mean cosine"),
    "none": (nothing, "holds no vectors"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_embeddings_stop_the_pipeline(embedded, capsys, name):
    breaks, words = BROKEN[name]
    breaks(embedded)
    assert embedded.run() == 3
    assert words in capsys.readouterr().err
    assert not (embedded.root / "reports").exists()


def test_two_thirds_less_one_identical_vectors_pass(embedded):
    same(embedded, 20)
    assert embedded.run() == 0
