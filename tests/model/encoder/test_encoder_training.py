"""Training: learns what can be learned, goes on from any step exactly, and stops where it must."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from components.encoder.model.errors import DivergedError, TrainingDataError
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.dual_encoder import create_encoder
from components.encoder.model.train.schedule import Schedule, topic_order
from components.encoder.model.train.stage import train_and_publish
from components.encoder.model.train.trainer import Trainer, TrainingSet
from components.encoder.model.train.training_set import group_numbers, make_training_set
from components.stage.record import Record
from components.stage.resume import sha256_file

ROOT = Path(__file__).parents[3]

ONE_TOPIC = np.zeros(100, dtype=np.int64)


def prepared(shapes: Path, params: EncoderParams, cache: Path) -> tuple[TrainingSet, int]:
    torch.set_num_threads(1)
    data, tokenizer, _ = make_training_set(shapes / "data/checked", params, cache)
    return data, tokenizer.vocabulary_size


def weights(
    shapes: Path, params: EncoderParams, cache: Path, resume: Path | None, until: int | None = None
) -> dict:
    data, vocabulary = prepared(shapes, params, cache)
    encoder = create_encoder(params, vocabulary)
    trainer = Trainer(encoder, data, params, resume)
    trainer.run(until)
    if until is not None:
        trainer.save_state()
    return encoder.state_dict()


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    shapes: Path, tiny: EncoderParams, tmp_path: Path
) -> None:
    whole = weights(shapes, tiny, tmp_path / "cache", None)
    resume = tmp_path / "resume"
    for until in (1, 5, None):  # steps 1 and 5 lie inside an epoch of 3
        resumed = weights(shapes, tiny, tmp_path / "cache", resume, until)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_two_runs_give_the_same_files(
    shapes: Path, tiny: EncoderParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        record = Record(stage="encoder")
        train_and_publish(
            tiny,
            shapes / "data/checked",
            Path("model"),
            Path("plots/encoder.csv"),
            tmp_path / name / "cache",
            record,
        )
        hashes.append(
            [
                sha256_file(Path(f))
                for f in ("model/model.safetensors", "model/config.json", "plots/encoder.csv")
            ]
        )
        assert not list(Path(".vitrine/resume/encoder").glob("*/*")), "resume state outlived the stage"
    assert hashes[0] == hashes[1]


def test_it_learns_colours(shapes: Path, tiny: EncoderParams, tmp_path: Path) -> None:
    params = tiny.model_copy(update={"training": tiny.training.model_copy(update={"epochs": 30})})
    data, vocabulary = prepared(shapes, params, tmp_path)
    history = Trainer(create_encoder(params, vocabulary), data, params).run()
    first, last = (np.mean([s["pooled"] for s in part]) for part in (history.steps[:6], history.steps[-6:]))
    assert last < first - 0.5


def test_a_loss_that_is_not_finite_names_the_products(
    shapes: Path, tiny: EncoderParams, tmp_path: Path
) -> None:
    data, vocabulary = prepared(shapes, tiny, tmp_path)
    encoder = create_encoder(tiny, vocabulary)
    with torch.no_grad():
        encoder.clip.text_projection[0, 0] = float("nan")
    with pytest.raises(DivergedError, match=r"step 0.*p0\d\d\d"):
        Trainer(encoder, data, tiny).run()


def test_order_and_views_depend_on_the_step_alone(tiny: EncoderParams) -> None:
    schedule = Schedule(tiny.training, seed=3, topics=ONE_TOPIC, image_px=48)
    epoch = np.concatenate([schedule.batch(s) for s in range(schedule.steps_per_epoch)])
    assert len(set(epoch.tolist())) == len(epoch) == 96
    assert np.array_equal(schedule.batch(5), Schedule(tiny.training, 3, ONE_TOPIC, 48).batch(5))
    assert not np.array_equal(schedule.batch(0), schedule.batch(3))
    rates = [schedule.learning_rate(s) for s in range(schedule.steps)]
    assert max(rates) == pytest.approx(tiny.training.learning_rate) and rates[-1] < rates[2]
    assert schedule.side_px(0) == 32 and schedule.side_px(schedule.steps - 1) == 48


def test_products_of_one_type_stand_together_and_none_is_lost() -> None:
    topics = np.repeat(np.arange(5), [40, 30, 20, 9, 1])
    order = topic_order(topics, 8, np.random.default_rng(1))
    assert sorted(order.tolist()) == list(range(100))
    runs = np.split(topics[order], np.flatnonzero(np.diff(topics[order])) + 1)
    assert np.mean([len(r) for r in runs]) > 6
    mixed = topic_order(topics, 1, np.random.default_rng(1))
    assert np.mean(topics[mixed][1:] == topics[mixed][:-1]) < 0.5
    assert np.array_equal(order, topic_order(topics, 8, np.random.default_rng(1)))


def test_one_product_cannot_be_trained_on(tiny: EncoderParams) -> None:
    with pytest.raises(TrainingDataError, match="at least 2"):
        Schedule(tiny.training, 3, ONE_TOPIC[:1], 48)


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


def workspace(root: Path, shapes: Path, params: EncoderParams, **training: object) -> Path:
    root.mkdir()
    (root / "data").symlink_to(shapes / "data")
    block = params.model_dump(mode="json")
    block["training"] |= training
    (root / "params.yaml").write_text(yaml.safe_dump({"encoder": block}))
    return root


def door(root: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DVC_STAGE": "encoder", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "components.encoder", "train"]
    return subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_sigkill_in_the_middle_and_a_rerun_give_identical_results(
    shapes: Path, tiny: EncoderParams, tmp_path: Path
) -> None:
    settings = {"checkpoint_every_s": 0.01, "epochs": 60}
    whole = workspace(tmp_path / "whole", shapes, tiny, **settings)
    assert door(whole).wait(300) == 0
    killed = workspace(tmp_path / "killed", shapes, tiny, **settings)
    process = door(killed)
    deadline = time.monotonic() + 120
    while not list(killed.glob(".vitrine/resume/encoder/*/state.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    assert not (killed / "models/encoder").exists()
    assert door(killed).wait(300) == 0
    records = [json.loads(p.read_text()) for p in killed.glob(".vitrine/records/encoder/*.json")]
    assert records[-1]["metrics"]["resumed_from_step"] > 0, "the rerun began from nothing"
    for file in ("models/encoder/model.safetensors", "plots/encoder.csv"):
        assert sha256_file(whole / file) == sha256_file(killed / file)


def test_curves_have_a_row_per_step(
    shapes: Path, tiny: EncoderParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = Record(stage="encoder")
    train_and_publish(
        tiny, shapes / "data/checked", Path("m"), Path("plots/e.csv"), tmp_path / "cache", record
    )
    rows = list(csv.DictReader(Path("plots/e.csv").read_text().splitlines()))
    assert len(rows) == 12 and {"loss", "pooled", "topk", "validation_titles_mrr"} <= set(rows[0])
    assert record.metrics["final_loss"] == pytest.approx(float(rows[-1]["loss"]), rel=1e-4)
