"""Stages that do not need each other run at the same time, on their own cores, with the results of a row."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import yaml
from pydantic import BaseModel

from flows.cores import Cores, by_longest_way, machine_cores, wanted
from flows.graph import Graph, StageMeta, StageNode
from tests.flows.toy_workspace import command, environment, make_workspace, settings

PATIENCE_S = 120.0
TWO_CORES = pytest.mark.skipif(len(machine_cores()) < 2, reason="needs two cores to run two stages at once")


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


def locked(root: Path) -> object:
    """dvc.lock; the order of its entries is that in which stages ended."""
    return yaml.safe_load((root / "dvc.lock").read_text())


class Paused:
    """``vitrine run`` with some stages held inside their doors."""

    def __init__(self, root: Path, *stages: str) -> None:
        self.flags = {stage: root / ".vitrine" / "pause" / stage for stage in stages}
        for flag in self.flags.values():
            flag.parent.mkdir(parents=True, exist_ok=True)
            flag.touch()
        self.process = psutil.Popen(
            [sys.executable, "-m", "flows.cli", "run"],
            cwd=root, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def door(self, stage: str) -> psutil.Process:
        """The process of a stage, once it is at work."""
        told = self.flags[stage].with_name(f"{stage}.pid")
        until(
            lambda: (told.exists() and told.read_text()) or self.process.poll() is not None,
            f"the start of {stage}",
        )
        assert self.process.poll() is None, self.process.communicate()[0]
        return psutil.Process(int(told.read_text()))

    def go(self, stage: str) -> None:
        self.flags[stage].unlink(missing_ok=True)

    def output(self) -> str:
        return str(self.process.communicate(timeout=PATIENCE_S)[0])


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield make_workspace(tmp_path / "toy")
    for flag in (tmp_path / "toy" / ".vitrine" / "pause").glob("*"):
        flag.unlink()


@TWO_CORES
def test_two_stages_at_once_on_different_cores_give_the_lock_file_of_one_after_the_other(
    root: Path, tmp_path: Path
) -> None:
    run = Paused(root, "make", "note")
    make, note = run.door("make"), run.door("note")
    if sys.platform == "linux":
        assert len(make.cpu_affinity()) == len(note.cpu_affinity()) == 1
        assert make.cpu_affinity() != note.cpu_affinity()
    run.go("make")  # what depends on it goes on while its neighbour is still at work
    until(lambda: (root / "metrics" / "toy.json").exists(), "the end of the other line")
    run.go("note")
    said = run.output()
    assert run.process.returncode == 0, said
    other = make_workspace(tmp_path / "other")
    command(other, "dvc", "repro", "-q")
    assert locked(root) == locked(other)
    assert "up to date" in command(root, "dvc", "status").stdout


@TWO_CORES
@pytest.mark.slow
def test_a_failure_lets_its_neighbour_finish_and_begins_nothing_new(root: Path) -> None:
    settings(root, fail="gate")
    run = Paused(root, "note")
    run.door("note")
    until(lambda: list((root / ".vitrine" / "records" / "scale").glob("*.json")), "the failure of scale")
    time.sleep(1.0)
    assert run.process.poll() is None
    run.go("note")
    said = run.output()
    assert run.process.returncode == 3 and "error: Stage 'scale' failed" in said, said
    assert "note: done" in said and "sum: running" not in said
    assert "note" not in command(root, "dvc", "status", "note").stdout


@TWO_CORES
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_both(root: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = Paused(root, "make", "note")
    doors = [run.door("make"), run.door("note")]
    run.process.send_signal(number)
    said = run.output()
    assert run.process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130), said
    assert "Traceback" not in said
    until(lambda: not any(door.is_running() for door in doors), "the end of both stages")
    if number != signal.SIGKILL:
        for stage in ("make", "note"):
            (record,) = (root / ".vitrine" / "records" / stage).glob("*.json")
            assert '"exit_code": 130' in record.read_text()
    run.go("make")
    run.go("note")
    command(root, sys.executable, "-m", "flows.cli", "run")
    other = make_workspace(tmp_path / "other")
    command(other, "dvc", "repro", "-q")
    assert locked(root) == locked(other)


class Block(BaseModel):
    threads: int = 0
    workers: int = 0


def node(name: str, *parents: str, blocks: tuple[str, ...] = ()) -> StageNode:
    return StageNode(name, parents, StageMeta(), "", blocks)


def test_cores_are_given_once_and_come_back() -> None:
    cores = Cores([4, 1, 2])
    first = cores.take(2)
    assert first == (1, 2) and cores.take(2) is None and cores.take(1) == (4,)
    cores.give_back(first)
    assert Cores([0]).take(8) == (0,), "more than there are: all there are"
    assert cores.take(0) == ()


@pytest.mark.parametrize(
    ("stage", "count"),
    [
        (node("train@raw", blocks=("model", "train")), 2),
        (node("train_eval", blocks=("train", "train_eval")), 1),
        (node("check", blocks=("train", "wide")), 8),
        (node("quick", blocks=("model",)), 1),
    ],
)
def test_a_stage_takes_the_cores_of_its_own_block(stage: StageNode, count: int) -> None:
    parameters = {
        "train": Block(threads=2),
        "train_eval": Block(threads=1),
        "wide": Block(workers=8),
        "model": Block(),
    }
    assert wanted(stage, parameters) == count


def test_the_longest_way_goes_first() -> None:
    stages = [node("a"), node("b"), node("c", "b"), node("d", "c"), node("e", "a", "d"), node("f", "a")]
    graph = Graph({n.name: n for n in stages}, {})
    assert by_longest_way(graph, "fedcba") == ["b", "c", "a", "d", "e", "f"]


def test_a_long_stage_goes_before_a_long_chain_of_short_ones() -> None:
    stages = [node("a"), node("b", "a"), node("c", "b"), replace(node("long"), meta=StageMeta(expected_s=60))]
    graph = Graph({n.name: n for n in stages}, {})
    assert by_longest_way(graph, ["a", "long"]) == ["long", "a"]


def test_cores_of_this_machine() -> None:
    assert 1 <= len(machine_cores()) <= (os.cpu_count() or 1)
