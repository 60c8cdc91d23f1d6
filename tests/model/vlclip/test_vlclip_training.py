"""Variants: what each sees and reads, and a training that goes on exactly from where it was killed."""

from __future__ import annotations

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

from components.catalog.format.records import PAIRS
from components.encoder.model.crops.boxes import widened
from components.encoder.model.crops.crops import CropCache, crop_square
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.pixels import square
from components.encoder.model.features.rows import read_rows
from components.encoder.model.towers.files import FILES, PARTS, load_encoder
from components.encoder.model.train.contrastive import Contrastive
from components.encoder.model.train.training_set import text_inputs
from components.stage.paths import Paths
from components.stage.record import Record
from components.stage.resume import sha256_file
from components.vlclip.model.errors import TextDataError, VlclipConfigurationError
from components.vlclip.model.params import VlclipParams
from components.vlclip.model.stage import Blocks, train
from components.vlclip.model.training_set import encoder_params, make_training_set
from components.vlclip.model.variants import (
    VARIANTS,
    PictureSize,
    left_out_types,
    pictures_of,
    texts_of,
    variant_of,
    view_features,
)
from tests.in_process import run_stage
from tests.model.vlclip.squares_shop import BLOCKS, ROOT, write_params


def paths_of(root: Path, **own: Path) -> Paths:
    """The paths of a workspace, written whole, with some of one's own."""
    every = {name: root / path for name, path in Paths() if isinstance(path, Path)}
    return Paths.model_validate(every | own)


def test_a_crop_is_cut_from_the_original_and_not_from_a_small_copy() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    wide = crop_square(out.getvalue(), (0.2, 0.5, 0.7, 0.75), 50)
    assert np.array_equal(wide[12:37], pixels[50:75, 20:70])
    assert np.array_equal(crop_square(out.getvalue(), (0, 0, 1, 1), 32), square(out.getvalue(), 32))


def test_a_crop_keeps_the_proportions_of_the_whole_square() -> None:
    picture = Image.new("RGB", (100, 200), (10, 200, 10))
    picture.paste((200, 10, 10), (30, 60, 60, 120))  # 0.3 of both sides
    out = io.BytesIO()
    picture.save(out, "PNG")
    exact = crop_square(out.getvalue(), (0.3, 0.3, 0.6, 0.6), 30)
    assert (exact[:, :, 0] > 105).all()
    with_ground = crop_square(out.getvalue(), (0.2, 0.3, 0.7, 0.6), 50)
    red = with_ground[:, :, 0] > 105
    assert red.any(axis=0).sum() == 30 and red.any(axis=1).sum() == 30  # square here as there


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0.3, 0.3, 0.6, 0.6), (0.99, 0.99, 1, 1)])
def test_a_crop_of_one_pixel_or_of_a_strip_shows_what_is_there(
    size: tuple[int, int], box: tuple[float, ...]
) -> None:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 10, 10)).save(out, "PNG")
    assert np.array_equal(crop_square(out.getvalue(), box, 16), np.full((16, 16, 3), (200, 10, 10)))


def test_crops_come_from_the_cache_as_they_come_fresh(shop: Path, tmp_path: Path) -> None:
    catalogue = shop / "data/checked"
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 0.4, (96, 2))
    boxes = widened(np.concatenate([low, low + 0.5], axis=1), 0.1)
    first = CropCache(catalogue, boxes, 24, tmp_path, threads=2)
    rows = np.array([0, 39, 40, 95, 7])
    images = [
        r["image"]["bytes"]
        for shard in sorted((catalogue / "products").glob("*.parquet"))
        for r in pq.read_table(shard, columns=["image"]).to_pylist()
    ]
    fresh = np.stack([crop_square(images[i], boxes[i], 24) for i in rows])
    assert np.array_equal(first.take(rows), fresh)
    assert np.array_equal(CropCache(catalogue, boxes, 24, tmp_path, 1).take(rows), fresh)
    other = boxes.copy()
    other[95] = (0, 0, 1, 1)
    moved = CropCache(catalogue, other, 24, tmp_path, 1).take(rows)
    assert not np.array_equal(moved[3], fresh[3]) and np.array_equal(moved[0], fresh[0])


def test_each_variant_gets_its_own_pictures_and_texts(grounded: Path, tmp_path: Path) -> None:
    rows = read_rows(grounded / "data/checked")
    some = np.arange(8)
    seen, titles = {}, {}
    for name, variant in VARIANTS.items():
        own = paths_of(grounded, cache=tmp_path)
        seen[name] = pictures_of(variant, rows, own, PictureSize(0.1, 32, 1))
        titles[name] = [r["title"] for r in texts_of(variant, rows, own)]
    first = {name: pictures.first.take(some) for name, pictures in seen.items()}
    crops = {name: p.crops.take(some) for name, p in seen.items() if p.crops is not None}
    assert set(crops) == {"grounded", "full", "true_box"}
    for name in ("clarified", *crops):
        assert np.array_equal(first[name], first["raw"]), name
    assert np.array_equal(first["crop"], crops["full"]) and np.array_equal(crops["grounded"], crops["full"])
    assert not np.array_equal(crops["full"], first["raw"])
    assert not np.array_equal(crops["true_box"], crops["full"])
    assert titles["raw"] == titles["crop"] == titles["grounded"]
    assert titles["raw"][0] == "red square number 0. red"
    assert titles["full"] == titles["clarified"] == titles["true_box"] and titles["full"][0] == "red square"
    confidence = seen["true_box"].confidence
    assert confidence is not None and confidence.tolist() == [1.0] * 96


def test_a_product_without_a_box_has_the_whole_picture_twice_and_no_confidence(
    grounded: Path, tmp_path: Path
) -> None:
    shutil.copytree(grounded / "data/grounding", tmp_path / "grounding")
    file = tmp_path / "grounding/boxes.parquet"
    table = pq.read_table(file)
    boxes = table.to_pylist()
    boxes[0] |= {"box": None, "score": 0.9, "fallback": True, "reason": "score is below the threshold"}
    boxes[1] |= {"box": [0.1, 0.1, 0.6, 0.6], "score": 7.5, "fallback": False, "reason": ""}
    pq.write_table(pa.Table.from_pylist(boxes, schema=table.schema), file)
    own = paths_of(grounded, grounding=tmp_path / "grounding", cache=tmp_path / "cache")
    loaded = load_encoder(grounded / "models/encoder")
    rows = read_rows(grounded / "data/checked")
    size = PictureSize(0.1, loaded.encoder.image_px, 1)
    pictures = pictures_of(VARIANTS["full"], rows, own, size)
    features = view_features(pictures, BatchEncoder(loaded, 32, "fp32"), own).take(np.array([0, 1]))
    width = loaded.encoder.view_width
    assert features.shape == (2, 2 * width + 1)
    assert np.array_equal(features[0, :width], features[0, width:-1]) and features[0, -1] == 0
    assert not np.array_equal(features[1, :width], features[1, width:-1]) and features[1, -1] == 1


def test_only_studies_train_on_true_boxes() -> None:
    root, study = (yaml.safe_load((ROOT / f).read_text())["stages"] for f in ("dvc.yaml", "studies/dvc.yaml"))
    assert set(root["vlclip"]["matrix"]["variant"]) == {"raw", "full"}
    readers = [n for n, stage in study.items() if n.startswith("vlclip") and "data/truth" in stage["deps"]]
    assert readers == ["vlclip_variant", "vlclip_study_eval"]
    trained = [name for name, variant in VARIANTS.items() if variant.picture == "true_both"]
    assert trained == ["true_box"] and trained[0] in study["vlclip_variant"]["matrix"]["variant"]


def test_a_wrong_variant_is_said(grounded: Path) -> None:
    done = run_stage(grounded, "vlclip.model", "variant=fulll")
    assert done.returncode == 2 and "'raw', 'crop'" in done.stderr
    with pytest.raises(VlclipConfigurationError, match="'half_43' is no row"):
        variant_of("half_43")
    assert variant_of("full_43") == VARIANTS["full"] and variant_of("true_box") == VARIANTS["true_box"]


def test_texts_of_another_catalogue_are_refused(grounded: Path, tmp_path: Path) -> None:
    rows = read_rows(grounded / "data/checked")
    own = paths_of(grounded, clarified=tmp_path)
    with pytest.raises(TextDataError, match="run 'vitrine run --until clarify'"):
        texts_of(VARIANTS["full"], rows, own)
    table = pa.table({"product_id": ["p0000"], "text": ["red"]})
    pq.write_table(table, tmp_path / "texts.parquet")
    with pytest.raises(TextDataError, match="no column facts"):
        texts_of(VARIANTS["full"], rows, own)
    pq.write_table(table.append_column("facts", pa.array([None], PAIRS)), tmp_path / "texts.parquet")
    with pytest.raises(TextDataError, match="no text for 95 products, such as p0001"):
        texts_of(VARIANTS["full"], rows, own)


def test_a_clarified_texts_attributes_are_those_its_check_found(grounded: Path, tmp_path: Path) -> None:
    rows = read_rows(grounded / "data/checked")
    columns = {"product_id": [r["product_id"] for r in rows], "text": ["a thing"] * len(rows)}
    facts = [[{"name": "colour", "value": "red"}]] + [None] * (len(rows) - 1)
    pq.write_table(pa.table(columns | {"facts": facts}), tmp_path / "texts.parquet")
    own = paths_of(grounded, clarified=tmp_path)
    read = texts_of(VARIANTS["full"], rows, own)
    assert read[0]["attributes"] == [{"name": "colour", "value": "red"}] and read[1]["attributes"] == []
    assert all(r["title"] == "a thing" for r in read)


def trained(root: Path, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *stops: int) -> Path:
    """Train in ``tmp_path``, interrupted at each of ``stops``; the model's folder."""
    torch.set_num_threads(1)
    tmp_path.mkdir()
    monkeypatch.chdir(tmp_path)
    for until in (*stops, None):
        record = Record(stage=f"vlclip@{variant}")
        params = Blocks.model_validate({"variant": variant, "vlclip": BLOCKS["vlclip"]})
        train(
            params, paths_of(root, vlclip=tmp_path, plots=tmp_path, cache=tmp_path / "cache"), record, until
        )
        assert (until is None) == Path(variant).exists()
    assert record.metrics["resumed_from_step"] == (stops[-1] if stops else 0)
    return tmp_path / variant


@pytest.mark.parametrize("variant", ["raw", "full"])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    grounded: Path, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(grounded, variant, tmp_path / "whole", monkeypatch)
    pieces = trained(grounded, variant, tmp_path / "pieces", monkeypatch, 1, 5)
    for file in (*FILES, f"../vlclip_{variant}.csv"):
        assert sha256_file(whole / file) == sha256_file(pieces / file), file
    rows = list(csv.DictReader((whole.parent / f"vlclip_{variant}.csv").read_text().splitlines()))
    assert len(rows) == 9 and {"loss", "validation_mrr"} <= set(rows[0])
    assert not list((pieces.parent / ".vitrine/resume").rglob("state.pt")), "resume state outlived the stage"
    before = load_encoder(grounded / "models/encoder").encoder.state_dict()
    after = load_encoder(whole).encoder.state_dict()
    further = ("further.weight", "trust.weight", "trust.bias")
    new = {f"heads.image.{name}" for name in further} if variant == "full" else set()
    assert set(after) == set(before) | new and any(not torch.equal(before[k], after[k]) for k in before)
    for part in ("image", "text"):  # frozen, so every model shares their files
        assert sha256_file(whole / PARTS[part]) == sha256_file(grounded / "models/encoder" / PARTS[part])


def test_state_of_other_boxes_is_not_gone_on_from(
    grounded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(grounded / "data", tmp_path / "data")
    own = paths_of(tmp_path, encoder=grounded / "models/encoder")
    params = Blocks.model_validate({"variant": "full", "vlclip": BLOCKS["vlclip"]})
    train(params, own, Record(stage="s"), 2)
    table = pq.read_table(tmp_path / "data/grounding/boxes.parquet").to_pylist()
    table[0] |= {"box": [0.0, 0.0, 0.5, 0.5], "fallback": False}
    schema = pq.read_schema(tmp_path / "data/grounding/boxes.parquet")
    pq.write_table(pa.Table.from_pylist(table, schema=schema), tmp_path / "data/grounding/boxes.parquet")
    record = Record(stage="s")
    train(params, own, record)
    assert record.metrics["resumed_from_step"] == 0


@pytest.mark.parametrize("terms", ["mixed", "per_field"])
def test_texts_that_no_step_draws_are_not_read_and_all_others_are(
    grounded: Path, tmp_path: Path, terms: str
) -> None:
    own, block = paths_of(grounded, cache=tmp_path / "cache"), BLOCKS["vlclip"]
    short = {**block, "training": {**block["training"], "epochs": 1, "batch_size": 4, "terms": terms}}
    params = VlclipParams.model_validate(short)
    loaded = load_encoder(grounded / "models/encoder")
    data, _ = make_training_set(VARIANTS["raw"], params, loaded, own)
    texts, settings = data.captions.texts, encoder_params(params, loaded)
    whole = replace(data, texts=text_inputs(texts, loaded, False, None))
    some, every = (Contrastive(loaded.encoder, d, settings) for d in (data, whole))
    for step in range(some.plan.steps):
        assert torch.equal(some.batch(step).texts, every.batch(step).texts)
    if terms == "mixed":  # one of its captions a product, not one of each kind
        assert len(data.texts.inputs) < len(texts)
        with pytest.raises(IndexError):
            data.texts.take(np.arange(len(texts)))


def test_left_out_types_follow_their_names_alone() -> None:
    assert left_out_types(["mug", "bag", "hat", "cap", "hat", "tie"], 2) == {"cap", "mug"}
    assert left_out_types(["b", "a"], 3) == set()


def test_a_training_without_some_types_reads_none_of_their_products_and_starts_anew(
    grounded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = paths_of(grounded, vlclip=tmp_path, plots=tmp_path, cache=tmp_path / "cache")
    params = Blocks.model_validate({"variant": "raw", "vlclip": BLOCKS["vlclip"], "left_out_types": 2})
    loaded = load_encoder(grounded / "models/encoder")
    data, _ = make_training_set(VARIANTS["raw"], params.vlclip, loaded, own, 2)
    types = {r["product_id"]: r["product_type"] for r in read_rows(grounded / "data/checked")}
    assert {types[i] for i in data.product_ids} == {"bar"}  # in order of name: bar, square
    assert not any("square" in text for text in data.captions.texts)
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    train(params, own, Record(stage="s"))
    before = loaded.encoder.heads
    after = load_encoder(tmp_path / "raw").encoder.heads
    assert before is not None and after is not None
    distance = (after["image"].layers[1].weight - before["image"].layers[1].weight).abs().mean()
    assert distance > 0.5 * before["image"].layers[1].weight.abs().mean()


def test_whole_picture_and_crop_together_need_a_frozen_tower(grounded: Path, tmp_path: Path) -> None:
    write_params(tmp_path, vlclip__training__tune_image=True)
    for name in ("data", "models"):
        (tmp_path / name).symlink_to(grounded / name)
    done = run_stage(tmp_path, "vlclip.model", "variant=full")
    assert done.returncode == 2 and "set vlclip.training.tune_image to false" in done.stderr


@pytest.mark.slow
def test_sigkill_in_the_middle_and_a_rerun_give_identical_results(grounded: Path, tmp_path: Path) -> None:
    def start(root: Path) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "DVC_STAGE": "vlclip@full",
        }
        command = [sys.executable, "-m", "components.stage", "vlclip.model", "variant=full"]
        return subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.DEVNULL)

    roots = tmp_path / "whole", tmp_path / "killed"
    for root in roots:
        root.mkdir()
        for name in ("data", "models"):
            (root / name).mkdir()
        for name in ("data/checked", "data/grounding", "data/clarified", "models/encoder"):
            (root / name).symlink_to(grounded / name)
        write_params(root, vlclip__training__epochs=60, vlclip__training__checkpoint_every_s=0.01)
    assert start(roots[0]).wait(300) == 0
    process = start(roots[1])
    deadline = time.monotonic() + 120
    while not list(roots[1].glob(".vitrine/resume/vlclip@full/*/state.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL and not (roots[1] / "models/vlclip/full").exists()
    assert start(roots[1]).wait(300) == 0
    for file in ("models/vlclip/full/heads.safetensors", "plots/vlclip_full.csv"):
        assert sha256_file(roots[0] / file) == sha256_file(roots[1] / file)
