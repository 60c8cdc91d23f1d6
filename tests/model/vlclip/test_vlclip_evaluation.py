"""The table: slices, similar items and baselines against plain loops, and the stages from end to end."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from components.catalog.format.schema import read_schema
from components.encoder.model.crops.boxes import centre_boxes
from components.encoder.model.features.held_out import HeldOut, Task
from components.encoder.model.features.rows import read_rows
from components.retrieval.metrics import Qrels, judge, reciprocal_rank
from components.retrieval.ranking import top_k
from components.stage.resume import sha256_folder
from components.vlclip.evaluate.evaluate import chance, likeness, precision_at, scene_slice
from components.vlclip.evaluate.grounding import foregrounds, random_boxes
from components.vlclip.evaluate.stage import perceptual_hashes
from components.vlclip.model.params import VlclipEvaluationParams
from tests.in_process import run_stage
from tests.model.llm.lamps import CLARIFY
from tests.model.spoiled_catalogue import change_products
from tests.model.vlclip.squares_shop import BLOCKS, ROOT, STAGES, write_params


@pytest.fixture(scope="module")
def evaluated(grounded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace where every stage of VL-CLIP but the agent's has run, in graph order."""
    root = shutil.copytree(grounded, tmp_path_factory.mktemp("evaluated") / "shop")
    for arguments in STAGES[1:]:
        done = run_stage(root, *arguments)
        assert done.returncode == 0, done.stderr
    return root


def read(root: Path, name: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((root / "metrics" / name).read_text())
    return figures


def test_every_row_is_measured_on_the_same_questions(evaluated: Path) -> None:
    metrics = read(evaluated, "vlclip.json")
    rows = {v: r for v, r in metrics.items() if v not in ("_tests", "chance")}
    assert set(rows) == {"untrained", "raw", "full"}
    for name in ("hits_at_1", "hits_at_5", "hits_at_10", "mrr", "mrr_cluttered", "mrr_plain", "titles_mrr",
                 "similar_precision", "attribute_accuracy"):  # fmt: skip
        counts = {row[name]["n"] for row in rows.values()}
        assert len(counts) == 1, name
        assert all(row[name]["low"] <= row[name]["value"] <= row[name]["high"] for row in rows.values())
    full = rows["full"]
    pooled = full["pooled_mrr_cluttered"]
    parts = [full["mrr_cluttered"], full["titles_mrr_cluttered"]]
    assert pooled["n"] == sum(p["n"] for p in parts)
    assert pooled["value"] == pytest.approx(sum(p["value"] * p["n"] for p in parts) / pooled["n"])
    pairs = {(t["a"], t["b"], t["metric"]) for t in metrics["_tests"]}
    assert ("full", "raw", "mrr_cluttered") in pairs and ("full", "untrained", "mrr") in pairs


def test_boxes_are_measured_beside_baselines(evaluated: Path) -> None:
    ground = read(evaluated, "ground.json")
    assert set(ground) == {"whole_image", "centre_crop", "random_box", "foreground", "dense_head", "_tests"}
    for row in (r for v, r in ground.items() if v != "_tests"):
        assert {"iou", "pointing", "fallback_rate", "iou_cluttered", "pointing_cluttered"} <= set(row)
        assert row["iou"]["n"] == 24
    assert ground["foreground"]["iou_plain"]["value"] > 0.8 > ground["whole_image"]["iou_plain"]["value"]


def test_per_query_files_carry_the_figures(evaluated: Path) -> None:
    folder = evaluated / "results/per_query/vlclip"
    rows = pq.read_table(folder / "vlclip.parquet").to_pylist()
    metrics = read(evaluated, "vlclip.json")
    mine = [r for r in rows if r["variant"] == "full" and r["task"] == "queries"]
    assert np.mean([r["mrr"] for r in mine]) == pytest.approx(metrics["full"]["mrr"]["value"])
    sliced = [r["mrr_cluttered"] for r in mine if r["mrr_cluttered"] is not None]
    assert np.mean(sliced) == pytest.approx(metrics["full"]["mrr_cluttered"]["value"])
    assert len(sliced) == metrics["full"]["mrr_cluttered"]["n"]
    pointing = pq.read_table(folder / "pointing.parquet").to_pylist()
    ious = [r["iou"] for r in pointing if r["variant"] == "dense_head"]
    assert np.mean(ious) == pytest.approx(read(evaluated, "ground.json")["dense_head"]["iou"]["value"])


def test_a_second_run_without_caches_changes_nothing(evaluated: Path, tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns(".vitrine", "metrics", "results", "grounding", "vlclip", "plots")
    shutil.copytree(evaluated, tmp_path / "again", ignore=ignored)
    for arguments in STAGES:
        assert run_stage(tmp_path / "again", *arguments).returncode == 0
    for folder in ("data/grounding", "models/vlclip", "metrics", "results", "plots"):
        assert sha256_folder(evaluated / folder) == sha256_folder(tmp_path / "again" / folder), folder


def test_texts_that_ask_the_encoder_are_the_same_without_its_cache(shop: Path, tmp_path: Path) -> None:
    written = []
    for name in ("cached", "none"):
        root = tmp_path / name
        (root / "data").mkdir(parents=True)
        (root / "data/checked").symlink_to(shop / "data/checked")
        (root / "models").symlink_to(shop / "models")
        blocks = write_params(root)
        blocks["embeddings"] = {"threads": 1, "batch_size": 32, "precision": "fp32"}
        blocks["clarify"] = CLARIFY | {"evidence": CLARIFY["evidence"] | {"model": {"evidence": ["prompt"]}}}
        blocks["llm"] = yaml.safe_load((ROOT / "params.yaml").read_text())["llm"] | {"backend": "offline"}
        (root / "params.yaml").write_text(yaml.safe_dump(blocks))
        assert run_stage(root, "encoder.embed").returncode == 0
        cache = root / ".vitrine/cache/vectors"
        if name == "cached":
            assert run_stage(root, "vlclip.agent").returncode == 0 and cache.exists()
        else:
            shutil.rmtree(cache, ignore_errors=True)
        done = run_stage(root, "vlclip.agent")
        assert done.returncode == 0, done.stderr
        written.append(sha256_folder(root / "data/clarified"))
    assert written[0] == written[1]


def test_a_study_adds_its_rows(evaluated: Path, tmp_path: Path) -> None:
    root = tmp_path / "study"
    shutil.copytree(evaluated, root)
    own = ("paths.vlclip=models/study/vlclip", "paths.plots=plots/study")
    rungs = ("crop", "grounded", "clarified", "true_box")
    for words in (
        *(("vlclip.model", f"variant={v}", *own) for v in rungs),
        *(("vlclip.model", f"variant={v}", f"name={v}_11", "vlclip.seed=11", *own) for v in ("full", "raw")),
        *(
            ("vlclip.model", f"variant={v}", f"name={v}_unseen", "left_out_types=2", *own)
            for v in ("full", "raw")
        ),
        ("vlclip.evaluate", "study=models/study/vlclip", "left_out_types=2"),
    ):
        done = run_stage(root, *words)
        assert done.returncode == 0, done.stderr
    assert "vlclip_full_11.csv" in {p.name for p in (root / "plots/study").iterdir()}
    study = read(root, "study_vlclip.json")
    assert {"untrained", "raw", "full", *rungs, "full_11", "full_all_seeds"} <= set(study)
    claims = {(t["claim"], t["seed"]): t for t in study["_tests"] if "claim" in t}
    assert {seed for _, seed in claims} == {"own", "11", "pooled"} and len(claims) == 9
    parts = [claims["full > raw on cluttered pictures", seed] for seed in ("own", "11")]
    pooled = claims["full > raw on cluttered pictures", "pooled"]
    assert pooled["difference"] == pytest.approx(np.mean([t["difference"] for t in parts]))
    assert pooled["n"] == parts[0]["n"]  # the same questions, not three times as many
    assert all("claim" not in t for t in read(root, "vlclip.json")["_tests"])
    check_share_of_the_way(study)
    check_unseen_types(study, read(root, "vlclip.json"))


def check_share_of_the_way(study: dict[str, Any]) -> None:
    raw, full, ceiling = (study[v]["pooled_mrr_cluttered"]["value"] for v in ("raw", "full", "true_box"))
    share = study["full"]["share_of_true_box_cluttered"]
    assert share["value"] == pytest.approx((full - raw) / (ceiling - raw))
    assert share["n"] == study["full"]["pooled_mrr_cluttered"]["n"]


def check_unseen_types(study: dict[str, Any], root: dict[str, Any]) -> None:
    """Rows of unseen types are measured on squares alone; the other rows keep their figures."""
    assert set(study["raw_unseen"]) == set(study["full_unseen"])
    assert all(name.startswith("unseen_types_") for name in study["raw_unseen"])
    assert study["raw"]["unseen_types_mrr"]["n"] == study["raw_unseen"]["unseen_types_mrr"]["n"] == 4
    assert study["raw"]["mrr"] == root["raw"]["mrr"] and study["raw"]["mrr"]["n"] == 8
    pairs = {(t["a"], t["b"], t["metric"]) for t in study["_tests"]}
    assert ("full_unseen", "raw_unseen", "unseen_types_mrr") in pairs


def test_products_whose_picture_training_has_seen_are_left_out(evaluated: Path, tmp_path: Path) -> None:
    root = tmp_path / "copied"
    shutil.copytree(evaluated, root)
    pictures = {}
    change_products(root, lambda row: pictures.update({row["product_id"]: row["image"]}) or {})
    splits = {r["product_id"]: r["split"] for r in read_rows(root / "data/checked")}
    train, test = (next(i for i, s in splits.items() if s == split) for split in ("train", "test"))
    smaller = io.BytesIO()
    Image.open(io.BytesIO(pictures[train]["bytes"])).save(smaller, "PNG", compress_level=1)
    copied = {"image": {"bytes": smaller.getvalue(), "path": None}}
    change_products(root, lambda row: copied if row["product_id"] == test else {})
    run_stage(root, "grounding")
    assert run_stage(root, "vlclip.evaluate").returncode == 0
    before, after = (read(folder, "vlclip.json")["raw"]["titles_mrr"]["n"] for folder in (evaluated, root))
    assert (before, after) == (24, 23)


def test_perceptual_hashes_are_those_of_the_transform_written_out() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    for picture, got in zip(pictures, perceptual_hashes(pictures), strict=True):
        grey = picture @ np.array([0.299, 0.587, 0.114])
        place = np.arange(32)
        basis = np.cos(np.pi * place[:8, None] * (2 * place[None, :] + 1) / 64)
        low = basis @ grey @ basis.T
        expected = np.packbits(low.ravel() > np.median(low)).view(np.uint64)[0]
        assert got == expected


def test_what_is_missing_is_said_in_a_sentence(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(shop / "data")
    (tmp_path / "models").symlink_to(shop / "models")
    write_params(tmp_path)
    for arguments, sentence in (
        (("vlclip.model", "variant=full"), "run 'vitrine run --until ground'"),
        (("vlclip.evaluate",), "models/vlclip/raw"),
    ):
        done = run_stage(tmp_path, *arguments)
        assert done.returncode == 4 and sentence in done.stderr and "Traceback" not in done.stderr


def slice_case() -> tuple[Task, list[str], np.ndarray]:
    rng = np.random.default_rng(0)
    queries, products = 12, 30
    found = [
        (q, p, int(g)) for q in range(queries) for p in range(products) if (g := rng.integers(0, 8)) in (2, 3)
    ]
    q, p, g = zip(*found, strict=True)
    task = Task(
        "queries", [str(i) for i in range(queries)], ["x"] * queries, ["k"] * queries,
        Qrels.from_arrays(q, p, g, queries, products), None,
    )  # fmt: skip
    scenes = [["cluttered", "plain"][int(v)] for v in rng.integers(0, 2, products)]
    return task, scenes, rng.uniform(-1, 1, (queries, products)).astype(np.float32)


@pytest.mark.parametrize(("scene", "alone"), [("cluttered", False), ("plain", False), ("plain", True)])
def test_a_scenes_reciprocal_rank_is_that_of_a_plain_loop(scene: str, alone: bool) -> None:
    task, scenes, scores = slice_case()
    part = scene_slice(task, scenes, scene, level=3, alone=alone)
    got = reciprocal_rank(judge(top_k(part.scores(scores), 30), part.qrels), 3)
    grade = {
        (q, p): g for q, p, g in zip(task.qrels.query, task.qrels.product, task.qrels.grade, strict=True)
    }
    expected = {}
    for q in range(12):
        hits = {p for p in range(30) if grade.get((q, p)) == 3}
        wanted = {p for p in hits if scenes[p] == scene}
        if wanted:
            others = {p for p in range(30) if alone and scenes[p] != scene}
            order = [p for p in np.argsort(-scores[q]) if p not in (hits - wanted) | others]
            expected[q] = 1 / (1 + min(order.index(p) for p in wanted))
    assert part.queries.tolist() == sorted(expected)
    assert got.tolist() == pytest.approx([expected[q] for q in sorted(expected)])


def likeness_case(catalogue: Path) -> HeldOut:
    rng = np.random.default_rng(2)
    rows = [
        {
            "product_id": f"p{i:02d}", "product_type": ["mug", "hat"][i % 2],
            "group_id": f"g{i // 2 if i < 8 else i}",
            "attributes": [{"name": "colour", "value": ["red", "blue"][int(rng.integers(2))]}],
        }
        for i in range(20)
    ]  # fmt: skip
    nothing = np.zeros(0, dtype=np.int64)
    return HeldOut(rows, np.arange(20), [], nothing, read_schema(catalogue / "schema.json"), {}, [])


def test_precision_of_similar_items_is_that_of_a_plain_loop(shop: Path) -> None:
    held_out = likeness_case(shop / "data/checked")
    like = likeness(held_out, ["colour"])
    vectors = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def same(i: int, j: int) -> bool:
        a, b = held_out.rows[i], held_out.rows[j]
        return (a["product_type"], a["attributes"]) == (b["product_type"], b["attributes"])

    expected = []
    for i in range(20):
        others = [j for j in range(20) if held_out.rows[j]["group_id"] != held_out.rows[i]["group_id"]]
        similar = sum(same(i, j) for j in others)
        if similar:
            best = sorted(others, key=lambda j: -float(vectors[i] @ vectors[j]))[:3]
            expected.append(sum(same(i, j) for j in best) / min(3, similar))
    assert precision_at(vectors, like, 3).tolist() == pytest.approx(expected)
    assert 0 < chance(like, 3).mean() < 0.6


def test_foreground_finds_a_thing_on_plain_ground_and_keeps_an_empty_picture() -> None:
    pictures = np.full((2, 40, 40, 3), 230, dtype=np.uint8)
    pictures[0, 10:30, 4:20] = (200, 20, 20)
    pictures[0, 36:38, 36:38] = 0  # a speck, no product
    boxes = foregrounds(pictures)
    assert boxes[0] == pytest.approx([0.1, 0.25, 0.5, 0.75]) and boxes[1].tolist() == [0, 0, 1, 1]


def test_random_and_centre_boxes_are_boxes() -> None:
    boxes = random_boxes(500, seed=1)
    assert (boxes[:, 2:] >= boxes[:, :2]).all() and boxes.min() >= 0 and boxes.max() <= 1
    assert np.array_equal(boxes, random_boxes(500, seed=1))
    assert centre_boxes(2, 0.5)[0].tolist() == [0.25, 0.25, 0.75, 0.75]


def test_parameters_are_strict() -> None:
    with pytest.raises(ValueError, match="extra"):
        VlclipEvaluationParams.model_validate(BLOCKS["vlclip_eval"] | {"spilt": "test"})
