"""Stages that do not need each other run at the same time, on their own cores, with the results of a row."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from components.parameters.runner import cores_wanted
from flows.cli import app, guarded
from flows.run.cores import Cores, by_critical_path, machine_cores
from flows.run.graph import Graph, StageMeta, StageNode, read_graph
from tests.flows.toy_workspace import PATIENCE_S, Paused, command, make_workspace, rows, settings, until
from tests.in_process import run_command

TWO_CORES = pytest.mark.skipif(len(machine_cores()) < 2, reason="needs two cores to run two stages at once")


def states(root: Path) -> list[tuple[str, str]]:
    """Name and state of the task runs of Prefect's newest flow run, in order, from its own database."""
    with sqlite3.connect(root / ".vitrine" / "prefect" / "prefect.db") as database:
        newest = "SELECT id FROM flow_run ORDER BY created DESC LIMIT 1"
        query = f"SELECT name, state_name, expected_start_time FROM task_run WHERE flow_run_id = ({newest})"
        found = sorted(database.execute(query), key=lambda row: str(row[2]))
        return [(str(name), str(state)) for name, state, _ in found]


def locked(root: Path) -> object:
    """dvc.lock; the order of its entries is that in which stages ended."""
    return yaml.safe_load((root / "dvc.lock").read_text())


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield make_workspace(tmp_path / "toy")
    for flag in (tmp_path / "toy" / ".vitrine" / "pause").glob("*"):
        flag.unlink()


@TWO_CORES
def test_a_run_goes_on_side_by_side_from_what_is_there_and_tries_again_what_crashed(root: Path) -> None:
    command(root, "dvc", "repro", "-q", "make")
    settings(root, fail="once")
    run = Paused(root, "scale", "note")
    scale, note = run.stage("scale"), run.stage("note")
    if sys.platform == "linux":
        assert len(scale.cpu_affinity()) == len(note.cpu_affinity()) == 1
        assert scale.cpu_affinity() != note.cpu_affinity()
    run.go("scale")  # what depends on it goes on while its neighbour is still at work
    until(lambda: (root / "metrics" / "toy.json").exists(), "the end of the other line")
    run.go("note")
    said = run.output()
    assert run.process.returncode == 0, said
    records = root / ".vitrine" / "records"
    assert len(list((records / "scale").glob("*.json"))) == 2, "a crash is tried again, as meta declares"
    budget = rows(said, "Budget")
    assert "cached" in budget["make"] and "done" in budget["scale"] and "done" in budget["sum"]
    assert "45.0 [43.5, 46.5]" in rows(said, "toy, value")["summed"] and "n = 5" in said
    assert states(root)[0] == ("make", "Cached")
    ended = dict.fromkeys(("scale", "sum", "note"), "Completed")
    assert dict(states(root)) == {"make": "Cached"} | ended
    with sqlite3.connect(root / ".vitrine" / "prefect" / "prefect.db") as database:
        newest = "SELECT data FROM artifact WHERE key = 'vitrine-stages' ORDER BY created DESC"
        kept = json.loads(database.execute(newest).fetchone()[0])
    table = {row["stage"]: row for row in (json.loads(kept) if isinstance(kept, str) else kept)}
    assert table["make"]["state"] == "cached" and table["scale"]["state"] == "ran"
    assert all(len(row["lock"]) == 12 for row in table.values())
    assert read_graph(root).reasons == {}, "DVC takes what was made for its own"

    # as after a kill between the stages and their records: the next run offers them, though all is cached
    nothing = run_command(root, lambda words: guarded(lambda: app(list(words))), "run", "encoder")
    assert "every stage is cached" in nothing.stdout
    assert "not recorded in MLflow yet" in nothing.stdout + nothing.stderr
    assert set(rows(nothing.stdout, "Budget")) >= {"make", "scale", "sum"}
    assert "note" not in rows(nothing.stdout, "Budget")


@TWO_CORES
@pytest.mark.slow
def test_after_a_failure_running_stages_finish_and_none_begins(root: Path) -> None:
    settings(root, fail="gate")
    run = Paused(root, "note")
    run.stage("note")
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
def test_a_signal_stops_every_running_stage(root: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = Paused(root, "make", "note")
    stages = [run.stage("make"), run.stage("note")]
    run.process.send_signal(number)
    said = run.output()
    assert run.process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130), said
    assert "Traceback" not in said
    until(lambda: not any(stage.is_running() for stage in stages), "the end of both stages")
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


class Lent:
    """Stages that wait for cores, each in a thread of its own as Prefect runs them."""

    def __init__(self, cores: Cores) -> None:
        self.cores, self.has = cores, dict[str, tuple[int, ...] | None]()
        self._over: dict[str, threading.Event] = {}
        self._threads: dict[str, threading.Thread] = {}

    def ask(self, name: str, count: int) -> None:
        self._over[name] = threading.Event()
        self._threads[name] = threading.Thread(target=self._hold, args=(name, count), daemon=True)
        self._threads[name].start()

    def _hold(self, name: str, count: int) -> None:
        with self.cores.lent(name, count) as numbers:
            self.has[name] = numbers
            self._over[name].wait(PATIENCE_S)

    def end(self, name: str) -> None:
        self.cores.finished(name)
        self._over[name].set()
        self._threads[name].join(PATIENCE_S)
        del self.has[name]

    def settle(self, *names: str) -> None:
        """Wait until exactly these have their cores, and see that nobody else gets any."""
        until(lambda: set(self.has) == set(names), f"the turn of {names}, not of {set(self.has)}")
        time.sleep(0.05)
        assert set(self.has) == set(names)


def test_cores_are_lent_once_and_come_back() -> None:
    lent = Lent(Cores([4, 1, 2], "abcd", dict.fromkeys("abcd", ()), at_once=9))
    lent.ask("a", 2)
    lent.settle("a")
    lent.ask("b", 2)
    lent.settle("a")
    lent.end("a")
    lent.settle("b")
    lent.ask("c", 1)
    lent.settle("b", "c")
    assert lent.has == {"b": (1, 2), "c": (4,)}
    lent.ask("d", 8)
    lent.end("b")
    lent.end("c")
    lent.settle("d")
    assert lent.has == {"d": (1, 2, 4)}, "more than there are: all there are"
    lent.end("d")


def test_a_stage_that_lacks_cores_is_not_overtaken_and_one_for_a_runner_needs_none() -> None:
    parents = {"first": (), "wide": (), "small": (), "away": ()}
    lent = Lent(Cores([0, 1], ["away", "first", "wide", "small"], parents, at_once=3))
    lent.ask("away", 0)
    lent.settle("away")
    lent.ask("first", 1)
    lent.settle("away", "first")
    lent.ask("small", 1)
    lent.settle("away", "first")
    lent.ask("wide", 2)
    lent.settle("away", "first")
    lent.end("first")
    lent.settle("away", "wide")
    lent.end("wide")
    lent.settle("away", "small")
    lent.end("small")
    lent.end("away")


def test_the_next_on_the_critical_path_goes_first_even_while_prefect_still_starts_its_task() -> None:
    parents = {"a": (), "after_a": ("a",), "b": ()}
    lent = Lent(Cores([0], ["a", "after_a", "b"], parents, at_once=1))
    lent.ask("a", 1)
    lent.settle("a")
    lent.ask("b", 1)
    lent.end("a")
    time.sleep(0.1)
    lent.settle()
    lent.ask("after_a", 1)
    lent.settle("after_a")
    lent.end("after_a")
    lent.settle("b")
    lent.end("b")


def test_nothing_begins_once_a_stage_has_failed() -> None:
    lent = Lent(Cores([0], "ab", {"a": (), "b": ()}, at_once=1))
    lent.ask("a", 1)
    lent.settle("a")
    lent.ask("b", 1)
    lent.cores.close()
    until(lambda: "b" in lent.has, "the refusal of b")
    assert lent.has == {"a": (0,), "b": None}


@given(st.data())
def test_every_stage_gets_its_turn_after_its_parents(data: st.DataObject) -> None:
    names = [f"s{i}" for i in range(data.draw(st.integers(1, 6)))]
    parents = {
        n: tuple(data.draw(st.sets(st.sampled_from(names[:i])))) if i else () for i, n in enumerate(names)
    }
    counts = {n: data.draw(st.integers(0, 4)) for n in names}
    cores = Cores(range(data.draw(st.integers(1, 3))), data.draw(st.permutations(names)), parents, 2)
    done: list[str] = []

    def work(name: str) -> None:
        with cores.lent(name, counts[name]) as numbers:
            assert numbers is not None
            done.append(name)
            cores.finished(name)

    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(done) == names
    assert all(done.index(p) < done.index(n) for n in names for p in parents[n])


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
    assert cores_wanted(stage.name, stage.blocks, parameters) == count


def test_the_critical_path_goes_first() -> None:
    stages = [node("a"), node("b"), node("c", "b"), node("d", "c"), node("e", "a", "d"), node("f", "a")]
    graph = Graph({n.name: n for n in stages}, {})
    assert by_critical_path(graph, "fedcba") == ["b", "c", "a", "d", "e", "f"]


def test_a_long_stage_goes_before_a_long_chain_of_short_ones() -> None:
    stages = [node("a"), node("b", "a"), node("c", "b"), replace(node("long"), meta=StageMeta(expected_s=60))]
    graph = Graph({n.name: n for n in stages}, {})
    assert by_critical_path(graph, ["a", "long"]) == ["long", "a"]


def test_this_machine_has_at_least_one_core_and_no_more_than_the_system_counts() -> None:
    assert 1 <= len(machine_cores()) <= (os.cpu_count() or 1)
