"""Training: learns what can be learned, goes on from any step exactly, and stops where it must."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from components.catalog.format.shards import Catalogue, CatalogueWriter
from components.encoder.model.errors import TrainingDataError
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.start import starting_model
from components.encoder.model.train.contrastive import Contrastive, TextInputs, TrainingSet
from components.encoder.model.train.stage import EncoderStage, run
from components.encoder.model.train.training_set import group_numbers, make_training_set
from components.stage.paths import Paths
from components.stage.record import Record
from components.stage.resume import sha256_file
from components.training.errors import DivergedError

ROOT = Path(__file__).parents[3]


TUNED = [(False, False), (True, False), (False, True)]


def tuned(params: EncoderParams, image: bool, text: bool, **training: object) -> EncoderParams:
    """The block with some towers tuned."""
    changes = {"tune_image": image, "tune_text": text} | training
    return params.model_copy(update={"training": params.training.model_copy(update=changes)})


def prepared(shapes: Path, params: EncoderParams, cache: Path) -> tuple[Encoder, TrainingSet]:
    torch.set_num_threads(1)
    model = starting_model(params)
    data, _ = make_training_set(shapes / "data/checked", params, model, cache)
    return model.encoder, data


def weights(
    shapes: Path, params: EncoderParams, cache: Path, resume: Path | None, until: int | None = None
) -> dict:
    encoder, data = prepared(shapes, params, cache)
    Contrastive(encoder, data, params).loop(resume).run(until)
    return encoder.state_dict()


@pytest.mark.parametrize(("image", "text"), TUNED)
def test_an_interrupted_run_ends_as_an_uninterrupted_one_and_what_is_not_tuned_stays(
    shapes: Path, tiny: EncoderParams, tmp_path: Path, image: bool, text: bool
) -> None:
    tiny = tuned(tiny, image, text)
    before = {name: value.clone() for name, value in starting_model(tiny).encoder.state_dict().items()}
    whole = weights(shapes, tiny, tmp_path / "cache", None)
    resume = tmp_path / "resume"
    for until in (1, 5, None):  # steps 1 and 5 lie inside an epoch of 3
        resumed = weights(shapes, tiny, tmp_path / "cache", resume, until)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    changed = {name for name in whole if not torch.equal(whole[name], before[name])}
    visual = {name for name in changed if name.startswith("towers.visual.")}
    read = {name for name in changed if name.startswith("towers.text.")}
    assert bool(visual) == image and bool(read) == text and any(n.startswith("heads.") for n in changed)


def train_here(shapes: Path, params: EncoderParams) -> Record:
    """Run the stage in the current folder."""
    record = Record(stage="encoder")
    run(EncoderStage(encoder=params), Paths(catalogue=shapes / "data/checked"), record)
    return record


def test_two_runs_give_the_same_files_with_a_row_per_step(
    shapes: Path, tiny: EncoderParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("models/encoder/heads.safetensors", "models/encoder/config.json", "plots/encoder.csv")
    hashes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        record = train_here(shapes, tiny)
        hashes.append([sha256_file(Path(file)) for file in files])
        assert not list(Path(".vitrine/resume/encoder").glob("*/*")), "resume state outlived the stage"
    assert hashes[0] == hashes[1]
    rows = list(csv.DictReader(Path("plots/encoder.csv").read_text().splitlines()))
    assert len(rows) == 12 and {"loss", "validation_titles_mrr"} <= set(rows[0])
    assert record.metrics["final_loss"] == pytest.approx(float(rows[-1]["loss"]), rel=1e-4)


def test_training_draws_from_all_pictures_of_a_product(
    shapes: Path, tiny: EncoderParams, tmp_path: Path
) -> None:
    assert prepared(shapes, tiny, tmp_path / "cache")[1].views is None
    shutil.copytree(shapes / "data/checked", tmp_path / "data/checked")
    products = list(Catalogue(shapes / "data/checked").products())
    count = len(products)
    with CatalogueWriter(tmp_path / "data/checked", 64, more_images=True) as writer:
        for k, product in enumerate(products):  # every other one has two more
            more = [products[(k + n) % count].image for n in (1, 2)] if k % 2 else []
            writer.add(product.model_copy(update={"more_images": tuple(more)}))
    encoder, data = prepared(tmp_path, tiny, tmp_path / "cache")
    assert data.views is not None and data.features is not None
    every = data.features.take(np.arange(2 * count))
    shown = [(k + n) % count for k in range(1, count, 2) for n in (1, 2)]
    assert np.array_equal(every[count:], every[shown])
    training = Contrastive(encoder, data, tiny)
    main = several = 0
    for step in range(4):
        batch = training.batch(step)
        for row, picture in zip(data.rows[batch.rows], batch.pictures.numpy(), strict=True):
            own = [row, (row + 1) % count, (row + 2) % count] if row % 2 else [row]
            assert any(np.array_equal(picture, every[place]) for place in own)
            main += np.array_equal(picture, every[row])
            several += row % 2
    drawn = len(batch.rows) * 4
    assert several > 20 and drawn - several < main < drawn - several / 2


def test_a_loss_that_is_not_finite_names_the_products(
    shapes: Path, tiny: EncoderParams, tmp_path: Path
) -> None:
    encoder, data = prepared(shapes, tiny, tmp_path)
    with torch.no_grad():
        encoder.heads["text"].layers[1].weight[0, 0] = float("nan")
    with pytest.raises(DivergedError, match=r"step 0.*p0\d\d\d"):
        Contrastive(encoder, data, tiny).loop().run()


def test_a_batch_depends_on_its_step_alone(shapes: Path, tiny: EncoderParams, tmp_path: Path) -> None:
    tiny = tuned(tiny, True, True)
    encoder, data = prepared(shapes, tiny, tmp_path)
    one, two = (Contrastive(encoder, data, tiny) for _ in range(2))
    for step in (0, one.plan.steps - 1):
        two.batch(5)
        first, again = one.batch(step), two.batch(step)
        assert torch.equal(first.pictures, again.pictures)
        assert torch.equal(first.texts.places, again.texts.places)
        for one_term, same in zip(first.terms, again.terms, strict=True):
            assert torch.equal(one_term.excluded, same.excluded)


def test_a_tuned_text_tower_reads_each_distinct_text_once_without_padding() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 30, 300)
    tokens = np.where(np.arange(40) < lengths[:, None], rng.integers(1, 99, (300, 40)), 0)
    places = rng.integers(0, 300, 500)
    found = TextInputs(tokens, lengths).distinct(places)
    padded = torch.cat([torch.nn.functional.pad(p, (0, 40 - p.shape[1])) for p in found.parts])
    assert len(padded) == len(set(places.tolist()))
    assert np.array_equal(padded[found.places].numpy(), tokens[places])
    assert sum(p.numel() for p in found.parts) < 0.6 * 40 * len(padded)


def test_towers_beside_heads_may_learn_at_a_rate_of_their_own(
    shapes: Path, tiny: EncoderParams, tmp_path: Path
) -> None:
    def moved(**training: object) -> dict[str, float]:
        params = tuned(tiny, False, True, **training)
        encoder, data = prepared(shapes, params, tmp_path)
        before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
        Contrastive(encoder, data, params).loop().run(1)
        change = {n: (p.detach() - before[n]).abs().max().item() for n, p in encoder.named_parameters()}
        return {
            part: max(c for n, c in change.items() if n.startswith(part)) for part in ("towers.text", "heads")
        }

    own, same = moved(tower_learning_rate=1e-6), moved()
    assert own["towers.text"] < 0.01 * same["towers.text"]
    assert own["heads"] == pytest.approx(same["heads"], rel=0.01)


def test_one_product_cannot_be_trained_on(shapes: Path, tiny: EncoderParams, tmp_path: Path) -> None:
    encoder, data = prepared(shapes, tiny, tmp_path)
    with pytest.raises(TrainingDataError, match="at least 2"):
        Contrastive(encoder, replace(data, topics=data.topics[:1]), tiny)


def test_groups_follow_chains_of_groups_and_titles() -> None:
    rows = [
        {"group_id": "a", "title": "Red mug"},
        {"group_id": "b", "title": "red MUG "},
        {"group_id": "b", "title": "Blue mug"},
        {"group_id": "c", "title": ""},
        {"group_id": "d", "title": ""},
    ]
    numbers = group_numbers(rows)
    assert numbers[0] == numbers[1] == numbers[2]
    assert len({int(n) for n in numbers}) == 3


def test_caches_change_no_weight(shapes: Path, tiny: EncoderParams, tmp_path: Path) -> None:
    """Features and vectors that another run left, or none, or deleted ones."""
    first = weights(shapes, tiny, tmp_path / "cache", None)
    again = weights(shapes, tiny, tmp_path / "cache", None)
    shutil.rmtree(tmp_path / "cache")
    deleted = weights(shapes, tiny, tmp_path / "cache", None)
    assert all(torch.equal(first[k], again[k]) and torch.equal(first[k], deleted[k]) for k in first)


def test_a_catalogue_of_one_type_can_be_trained_on(shapes: Path, tiny: EncoderParams, tmp_path: Path) -> None:
    encoder, data = prepared(shapes, tiny, tmp_path)
    one_type = replace(data, topics=np.zeros_like(data.topics))
    history = Contrastive(encoder, one_type, tiny).loop().run()
    assert np.isfinite([step["loss"] for step in history.steps]).all()


def workspace(root: Path, shapes: Path, params: EncoderParams, **training: object) -> Path:
    root.mkdir()
    (root / "data").symlink_to(shapes / "data")
    block = params.model_dump(mode="json")
    block["training"] |= training
    (root / "params.yaml").write_text(yaml.safe_dump({"encoder": block}))
    return root


def start(root: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DVC_STAGE": "encoder", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "components.stage", "encoder.model.train"]
    return subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_sigkill_in_the_middle_and_a_rerun_give_identical_results(
    shapes: Path, tiny: EncoderParams, tmp_path: Path
) -> None:
    settings = {"checkpoint_every_s": 0.01, "epochs": 60}
    whole = workspace(tmp_path / "whole", shapes, tiny, **settings)
    assert start(whole).wait(300) == 0
    killed = workspace(tmp_path / "killed", shapes, tiny, **settings)
    process = start(killed)
    deadline = time.monotonic() + 120
    while not list(killed.glob(".vitrine/resume/encoder/*/state.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    assert not (killed / "models/encoder").exists()
    assert start(killed).wait(300) == 0
    records = [json.loads(p.read_text()) for p in killed.glob(".vitrine/records/encoder/*.json")]
    assert records[-1]["metrics"]["resumed_from_step"] > 0, "the rerun began from nothing"
    for file in ("models/encoder/heads.safetensors", "plots/encoder.csv"):
        assert sha256_file(whole / file) == sha256_file(killed / file)
