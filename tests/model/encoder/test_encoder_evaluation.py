"""Evaluation, embeddings and search, from files on disk to figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from components.encoder.evaluate.colour_histogram import ColourHistogram, histograms
from components.encoder.evaluate.figures import OTHERS, Evaluation
from components.encoder.evaluate.query_type import NamedTypes, postings
from components.encoder.evaluate.stage import study_rows
from components.encoder.model.errors import EncoderConfigurationError, TrainingDataError
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import asked_in, one_spelling, read_held_out, title_task
from components.encoder.model.features.pixels import PixelCache, square
from components.encoder.model.params import EmbeddingsParams, EncoderParams, EvaluationParams
from components.encoder.model.towers.files import load_encoder, save_encoder
from components.encoder.model.towers.start import starting_model
from components.search import command
from components.stage.resume import sha256_file, sha256_folder
from tests.in_process import Done, run_command, run_stage

EVALUATION = {
    "seed": 1, "threads": 1, "batch_size": 16, "precision": "fp32", "split": "test", "relevant_grade": 3,
    "bootstrap_samples": 500, "attribute_prompt": "{value} {product_type}", "histogram_bins": 4,
}  # fmt: skip
INDEX = {"kind": "flat", "hnsw_m": 8, "ef_construction": 40, "ef_search": 16}
INDEX |= {"exact_filter_below": 0.2, "threads": 1}


@pytest.fixture(scope="module")
def trained(shapes: Path, tiny_block: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace where every stage of the encoder has run, in graph order."""
    root = tmp_path_factory.mktemp("trained")
    shutil.copytree(shapes / "data", root / "data")
    encoder = tiny_block | {"training": tiny_block["training"] | {"epochs": 40, "validate_every_epochs": 20}}
    embeddings = {"threads": 1, "batch_size": 16, "precision": "fp32"}
    blocks = {"encoder": encoder, "embeddings": embeddings, "encoder_eval": EVALUATION, "index": INDEX}
    blocks["hubs"] = {"strength": 0.5, "bank": 40, "nearest": 5}
    (root / "params.yaml").write_text(yaml.safe_dump(blocks))
    for room in ("encoder.model.train", "encoder.embed", "retrieval", "encoder.evaluate"):
        if room == "retrieval":
            pass_the_gate(root)
        done = run_stage(root, room)
        assert done.returncode == 0, done.stderr
    return root


def pass_the_gate(root: Path) -> None:
    """What the stage embeddings_quality writes; the gate has tests of its own."""
    file = "data/embeddings/embeddings.parquet"
    (root / "reports/quality").mkdir(parents=True)
    verdict = {"passed": True, "inputs": {file: sha256_file(root / file)}}
    (root / "reports/quality/embeddings.json").write_text(json.dumps(verdict))


def search(root: Path, *words: str) -> Done:
    """A search that the encoder answers, for nothing of fusion is there."""
    return run_command(root, command.main, *words)


def test_training_beats_no_training_on_what_it_was_shown(trained: Path) -> None:
    metrics = json.loads((trained / "metrics/encoder.json").read_text())
    assert {"untrained", "fine_tuned", "colour_histogram"} <= set(metrics)
    tuned, untrained = metrics["fine_tuned"], metrics["untrained"]
    assert tuned["attribute_accuracy"]["value"] > max(0.5, untrained["attribute_accuracy"]["value"])
    assert tuned["hits_at_5"]["n"] == 8  # queries
    pairs = {(t["a"], t["b"]) for t in metrics["_tests"]}
    assert pairs >= {("fine_tuned", "colour_histogram_untyped"), ("fine_tuned_typed", "colour_histogram")}
    assert pairs >= {("fine_tuned_inferred", r) for r in ("fine_tuned_typed", "colour_histogram")}
    assert ("fine_tuned_inferred_normalised", "fine_tuned_inferred") in pairs
    assert metrics["fine_tuned_inferred"]["hits_at_5"]["value"] >= tuned["hits_at_5"]["value"]
    assert metrics["fine_tuned_typed"]["hits_at_5"]["value"] >= tuned["hits_at_5"]["value"]
    for row in tuned.values():
        assert row["low"] <= row["value"] <= row["high"]


@pytest.mark.parametrize("name", ["fine_tuned", "colour_histogram", "linear_probe", "short"])
def test_a_study_whose_row_has_another_rows_name_is_refused(
    tiny: EncoderParams, tmp_path: Path, name: str
) -> None:
    model = starting_model(tiny)
    model.encoder.nest((8,))
    for folder in ("short", "short_8" if name == "short" else name):  # the first has a row short_8 as well
        save_encoder(model.encoder, model.tokenizer, tmp_path / "study" / folder)
    with pytest.raises(EncoderConfigurationError, match=f"another row named {name}"):
        study_rows(tmp_path / "study", {"untrained", "fine_tuned", *OTHERS})


def test_per_query_results_carry_the_metrics(trained: Path) -> None:
    rows = pq.read_table(trained / "results/per_query/encoder/encoder.parquet").to_pylist()
    metrics = json.loads((trained / "metrics/encoder.json").read_text())
    mine = [r for r in rows if r["variant"] == "fine_tuned" and r["task"] == "queries"]
    assert np.mean([r["mrr"] for r in mine]) == pytest.approx(metrics["fine_tuned"]["mrr"]["value"])
    assert all(len(r["top"]) == 10 for r in mine)


def test_queries_with_a_known_text_and_with_a_new_one_are_told_apart(trained: Path) -> None:
    held_out = read_held_out(trained / "data/checked", trained / "data/truth", "test", 3)
    task = held_out.tasks[0]
    known = asked_in(trained / "data/checked", ["test"]) - {one_spelling(text) for text in task.texts[:3]}
    assert task.name == "queries" and known
    evaluation = Evaluation(held_out, EvaluationParams.model_validate(EVALUATION), known)
    rng = np.random.default_rng(1)
    scores = rng.random((len(task.texts), len(held_out.rows)), dtype=np.float32)
    evaluation.add_scores("any", task, scores)
    found, every = evaluation.metrics()["any"], evaluation.of("any").values["mrr"]
    new = np.array([one_spelling(text) not in known for text in task.texts])
    for group, chosen in (("new_text", new), ("known_text", ~new)):
        assert found[f"{group}_mrr"]["n"] == chosen.sum() > 0
        assert found[f"{group}_mrr"]["value"] == pytest.approx(every[chosen].mean())


def test_a_second_evaluation_and_no_caches_change_nothing(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(
        trained, tmp_path / "again", ignore=shutil.ignore_patterns(".vitrine", "metrics", "results")
    )
    shutil.rmtree(tmp_path / "again/data/embeddings")
    for room in ("encoder.embed", "encoder.evaluate"):
        assert run_stage(tmp_path / "again", room).returncode == 0
    for folder in ("data/embeddings", "metrics", "results"):
        assert sha256_folder(trained / folder) == sha256_folder(tmp_path / "again" / folder), folder
    assert list((tmp_path / "again/.vitrine/cache/features").glob("*.npy"))
    before = sha256_folder(tmp_path / "again/data/embeddings")
    assert run_stage(tmp_path / "again", "encoder.embed").returncode == 0
    assert sha256_folder(tmp_path / "again/data/embeddings") == before


def test_vectors_that_can_be_cut_are_a_row_for_each_of_their_sizes(trained: Path, tmp_path: Path) -> None:
    root = tmp_path / "study"
    shutil.copytree(trained, root)
    folder = root / "models/study/encoder/nested"
    shutil.copytree(trained / "models/encoder", folder)
    config = json.loads((folder / "config.json").read_text())
    config["architecture"]["dimensions"] = [2]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "checksums.json").unlink()
    done = run_stage(root, "encoder.evaluate", "study=models/study/encoder")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((root / "metrics/study_encoder.json").read_text())
    assert metrics["nested"]["mrr"] == metrics["fine_tuned"]["mrr"]
    assert metrics["nested_2"]["mrr"]["value"] < metrics["nested"]["mrr"]["value"]


def test_search_and_similar_answer_without_the_graph(trained: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(trained / "models", bare / "models")
    found = search(bare, "red square", "--k", "5", "--where", "colour=red", "--json")
    assert found.returncode == 0, found.stderr
    hits = json.loads(found.stdout)
    assert len(hits) == 5 and {h["attributes"]["colour"] for h in hits} == {"red"}
    assert [h["rank"] for h in hits] == [1, 2, 3, 4, 5]
    like = json.loads(search(bare, "--like", hits[0]["product_id"], "--k", "3", "--json").stdout)
    assert len(like) == 3 and hits[0]["product_id"] not in {h["product_id"] for h in like}
    misspelt = search(bare, "--like", f"{hits[0]['product_id']}x").stderr
    assert f"Did you mean '{hits[0]['product_id']}'?" in misspelt


def test_a_text_is_answered_with_hubs_held_back_and_a_product_without(trained: Path) -> None:
    table = pq.read_table(trained / "data/embeddings/embeddings.parquet")
    ids, biases = table["product_id"].to_pylist(), table["bias"].to_numpy()
    assert json.loads((trained / "data/embeddings/meta.json").read_text())["hub_strength"] == 0.5
    assert np.ptp(biases) > 0
    vectors = np.array(table["vector"].to_pylist(), np.float32)
    encoder = BatchEncoder(load_encoder(trained / "models/encoder"), batch_size=1, precision="fp32")
    scores = encoder.texts(["red square"])[0] @ vectors.T - biases
    hits = json.loads(search(trained, "red square", "--k", "160", "--json").stdout)
    assert {h["product_id"]: h["score"] for h in hits} == pytest.approx(
        dict(zip(ids, scores.tolist(), strict=True)), abs=1e-5
    )
    like = json.loads(search(trained, "--like", ids[0], "--k", "1", "--json").stdout)
    assert like[0]["score"] == pytest.approx(np.sort(vectors @ vectors[0])[-2], abs=1e-5)


def test_a_picture_finds_itself(trained: Path, tmp_path: Path) -> None:
    shard = sorted((trained / "data/checked/products").glob("*.parquet"))[0]
    row = pq.read_table(shard).slice(3, 1).to_pylist()[0]
    (tmp_path / "photo.png").write_bytes(row["image"]["bytes"])
    found = search(trained, "--image", str(tmp_path / "photo.png"), "--k", "1", "--json")
    hit = json.loads(found.stdout)[0]
    assert hit["product_id"] == row["product_id"] and hit["score"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [
        ([], "Say what to search for", 4),
        (["red", "--where", "colour"], "--where takes name=value", 2),
        (["red", "--where", "smell=sweet"], "smell", None),
        (["red", "--k", "0"], "--k must be", 2),
        (["--image", "nowhere.jpg"], "nowhere.jpg", 4),
        (["--like", "nobody"], "nobody", None),
    ],
)
def test_a_wrong_search_is_told_in_a_sentence(
    trained: Path, arguments: list[str], sentence: str, code: int | None
) -> None:
    done = search(trained, *arguments)
    assert done.returncode == code if code is not None else done.returncode in (2, 4)
    assert sentence in done.stderr and "Traceback" not in done.stderr


def test_a_photo_that_is_no_picture_is_refused(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("<html>")
    done = search(trained, "--image", str(tmp_path / "x.jpg"))
    assert done.returncode == 4 and "Traceback" not in done.stderr


def test_an_index_of_another_model_is_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "models", tmp_path / "models")
    weights = tmp_path / "models/encoder/heads.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    done = search(tmp_path, "red")
    assert done.returncode == 4 and "model" in done.stderr


def test_pixels_are_the_same_from_cache_and_fresh(shapes: Path, tmp_path: Path) -> None:
    catalogue = shapes / "data/checked"
    first = PixelCache(catalogue, 32, tmp_path / "a", threads=2)
    rows = np.array([0, 70, 159, 3, 64])
    again = PixelCache(catalogue, 32, tmp_path / "a", threads=1)
    assert np.array_equal(first.take(rows), again.take(rows)) and len(first) == 160
    shards = sorted((catalogue / "products").glob("*.parquet"))
    every = [r["image"]["bytes"] for s in shards for r in pq.read_table(s, columns=["image"]).to_pylist()]
    assert np.array_equal(first.take(rows), np.stack([square(every[i], 32) for i in rows]))
    other = PixelCache(catalogue, 24, tmp_path / "b", threads=1)
    for places, pixels in other.fresh(rows):
        assert np.array_equal(pixels, np.stack([square(every[i], 24) for i in rows[places]]))
    assert not (tmp_path / "b").exists(), "they are kept nowhere"
    assert sorted(i for places, _ in other.fresh(rows) for i in places) == [0, 1, 2, 3, 4]
    assert other.take(rows).shape == (5, 24, 24, 3)


def test_the_colour_baseline_finds_colours_and_types(shapes: Path, tmp_path: Path) -> None:
    held_out = read_held_out(shapes / "data/checked", shapes / "data/truth", "test", 3)
    pixels = PixelCache(shapes / "data/checked", 48, tmp_path, 1)
    words_at = postings(held_out.train_rows)
    baseline = ColourHistogram(histograms(pixels.take(held_out.train_positions), 4), words_at)
    asked = ["red square", "blue bars"]
    scores = baseline.scores(asked, histograms(pixels.take(held_out.positions), 4))
    colours = [held_out.rows[int(i)]["attributes"][0]["value"] for i in scores.argmax(axis=1)]
    assert colours == ["red", "blue"]
    scores += NamedTypes(held_out.train_rows, words_at).bonus(asked, held_out.rows)
    best = [held_out.rows[int(i)] for i in scores.argmax(axis=1)]
    assert [b["product_type"] for b in best] == ["square", "bar"]
    assert [b["attributes"][0]["value"] for b in best] == ["red", "blue"]


def test_equal_titles_are_all_hits() -> None:
    rows = [{"product_id": str(i), "title": t, "group_id": g} for i, (t, g) in enumerate(
        [("Red mug", "a"), ("red mug", "b"), ("Blue", "b"), ("", "c")])]  # fmt: skip
    task = title_task(rows)
    assert task.query_ids == ["0", "1", "2"]
    judged = {(int(q), int(p)) for q, p in zip(task.qrels.query, task.qrels.product, strict=True)}
    assert judged == {(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)}


def test_a_folder_without_products_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="no product shard"):
        read_held_out(tmp_path, tmp_path, "test", 3)


def test_parameters_are_strict(tiny: EncoderParams) -> None:
    for model, values in ((EncoderParams, tiny.model_dump()), (EvaluationParams, EVALUATION)):
        with pytest.raises(ValueError, match="extra"):
            model.model_validate(values | {"epocs": 3})
    with pytest.raises(ValueError, match="value"):
        EvaluationParams.model_validate(EVALUATION | {"attribute_prompt": "no place"})
    assert EmbeddingsParams(threads=1, batch_size=4, precision="fp32").batch_size == 4
