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
from components.fusion.model.towers.starting_encoder import starting_encoder

from components.catalog.format.shards import Catalogue
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.towers.files import load_encoder
from components.fusion.model.align.alignment import Alignment
from components.fusion.model.align.training_set import make_alignment_set
from components.fusion.model.fuse.fusing import Fusing
from components.fusion.model.fuse.training_set import make_fuse_data
from components.fusion.model.networks.create import create_network
from components.fusion.model.params import AlignmentParams, FuseParams, FusionParams
from components.fusion.model.towers.towers import Towers
from components.stage.paths import Paths
from components.stage.resume import sha256_file, sha256_folder
from components.training.errors import DivergedError
from tests.model.fusion.conftest import run_stage

ROOT = Path(__file__).parents[3]
Weights = dict[str, torch.Tensor]
# what a published model consists of, below models/fusion, without ".safetensors"
STAGES = ("align_text/encoder/model", "align_text/words", "align_image/encoder/model", "align_image/words")


def aligned(
    shop: Path, blocks: dict[str, Any], cache: Path, resume: Path | None, until: int | None
) -> Weights:
    fusion = FusionParams.model_validate(blocks["fusion"])
    params = AlignmentParams.model_validate(blocks["align_image"])
    started = starting_encoder(load_encoder(shop / "models/encoder"), fusion, 1, 1.0, False)
    data, validate = make_alignment_set(
        started, fusion, params, Paths(catalogue=shop / "data/checked", cache=cache)
    )
    Alignment(started.encoder, data, params, validate).loop(resume).run(until)
    weights: Weights = started.encoder.state_dict()
    return weights


def fused(shop: Path, blocks: dict[str, Any], cache: Path, resume: Path | None, until: int | None) -> Weights:
    fusing = make_fusing(shop, blocks)
    fusing.loop(resume).run(until)
    weights: Weights = fusing.module.state_dict()
    return weights


def make_fusing(shop: Path, blocks: dict[str, Any]) -> Fusing:
    fusion, params = FusionParams.model_validate(blocks["fusion"]), FuseParams.model_validate(blocks["fuse"])
    started = starting_encoder(load_encoder(shop / "models/encoder"), fusion, 1, 1.0, False)
    data = make_fuse_data(
        shop / "data/checked", Towers(started, fusion.text, params.encode, None, 1), fusion, params
    )
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
        fusion = FusionParams.model_validate(blocks["fusion"])
        params = AlignmentParams.model_validate(blocks["align_image"])
        loaded = load_encoder(shop / "models/encoder")
        started = starting_encoder(loaded, fusion, 1, 1.0, False)
        data, validate = make_alignment_set(
            started, fusion, params, Paths(catalogue=catalogue, cache=tmp_path / "cache")
        )
        Alignment(started.encoder, data, params, validate).loop().run()
        old, new = (m.encoder.clip.visual.state_dict() for m in (loaded, started))
        moved.append(any(not torch.equal(old[name], new[name]) for name in old))
        assert not torch.equal(loaded.encoder.clip.text_projection, started.encoder.clip.text_projection)
    assert moved == [False, True]


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


def _towers(shop: Path, blocks: dict[str, Any], cache: Path | None) -> Towers:
    fusion = FusionParams.model_validate(blocks["fusion"])
    started = starting_encoder(load_encoder(shop / "models/encoder"), fusion, 1, 1.0, False)
    return Towers(started, fusion.text, FuseParams.model_validate(blocks["fuse"]).encode, cache, 1)


def test_a_text_has_the_same_bits_whatever_stands_beside_it(shop: Path, blocks: dict[str, Any]) -> None:
    short, long = ["red mug", "mug"], ["a long text about a red mug and a blue mug " * 4] * 3
    together = _towers(shop, blocks, None).queries([*short, *long])
    alone = _towers(shop, blocks, None)
    assert (together == np.concatenate([alone.queries(short), alone.queries(long)])).all()


def test_vectors_of_the_embeddings_stage_are_taken_over(
    shop: Path, blocks: dict[str, Any], tmp_path: Path
) -> None:
    encoder, cache = load_encoder(shop / "models/encoder"), tmp_path / "v"
    params = FuseParams.model_validate(blocks["fuse"]).encode
    pictures = [data for _, data in Catalogue(shop / "data/checked").images() if data]
    embedded = BatchEncoder(encoder, params.batch_size, params.precision, cache)
    theirs = np.concatenate(list(embedded.images(pictures)))
    towers = _towers(shop, blocks, cache)
    assert towers.pictures.take_over(encoder, shop / "data/checked") == len(pictures)
    own, _ = towers.images(pictures)
    assert (own == theirs).all() and towers.encoder.cache.misses == 0
    with torch.no_grad():
        next(encoder.encoder.clip.visual.parameters()).add_(1.0)  # another tower: its vectors are not ours
    assert towers.pictures.take_over(encoder, shop / "data/checked") == 0
