"""``conf/gpu.yaml`` as a whole: every stage of the graph on tiny checkpoints of exactly its architectures.

The profile is taken as it is. What stands in ``CHECKPOINTS``, ``SMALLER`` and nowhere else is changed,
besides every ``threads`` and ``workers``, which become 1. The catalogue is a small shop that comes in as a
user's would, as files with a mapping; the chat model is a local server that speaks OpenAI's protocol.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.gpu_workspace import (
    GIVEN,
    KEY,
    PRODUCTS,
    PROJECT,
    changed,
    chat,
    checkpoints,
    environment,
    leaves,
    run_stage,
    stage_commands,
    write_source,
)
from tests.model.llm.faulty_server import FaultyServer

# What the profile takes from a hub -> what stands in for it, in the workspace.
CHECKPOINTS = {
    # the architecture with fewer and narrower layers; its folder holds its weights too
    "encoder.model.pretrained.architecture": "local-dir:clip",
    "encoder.model.pretrained.weights": "own",
    "ground.detector.checkpoint": "grounding-dino",
    "listing.pretrained.model": "qwen2.5-vl",
}
REPLACED = "encoder.model.image.architecture"  # by the dual encoder
SERVED = "llm.endpoint.model"  # stays: only the server knows what it means
# Less work. All else stays: pixels, bf16, losses, epochs, batches, LoRA, decoding, judges, gates, report.
SMALLER = {
    "ground.detector.absent_quantile": 0.1,  # a random detector is as sure of what is absent
    "align_text.optimisation.steps": 3,
    "align_image.optimisation.steps": 3,
    "fuse.optimisation.steps": 10,
    "sft.training.steps": 3,
    "preferences.pairs": 400,
    "preferences.batch_size": 128,
    "dpo.training.steps": 3,
    "listing.max_new_tokens": 96,
}
# Rows of every table; a catalogue of files has no true boxes, so those in NEED_BOXES are there and empty.
ROWS = {
    "encoder": {"untrained", "fine_tuned", "colour_histogram", "linear_probe"},
    "ground": {"whole_image", "centre_crop", "random_box", "foreground", "encoder"},
    "vlclip": {"untrained", "raw", "full", "chance"},
    "fusion": {
        *("bm25", "hybrid", "hybrid_image", "text_only", "image_only", "average", "fixed_weights"),
        *("hybrid_image_type", "concat_mlp", "moe_bilinear", "moe_bilinear_vectors"),
    },
    "refine": {"seller", "refined"},
    "listing": {
        "nearest_neighbour",
        "nearest_vote",
        "linear_probe",
        "zero_shot",
        "sft_raw",
        "sft_refined",
        "dpo",
    },
}
NEED_BOXES = {("ground", row) for row in ROWS["ground"]}


def test_every_checkpoint_of_the_profile_has_a_tiny_substitute() -> None:
    assert set(checkpoints(GIVEN)) == {*CHECKPOINTS, SERVED, REPLACED}


@dataclass(frozen=True)
class Shop:
    """The workspace after the last stage, and the server that the chat model was."""

    root: Path
    server: FaultyServer

    def rows(self, path: str) -> list[dict[str, Any]]:
        """A Parquet file, or a folder of them."""
        import pyarrow.parquet as pq

        found: list[dict[str, Any]] = pq.read_table(self.root / path).to_pylist()
        return found

    def json(self, path: str) -> Any:
        """A JSON file."""
        return json.loads((self.root / path).read_text(encoding="utf-8"))


def prepare(root: Path) -> None:
    """Parameters, source and checkpoints."""
    from tests.e2e.tiny_checkpoints import save_clip, save_listing_model
    from tests.model.vlclip.tiny_detectors import save_grounding_dino

    single = {n: 1 for n, _ in leaves(GIVEN) if n.rpartition(".")[2] in ("threads", "workers")}
    params = changed(GIVEN, {**single, **CHECKPOINTS, **SMALLER})
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    listings = write_source(root / "shop")
    save_clip(root / "clip")
    save_grounding_dino(root / "grounding-dino", side_logit=2.0)
    prompt = GIVEN["listing"]["prompt"]
    taught = [(prompt.format(category=category), text) for category, text in listings]
    save_listing_model(root / "qwen2.5-vl", taught, steps=120)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Every stage command of dvc.yaml, in order."""
    root = tmp_path_factory.mktemp("gpu")
    prepare(root)
    server = FaultyServer(chat)
    env = environment(root, server.url)
    try:
        bring = "python -m components.catalog.source --source shop --mapping mapping.yaml"
        run_stage(root, "import", bring.split(), env)
        for stage, words in stage_commands(PROJECT / "dvc.yaml").items():
            run_stage(root, stage, words, env)
        yield Shop(root, server)
    finally:
        server.stop()


@pytest.mark.slow
def test_the_gpu_profile_runs_every_stage_and_its_results_fit_together(shop: Shop) -> None:
    """One test, so that the graph runs once however tests are spread over processes."""
    assert len(shop.rows("data/checked/products")) == PRODUCTS
    check_encoder(shop)
    check_boxes(shop)
    check_texts(shop)
    check_refinement(shop)
    check_adapters(shop)
    check_figures(shop)
    check_curves_and_gates(shop)
    check_report(shop)
    check_folders(shop)


def check_encoder(shop: Shop) -> None:
    """Training went on from the checkpoint's weights, for six steps of 1e-5."""
    from safetensors.torch import load_file

    given = load_file(shop.root / "clip/open_clip_model.safetensors")
    trained = load_file(shop.root / "models/encoder/model.safetensors")
    assert {f"clip.{name}" for name in given} == set(trained)
    moved = {n: float((trained[f"clip.{n}"] - value).abs().max()) for n, value in given.items()}
    assert (
        0 < max(moved.values()) < 1e-3 and moved["visual.conv1.weight"] > 0 and moved["text_projection"] > 0
    )
    config = shop.json("models/encoder/config.json")
    assert config["image_px"] == 224 and config["vision"]["patch_size"] == 32
    assert shop.json("models/encoder/tokenizer.json")["kind"] == "clip"


def check_boxes(shop: Shop) -> None:
    """Boxes are those that the detector itself gives for some of the pictures."""
    import numpy as np

    from components.grounding.detectors import DetectorGrounder
    from components.grounding.params import DetectorGrounding

    changes = CHECKPOINTS | SMALLER
    own = {name: changes[f"ground.detector.{name}"] for name in ("checkpoint", "absent_quantile")}
    asked = GIVEN["ground"]["detector"] | own
    boxes, meta = shop.rows("data/grounding/boxes.parquet"), shop.json("data/grounding/meta.json")
    assert meta["parameters"]["detector"] == asked and meta["parameters"]["scenes"] is None
    assert sum(not row["fallback"] for row in boxes) > PRODUCTS / 2
    some = shop.rows("data/checked/products")[:8]
    asked["checkpoint"] = str(shop.root / asked["checkpoint"])
    detector = DetectorGrounder(DetectorGrounding.model_validate(asked), "bf16", 8)
    again = detector.propose([r["image"]["bytes"] for r in some], [r["product_type"] for r in some])
    assert [row["product_id"] for row in boxes[:8]] == [row["product_id"] for row in some]
    for row, box in zip(boxes, again.boxes, strict=False):
        assert row["fallback"] or np.allclose(row["box"], box.clip(0, 1), atol=0.02)


def tasks(server: FaultyServer) -> Counter[str]:
    """Requests by what was asked."""
    return Counter(body["response_format"]["json_schema"]["name"] for body in server.bodies)


def check_texts(shop: Shop) -> None:
    """Texts are the endpoint's, without what its own critique and the fact check took out."""
    texts = shop.rows("data/clarified/texts.parquet")
    traces = shop.rows("data/clarified/traces.parquet")
    assert len(texts) == PRODUCTS and {row["reason"] for row in texts} == {""}
    assert all(row["stopped"] and row["facts_removed"] >= 1 for row in texts)
    last = {row["product_id"]: row["output"] for row in traces if row["role"] == "refiner"}
    drafts = [row["output"] for row in traces if row["role"] == "summarizer"]
    assert len(drafts) == PRODUCTS and all(text.startswith("flabbergasting ") for text in drafts)
    assert all(set(row["text"].split()) <= set(last[row["product_id"]].split()) for row in texts)
    asked = tasks(shop.server)
    # equal questions are paid once, and products differ at least by their pictures
    assert asked["summarizer"] == asked["refiner"] == PRODUCTS and asked["evaluator"] == 2 * PRODUCTS
    for body, headers in zip(shop.server.bodies, shop.server.headers, strict=True):
        assert body["model"] == GIVEN["llm"]["endpoint"]["model"]
        assert body["messages"][1]["content"][0]["image_url"]["url"].startswith("data:image/")
        assert headers["authorization"] == f"Bearer {KEY}"


def check_refinement(shop: Shop) -> None:
    """The chat model was asked about doubtful values, and what it called contradicted is gone."""
    told = [row for row in shop.rows("data/refined/decisions.parquet") if row["judge"] == "mllm"]
    assert tasks(shop.server)["check_values"] > 0
    assert {row["decision"] for row in told} == {"drop", "keep"}
    dropped = {(row["product_id"], row["name"]) for row in told if row["decision"] == "drop"}
    left = {
        (row["product_id"], pair["name"])
        for row in shop.rows("data/refined/products.parquet")
        for pair in row["attributes"]
    }
    assert not dropped & left
    kinds = Counter(row["kind"] for row in shop.rows("data/preferences/pairs.parquet"))
    assert kinds["sampled"] > 0 and kinds["swapped"] > 0


def check_adapters(shop: Shop) -> None:
    """LoRA moved the language model's projections and nothing else, and is merged; DPO went on from there."""
    import torch
    from safetensors.torch import load_file

    base = load_file(shop.root / "qwen2.5-vl/model.safetensors")
    adapted = {n for n in base if re.fullmatch(r"model\.layers\..*_proj\.weight", n)}
    assert len(adapted) == 2 * 7
    models = {}
    for name in ("sft_raw", "sft_refined", "dpo"):
        models[name] = load_file(shop.root / "models/listing" / name / "model.safetensors")
        assert set(models[name]) == set(base) and {t.dtype for t in models[name].values()} == {torch.bfloat16}
        moved = {n for n, t in models[name].items() if not torch.equal(t, base[n].to(t.dtype))}
        assert moved == adapted, name
        note = shop.json(f"models/listing/{name}/listing.json")
        assert note["base"] == CHECKPOINTS["listing.pretrained.model"] and note["image_px"] == 336
        assert shop.json(f"models/listing/{name}/config.json")["model_type"] == "qwen2_5_vl"
    for one, other in (("sft_raw", "sft_refined"), ("sft_refined", "dpo")):
        assert any(not torch.equal(models[one][n], models[other][n]) for n in adapted), (one, other)


def check_figures(shop: Shop) -> None:
    """Every table has all its rows, with finite figures; the headline has all its numbers."""
    for system, wanted in ROWS.items():
        found = {n: r for n, r in shop.json(f"metrics/{system}.json").items() if not n.startswith("_")}
        assert set(found) == wanted, system
        for row, figures in found.items():
            assert bool(figures) == ((system, row) not in NEED_BOXES), (system, row)
            assert all(math.isfinite(f["value"]) and f["n"] > 0 for f in figures.values()), (system, row)
        if system != "ground":  # its file lies beside vlclip's
            assert list((shop.root / "results/per_query" / system).glob("*.parquet")), system
    headline = shop.json("metrics/headline.json")
    assert set(headline) == set(GIVEN["report"]["headline"]) and all(map(math.isfinite, headline.values()))
    assert shop.json("metrics/listing.json")["zero_shot"]["pretrained"]["value"] == 1.0


def check_curves_and_gates(shop: Shop) -> None:
    """Every training told its steps with finite losses, and every gate passed."""
    for name in GIVEN["report"]["curves"]:
        with (shop.root / f"plots/{name}.csv").open() as lines:
            losses = [float(row["loss"]) for row in csv.DictReader(lines) if row["loss"]]
        assert len(losses) >= 2 and all(map(math.isfinite, losses)), name
    for name in GIVEN["report"]["quality"]:
        assert shop.json(f"reports/quality/{name}.json")["passed"] is True, name


def check_report(shop: Shop) -> None:
    """One page that says which profile it is of, with a row for each variant and pictures of all kinds."""
    page = (shop.root / "reports/index.html").read_text(encoding="utf-8")
    assert GIVEN["report"]["title"] in page and len(page.encode()) < GIVEN["report"]["max_page_bytes"]
    assert page.count("data:image/") > 20 and not re.search(r"(src|href)=[\"']https?:", page)
    records = list((shop.root / ".vitrine/records").glob("*/*.json"))
    assert len(records) == len(stage_commands(PROJECT / "dvc.yaml"))
    assert all(json.loads(path.read_text())["exit_code"] == 0 for path in records)


def check_folders(shop: Shop) -> None:
    """Models are safetensors, JSON and tokenizer files; the hub was never looked for; the key is nowhere."""
    from components.tracking.registry.model_folder import checked_files

    for folder in GIVEN["tracking"]["models"].values():
        assert checked_files(shop.root / folder)
    files = [p for p in (shop.root / "models").rglob("*") if p.is_file() and p.parent.name != "index"]
    assert {p.suffix for p in files} == {".safetensors", ".json", ".jinja"}
    assert not (shop.root / "empty-hub-cache").exists()
    assert not [p for p in shop.root.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
