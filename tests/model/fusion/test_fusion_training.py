"""Alignment and fusion: exact resume, the same bytes twice, a stop where a loss is not finite."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.towers.files import load_encoder
from components.encoder.model.towers.tuned import freeze
from components.fusion.model.align.alignment import Alignment
from components.fusion.model.align.train import AlignmentStage, towers_to_train
from components.fusion.model.align.training_set import make_alignment_set
from components.fusion.model.errors import FusionConfigurationError
from components.fusion.model.fuse.fusing import Fusing
from components.fusion.model.fuse.training_set import make_fuse_data
from components.fusion.model.networks.layers import create_network
from components.fusion.model.params import AlignImageParams, FuseParams, FusionParams
from components.fusion.model.towers.aligned import LoadedTowers, load_towers
from components.fusion.model.towers.towers import Towers, joined
from components.stage.paths import Paths
from components.stage.resume import sha256_file, sha256_folder
from components.training.errors import DivergedError
from tests.model.fusion.conftest import run_stage

ROOT = Path(__file__).parents[3]
Weights = dict[str, torch.Tensor]
# what a published model consists of, below models/fusion, without ".safetensors"
STAGES = ("align_text/encoder/heads", "align_text/fields", "align_image/encoder/heads", "align_image/fields")


def started(shop: Path, blocks: dict[str, Any]) -> LoadedTowers:
    """Towers before any training."""
    fusion = FusionParams.model_validate(blocks["fusion"])
    params = AlignImageParams.model_validate(blocks["align_image"])
    stage = AlignmentStage("align_image", fusion, params, shop / "models/encoder")
    return towers_to_train(load_towers(stage.start), stage)


def alignment(catalogue: Path, towers: LoadedTowers, blocks: dict[str, Any], cache: Path) -> Alignment:
    fusion = FusionParams.model_validate(blocks["fusion"])
    params = AlignImageParams.model_validate(blocks["align_image"])
    module = towers.module
    freeze(towers.encoder.encoder, params.train_images, params.tune_text)
    paths = Paths(catalogue=catalogue, cache=cache)
    data, validate = make_alignment_set(towers.encoder, module, fusion, params, paths)
    return Alignment(module, data, params, validate)


def aligned(
    shop: Path, blocks: dict[str, Any], cache: Path, resume: Path | None, until: int | None
) -> Weights:
    objective = alignment(shop / "data/checked", started(shop, blocks), blocks, cache)
    objective.loop(resume).run(until)
    weights: Weights = objective.module.state_dict()
    return weights


def fused(shop: Path, blocks: dict[str, Any], cache: Path, resume: Path | None, until: int | None) -> Weights:
    fusing = make_fusing(shop, blocks)
    fusing.loop(resume).run(until)
    weights: Weights = fusing.module.state_dict()
    return weights


def make_fusing(shop: Path, blocks: dict[str, Any]) -> Fusing:
    fusion, params = FusionParams.model_validate(blocks["fusion"]), FuseParams.model_validate(blocks["fuse"])
    towers = Towers(started(shop, blocks), fusion.text, params.encode, None, 1)
    data = make_fuse_data(shop / "data/checked", towers, fusion, params)
    return Fusing(create_network("moe_bilinear", 16, params.network, params.seed), data, params)


@pytest.mark.parametrize("train", [aligned, fused])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    train: Any, shop: Path, blocks: dict[str, Any], tmp_path: Path
) -> None:
    whole = train(shop, blocks, tmp_path / "cache", None, None)
    for until in (1, 5, None):
        resumed = train(shop, blocks, tmp_path / "cache", tmp_path / "resume", until)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_two_runs_give_the_same_files_with_and_without_the_cache(
    shop: Path, trained: Path, blocks: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for stage in ("align_text", "align_image"):
        record = run_stage(f"fusion.model.{stage}", shop, tmp_path, blocks)
    assert record.metrics["suspected_false_negatives"] >= 0
    assert {"validation_text_ndcg_at_10", "validation_image_ndcg_at_10"} <= set(record.metrics)
    shutil.rmtree(tmp_path / ".vitrine/cache/vectors")
    run_stage("fusion.model.fuse", shop, tmp_path, blocks, network="moe_bilinear")
    files = [f"models/fusion/{m}.safetensors" for m in (*STAGES, "moe_bilinear/model")]
    for file in [*files, "plots/align_image.csv", "plots/fuse_moe_bilinear.csv"]:
        assert sha256_file(tmp_path / file) == sha256_file(trained / file), file
    assert not list(Path(".vitrine/resume").glob("*/*/*")), "resume state outlived a stage"


def test_a_trained_image_tower_moves_and_a_frozen_one_does_not(
    shop: Path, blocks: dict[str, Any], tmp_path: Path
) -> None:
    catalogue = tmp_path / "checked"
    from tests.model.fusion import conftest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "WITHOUT_PICTURE", "")  # training on pixels needs every picture
        conftest.write_shop(catalogue)
    moved = []
    for train_images in (False, True):
        blocks["align_image"]["train_images"] = train_images
        blocks["align_image"]["optimisation"] |= {"steps": 2}
        old, towers = load_encoder(shop / "models/encoder").encoder.state_dict(), started(shop, blocks)
        alignment(catalogue, towers, blocks, tmp_path / "cache").loop().run()
        new = towers.encoder.encoder.state_dict()
        assert not torch.equal(old["heads.image.layers.1.weight"], new["heads.image.layers.1.weight"])
        changed = [name for name in old if not torch.equal(old[name], new[name])]
        moved.append(any(name.startswith("towers.visual.") for name in changed))
        assert not any(name.startswith("towers.text.") for name in changed)
    assert moved == [False, True]


def test_a_text_tower_is_tuned_on_whole_texts_alone(
    shop: Path, blocks: dict[str, Any], tmp_path: Path
) -> None:
    blocks["align_image"]["tune_text"] = True
    with pytest.raises(FusionConfigurationError, match=r"set fusion\.text\.by_field to false"):
        alignment(shop / "data/checked", started(shop, blocks), blocks, tmp_path)
    blocks["fusion"]["text"]["by_field"] = False
    towers = started(shop, blocks)
    old = {name: value.clone() for name, value in towers.encoder.encoder.state_dict().items()}
    alignment(shop / "data/checked", towers, blocks, tmp_path).loop().run(2)
    new = towers.encoder.encoder.state_dict()
    assert any(not torch.equal(old[name], new[name]) for name in old if name.startswith("towers.text."))


@pytest.mark.parametrize("objective", ["align_text", "align_image"])
def test_alignment_learns(objective: str, shop: Path, blocks: dict[str, Any], tmp_path: Path) -> None:
    blocks["align_image"] = blocks[objective]
    blocks["align_image"]["optimisation"] |= {"steps": 80, "learning_rate": 0.01}
    history = alignment(shop / "data/checked", started(shop, blocks), blocks, tmp_path).loop().run()
    first, last = (np.mean([s["loss"] for s in part]) for part in (history.steps[:8], history.steps[-8:]))
    assert last < first - 0.1


def test_fusing_learns(shop: Path, blocks: dict[str, Any]) -> None:
    blocks["fuse"]["optimisation"] |= {"steps": 120, "learning_rate": 0.01}
    history = make_fusing(shop, blocks).loop().run()
    first, last = (np.mean([s["loss"] for s in part]) for part in (history.steps[:10], history.steps[-10:]))
    assert last < first - 0.1


def test_what_is_not_finite_stops_with_the_ids_of_the_batch(shop: Path, blocks: dict[str, Any]) -> None:
    fusing = make_fusing(shop, blocks)
    with torch.no_grad():
        fusing._text[:] = float("nan")
    with pytest.raises(DivergedError, match=r"step 0.*queries q-train-\d.*products p00\d\d"):
        fusing.loop().run()


@pytest.mark.slow
@pytest.mark.parametrize("stage", [("align_text",), ("align_image",), ("fuse", "network=moe_bilinear")])
def test_a_killed_stage_completes_as_if_it_had_not_been(
    stage: tuple[str, ...], shop: Path, trained: Path, blocks: dict[str, Any], tmp_path: Path
) -> None:
    name = stage[0]
    before = {"align_image": "align_text", "fuse": "align_image"}.get(name)
    blocks[name]["optimisation"] |= {"steps": 400, "checkpoint_every_s": 0.05}
    hashes = []
    for kill in (True, False):
        root = tmp_path / str(kill)
        (root / "models/fusion").mkdir(parents=True)
        (root / "data").symlink_to(shop / "data")
        (root / "models/encoder").symlink_to(shop / "models/encoder")
        if before is not None:
            (root / "models/fusion" / before).symlink_to(trained / "models/fusion" / before)
        (root / "params.yaml").write_text(yaml.safe_dump(blocks))
        if kill:
            killed_once(root, stage)
        done = subprocess.run(command(stage), cwd=root, env=environment(root), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        newest = max((root / ".vitrine/records").rglob("*.json"), key=lambda p: p.stat().st_mtime)
        resumed = json.loads(newest.read_text())["metrics"]["resumed_from_step"]
        assert (resumed > 0) == kill
        hashes.append(sha256_folder(root / f"models/fusion/{stage[-1].split('=')[-1]}"))
    assert hashes[0] == hashes[1]


def command(stage: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "components.stage", f"fusion.model.{stage[0]}", *stage[1:]]


def environment(root: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT),
        "PATH": "/usr/bin:/bin",
        "OMP_NUM_THREADS": "1",
        "HOME": str(root),
    }


def killed_once(root: Path, stage: tuple[str, ...]) -> None:
    """Start the stage and SIGKILL it once it has kept a state."""
    process = subprocess.Popen(command(stage), cwd=root, env=environment(root), stderr=subprocess.DEVNULL)
    for _ in range(1200):
        if list((root / ".vitrine/resume").rglob("state.pt")):
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.05)
    assert process.wait() == -signal.SIGKILL


def test_features_that_another_stage_left_are_read_and_change_nothing(
    shop: Path, blocks: dict[str, Any], tmp_path: Path
) -> None:
    from tests.model.fusion import conftest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "WITHOUT_PICTURE", "")  # the encoder's stages need every picture
        conftest.write_shop(tmp_path / "checked")
    fusion = FusionParams.model_validate(blocks["fusion"])
    encode = FuseParams.model_validate(blocks["fuse"]).encode
    alone = Towers(started(shop, blocks), fusion.text, encode, None, 1)
    own = joined(alone.stream(tmp_path / "checked", "test"))
    shared = Towers(started(shop, blocks), fusion.text, encode, tmp_path / "cache", 1)
    assert shared.pictures.kept(tmp_path / "checked") is None
    pixels = PixelCache(tmp_path / "checked", alone.model.encoder.encoder.image_px, tmp_path / "cache", 1)
    FeatureCache(pixels, alone.encoder, tmp_path / "cache")
    assert shared.pictures.kept(tmp_path / "checked") is not None
    found = joined(shared.stream(tmp_path / "checked", "test"))
    assert found.product_ids == own.product_ids and found.rows == own.rows
    assert np.array_equal(found.image, own.image) and np.array_equal(found.text, own.text)
