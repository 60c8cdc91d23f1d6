"""Evaluation and search, from files on disk to figures and hits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.catalog.format.schema import read_schema
from components.encoder.search.conditions import conditions
from components.fusion.evaluate.held_out import carelessly_written, sparse, without_pictures, without_texts
from components.fusion.evaluate.params import FusionEvaluationParams
from components.fusion.model.baselines import UNSEEN, best_text_share, cosine, weighted
from components.fusion.model.errors import FusionDataError
from components.fusion.model.fuse.item_vectors import fused_vectors
from components.fusion.model.params import EncodeParams, FusionParams
from components.fusion.model.towers.towers import Items, joined
from components.retrieval.metrics import Qrels
from components.search.search import FusionModel, open_model, search
from components.stage.resume import sha256_folder
from tests.model.fusion.conftest import ENCODE, WITHOUT_PICTURE, run_stage, write_shop


@pytest.fixture
def model(trained: Path) -> FusionModel:
    return open_model(trained / "models/fusion", "moe_bilinear", EncodeParams.model_validate(ENCODE), None, 1)


@pytest.fixture
def items(model: FusionModel, shop: Path) -> Items:
    return joined(model.towers.stream(shop / "data/checked"))


def test_every_row_and_slice_is_measured(trained: Path) -> None:
    metrics = json.loads((trained / "metrics/fusion.json").read_text())
    rows = {"bm25", "text_only", "image_only", "average", "fixed_weights", "concat_mlp", "moe_bilinear"}
    rows |= {"hybrid", "hybrid_image", "hybrid_image_type", "moe_bilinear_vectors"}
    assert set(metrics) == rows | {"_tests"}
    plain = {"ndcg_at_1", "ndcg_at_10", "desirability_ndcg_at_1", "desirability_ndcg_at_10"}
    plain |= {"recall_at_100", "mrr", "textual_ndcg_at_10", "visual_ndcg_at_10", "sparse_text_ndcg_at_10"}
    plain |= {f"{name}_ndcg_at_10" for name in ("picture_missing", "text_missing", "text_degraded")}
    for row in rows:
        assert plain <= set(metrics[row]), row
        assert metrics[row]["ndcg_at_10"]["n"] == 8
        assert metrics[row]["textual_ndcg_at_10"]["n"] == metrics[row]["visual_ndcg_at_10"]["n"] == 4
    asked = {(t["a"], t["b"], t["metric"]) for t in metrics["_tests"]}
    assert {("moe_bilinear", b, "ndcg_at_10") for b in ("text_only", "concat_mlp", "average")} <= asked
    assert ("moe_bilinear", "text_only", "textual_ndcg_at_10") in asked
    assert ("moe_bilinear", "moe_bilinear_vectors", "ndcg_at_10") in asked
    for row in ("hybrid_image", "hybrid_image_type"):
        assert {("moe_bilinear", row, m) for m in ("ndcg_at_10", "visual_ndcg_at_10")} <= asked
    assert metrics["text_only"]["picture_missing_ndcg_at_10"] == metrics["text_only"]["ndcg_at_10"]
    assert metrics["image_only"]["text_degraded_ndcg_at_10"] == metrics["image_only"]["ndcg_at_10"]


def test_per_query_rows_and_gates(trained: Path) -> None:
    folder = trained / "results/per_query/fusion"
    rows = pq.read_table(folder / "fusion.parquet").to_pylist()
    assert len(rows) == 8 * 11 and {"variant", "query_id", "kind", "ndcg_at_10", "top"} <= set(rows[0])
    gates = pq.read_table(folder / "gates.parquet").to_pylist()
    assert len(gates) == 8 * 3 and {row["variant"] for row in gates} == {"moe_bilinear"}
    assert all(row["text"] + row["image"] + row["cross"] == pytest.approx(1, abs=1e-5) for row in gates)


def test_an_evaluation_without_the_cache_changes_no_byte(
    trained: Path, shop: Path, blocks: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (trained / ".vitrine/cache/vectors").exists()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(trained / "models")
    run_stage("fusion.evaluate", shop, tmp_path, blocks)
    for folder in ("metrics", "results"):
        assert sha256_folder(tmp_path / folder) == sha256_folder(trained / folder), folder


def test_fixed_weights_are_the_best_of_the_shares() -> None:
    queries = np.eye(2, 4, dtype=np.float32)
    rows: list[dict[str, Any]] = [{"product_id": name} for name in "ab"]
    there = np.ones(2, dtype=bool)
    good, bad = queries, queries[::-1].copy()
    qrels = Qrels.from_arrays([0, 1], [0, 1], [3, 3], 2, 2)
    assert best_text_share(queries, Items(rows, good, bad, there, there), qrels, [0.1, 0.9, 0.8]) == 0.9
    assert best_text_share(queries, Items(rows, bad, good, there, there), qrels, [0.9, 0.1]) == 0.1
    unseen = cosine(queries, weighted(Items(rows, good, bad, there, there), 0.5), np.array([True, False]))
    assert (unseen[:, 1] == UNSEEN).all()


def test_conditions_take_away_what_they_say(
    items: Items, model: FusionModel, shop: Path, blocks: dict[str, Any]
) -> None:
    params = FusionEvaluationParams.model_validate(blocks["fusion_eval"])
    bare = without_pictures(items, 0.5, 1)
    gone = items.has_image & ~bare.has_image
    assert 20 < gone.sum() < 60 and not bare.image[gone].any() and np.array_equal(bare.text, items.text)
    silent = without_texts(items, 0.5, 1)
    assert not silent.has_text[gone].any() and np.array_equal(silent.image, items.image)
    schema = read_schema(shop / "data/checked/schema.json")
    worse = carelessly_written(items, model.towers, schema, params.noise, 1)
    assert worse.product_ids == items.product_ids and not np.allclose(worse.text, items.text)
    assert np.array_equal(worse.image, items.image)
    assert 0 < sparse(items, 0.25).sum() < 60


def test_a_product_without_a_picture_is_found_by_its_text(model: FusionModel, shop: Path) -> None:
    row = int(WITHOUT_PICTURE[1:])
    every = search(model, "lamp", 80, {}, shop / "data/checked").hits
    assert WITHOUT_PICTURE in {hit.product_id for hit in every} and len(every) == 80
    items = joined(model.towers.stream(shop / "data/checked"))
    assert not items.has_image[row] and items.has_text.all()


def untaught(model: FusionModel) -> FusionModel:
    """The same model without a gate."""
    return replace(model, network=replace(model.network, gate=None))


def test_search_ranks_as_the_whole_matrix_would(model: FusionModel, shop: Path, items: Items) -> None:
    scores = fused_vectors(model.network.network, items) @ model.towers.queries(["red mug"])[0]
    expected = [items.product_ids[i] for i in np.argsort(-scores)[:10]]
    found = search(untaught(model), "red mug", 10, {}, shop / "data/checked")
    assert [hit.product_id for hit in found.hits] == expected and found.hits[0].rank == 1
    assert found.ranked_by == "Ranked by moe_bilinear's vectors alone."
    where = conditions(["colour=red", "product_type=mug"])
    red = search(model, "red mug", 5, where, shop / "data/checked").hits
    assert red and all(hit.attributes["colour"] == "red" and hit.product_type == "mug" for hit in red)
    with pytest.raises(FusionDataError, match="not empty"):
        search(model, "  ", 5, {}, shop / "data/checked")


def test_one_pass_holds_one_row_group(model: FusionModel, tmp_path: Path) -> None:
    write_shop(tmp_path / "checked", products=160)
    sizes = [len(items.rows) for items in model.towers.stream(tmp_path / "checked")]
    assert sizes == [32] * 5, "a part is one row group, however many shards follow"
    assert not list(model.towers.stream(tmp_path / "nothing"))


def test_a_split_without_products_is_told(
    shop: Path, trained: Path, blocks: dict[str, Any], tmp_path: Path
) -> None:
    from components.fusion.evaluate.held_out import Settings, open_towers, read_split

    fusion = FusionParams.model_validate(blocks["fusion"])
    params = FusionEvaluationParams.model_validate(blocks["fusion_eval"])
    settings = Settings(fusion, params, shop / "data/checked", tmp_path)
    towers = open_towers(trained / "models/fusion/align_image", settings)
    with pytest.raises(FusionDataError, match="no product to encode"):
        read_split(towers, "nowhere", settings)  # type: ignore[arg-type]
