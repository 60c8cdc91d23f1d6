"""The training loop: exact resume, the learning rate, a loss that is not finite, batches, curves."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from components.stage.record import Record
from components.training.batches import BatchOrder, topic_order
from components.training.curves import MOST_POINTS, History, curves_csv, record_history
from components.training.errors import DivergedError
from components.training.loop import Loop
from components.training.optimiser import adamw, warmup_cosine
from components.training.plan import Plan
from components.training.resume import STATE_FILE, forget, training_folder

RATE = 0.05


def optimisation(**changed: object) -> SimpleNamespace:
    """Settings of a small run."""
    values = {"learning_rate": RATE, "weight_decay": 0.1, "betas": (0.9, 0.98), "warmup_share": 0.25}
    return SimpleNamespace(**values | {"checkpoint_every_s": 1000.0} | changed)


class Regression:
    """Learns a line through noise, with dropout, so that the state of every random stream matters."""

    def __init__(self, steps: int = 12, validate_every: int = 5, spoiled: int | None = None) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.order = BatchOrder(np.arange(20, dtype=np.int64) % 3, batch_size=6, topic_size=2, seed=7)
        self.plan = Plan(steps, self.order.batch_size, validate_every, seed=7, optimisation=optimisation())
        self.spoiled = spoiled
        self.asked: list[int] = []

    def batch(self, step: int) -> tuple[int, np.ndarray, Tensor]:
        self.asked.append(step)
        rows = self.order.rows(step)
        noise = self.order.rng(step).normal(size=(len(rows), 4))
        return step, rows, torch.from_numpy(noise).float()

    def losses(self, batch: tuple[int, np.ndarray, Tensor]) -> dict[str, Tensor]:
        step, rows, inputs = batch
        error = (self.module(inputs)[:, 0] - torch.from_numpy(rows).float()).square().mean()
        return {"loss": error * (math.nan if step == self.spoiled else 1), "half": error / 2}

    def ids(self, batch: tuple[int, np.ndarray, Tensor]) -> Mapping[str, Sequence[str]]:
        return {"queries": [f"q{row}" for row in batch[1]], "products": [f"p{i}" for i in range(20)]}

    def after_step(self) -> None:
        with torch.no_grad():
            self.module[2].bias.clamp_(-0.01, 0.01)

    def validate(self) -> dict[str, float]:
        assert not self.module.training
        return {"bias": self.module[2].bias.item()}


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = Regression()
    history = Loop(whole, whole.plan).run()
    for until in (1, 4, 9, None):
        pieces = Regression()
        resumed = Loop(pieces, pieces.plan, tmp_path).run(until)
    assert resumed.resumed_from == 9 and pieces.asked == [9, 10, 11]
    assert resumed.steps == history.steps and resumed.validation == history.validation
    for one, two in zip(whole.module.parameters(), pieces.module.parameters(), strict=True):
        assert torch.equal(one, two)
    assert [check["step"] for check in history.validation] == [5, 10, 12]
    assert not whole.module.training


def test_state_is_written_while_training_and_goes_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = training_folder("s", "parameters", "inputs")
    assert training_folder("s", "parameters", "inputs") == folder
    objective = Regression(spoiled=7)
    often = Plan(12, 6, 5, 7, optimisation(checkpoint_every_s=0.0))
    with pytest.raises(DivergedError):
        Loop(objective, often, folder).run()
    assert torch.load(folder / STATE_FILE, weights_only=True)["step"] == 7
    forget(folder)
    assert not any(folder.iterdir())
    other = training_folder("s", "parameters", "other inputs")
    assert other != folder and not folder.exists()


def test_a_loss_that_is_not_finite_names_the_step_and_the_examples() -> None:
    objective = Regression(spoiled=2)
    with pytest.raises(DivergedError, match=r"step 2; .*queries q\d+, .*; products p0, .*p7 and 12 more\."):
        Loop(objective, objective.plan).run()


def formula(step: int, steps: int, share: float) -> float:
    """Linear warm-up, then cosine to zero, written out."""
    warmup = max(1, round(share * steps))
    if step < warmup:
        return RATE * (step + 1) / warmup
    return RATE * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


@pytest.mark.parametrize(
    ("steps", "share"), [(12, 0.25), (1500, 0.1), (5, 0.0), (4, 1.0), (1, 0.5), (2000, 0.003)]
)
def test_the_learning_rate_follows_the_formula(steps: int, share: float) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule = warmup_cosine(optimizer, share, steps)
        for step in range(steps):
            assert optimizer.param_groups[0]["lr"] == pytest.approx(formula(step, steps, share), rel=1e-9)
            optimizer.step()
            schedule.step()


def test_gains_biases_and_frozen_weights_are_not_decayed() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2))
    module[2].requires_grad_(False)
    decayed, free = adamw(module, optimisation()).param_groups
    assert [p.shape for p in decayed["params"]] == [(2, 2)] and decayed["weight_decay"] == 0.1
    assert len(free["params"]) == 3 and free["weight_decay"] == 0
    assert decayed["betas"] == (0.9, 0.98)


def test_parts_may_learn_at_another_rate_and_keep_it_through_the_schedule() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = adamw(module, optimisation(), {"1.": RATE / 10})
    schedule = warmup_cosine(optimizer, 0.25, 12)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0.0, 0.1, 0.0]
    for step in range(12):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([formula(step, 12, 0.25) * f for f in (1, 1, 0.1, 0.1)])
        optimizer.step()
        schedule.step()


def test_each_epoch_shows_every_example_once_in_another_order() -> None:
    def order(seed: int = 3) -> BatchOrder:
        return BatchOrder(np.zeros(100, dtype=np.int64), batch_size=32, topic_size=4, seed=seed)

    ours = order()
    epochs = [np.concatenate([ours.rows(3 * e + s) for s in range(3)]) for e in range(2)]
    assert all(len(set(rows.tolist())) == 96 for rows in epochs)
    assert not np.array_equal(*epochs)
    assert np.array_equal(ours.rows(5), order().rows(5)) and not np.array_equal(
        ours.rows(5), order(4).rows(5)
    )
    assert ours.rng(1).random() == order().rng(1).random() != ours.rng(2).random()
    small = BatchOrder(np.zeros(3, dtype=np.int64), batch_size=32, topic_size=1, seed=0)
    assert small.batch_size == 3 and small.steps_per_epoch == 1


def test_examples_of_one_topic_stand_together_and_none_is_lost() -> None:
    topics = np.repeat(np.arange(5), [40, 30, 20, 9, 1])
    order = topic_order(topics, 8, np.random.default_rng(1))
    assert sorted(order.tolist()) == list(range(100))
    runs = np.split(topics[order], np.flatnonzero(np.diff(topics[order])) + 1)
    assert np.mean([len(r) for r in runs]) > 6
    mixed = topic_order(topics, 1, np.random.default_rng(1))
    assert np.mean(topics[mixed][1:] == topics[mixed][:-1]) < 0.5
    assert np.array_equal(order, topic_order(topics, 8, np.random.default_rng(1)))


def test_curves_have_a_row_per_step_and_validation_where_it_was() -> None:
    objective = Regression()
    history = Loop(objective, objective.plan).run()
    rows = list(csv.DictReader(curves_csv(history.steps, history.validation).splitlines()))
    assert list(rows[0]) == ["step", "half", "learning_rate", "loss", "bias"]
    assert [int(row["step"]) for row in rows if row["bias"]] == [4, 9, 11]
    assert float(rows[3]["loss"]) == pytest.approx(history.steps[3]["loss"], rel=1e-5)


def test_the_record_holds_speed_and_thinned_curves() -> None:
    steps = [{"step": i, "loss": 2.0 - i / 5000} for i in range(5000)]
    history = History(
        steps, [{"step": 5000, "mrr": 0.5}], data_seconds=1.0, train_seconds=4.0, resumed_from=1000
    )
    record = Record(stage="s")
    record_history(record, history, batch_size=8)
    assert record.metrics["pairs_per_second"] == 8000 and record.metrics["resumed_from_step"] == 1000
    assert record.metrics["mrr"] == 0.5 and record.timings == {"waiting_for_data": 1.0}
    assert len(record.curves["loss"]) == MOST_POINTS and record.curves["mrr"] == [
        {"step": 5000, "value": 0.5}
    ]
