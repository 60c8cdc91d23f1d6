"""The frame around every stage: which words reach a command, under which name it is recorded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import components
from components.stage import frame
from components.stage.frame import main, run
from components.stage.placement import hold_threads_in_place
from components.stage.record import Record


def test_words_after_the_command_are_passed_to_functions_that_take_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    seen: list[str] = []

    def train(record: Record, item: str) -> None:
        seen.append(item)

    def evaluate(record: Record) -> None:
        seen.append("evaluated")

    commands = {"train": train, "evaluate": evaluate}
    assert run("toy", commands, ["train", "raw"]) == 0
    assert run("toy", commands, ["evaluate"]) == 0
    assert seen == ["raw", "evaluated"]
    records = [json.loads(file.read_text()) for file in Path(".vitrine/records").rglob("*.json")]
    assert {record["stage"] for record in records} == {"toy.train@raw", "toy.evaluate"}
    for wrong in ([], ["train"], ["train", "raw", "full"], ["evaluate", "raw"], ["other"]):
        assert run("toy", commands, wrong) == 2
        assert "{train ITEM,evaluate}" in capsys.readouterr().err
    assert len(seen) == 2


def test_only_a_stage_of_the_graph_binds_its_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DVC_STAGE", "OMP_PROC_BIND"):
        monkeypatch.delenv(name, raising=False)
    hold_threads_in_place()
    assert "OMP_PROC_BIND" not in os.environ
    monkeypatch.setenv("DVC_STAGE", "encoder")
    monkeypatch.setenv("OMP_PROC_BIND", "false")
    hold_threads_in_place()
    assert os.environ["OMP_PROC_BIND"] == "false"
    monkeypatch.delenv("OMP_PROC_BIND")
    hold_threads_in_place()
    assert os.environ["OMP_PROC_BIND"] == "true"


ROOM = """
from typing import Literal
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record

class Toy(Params):
    seed: int = 3
    rate: float = 0.5

class Blocks(Params):
    variant: Literal["raw", "full"]
    toy: Toy = Toy()

def run(params: Blocks, paths: Paths, record: Record) -> None:
    text = f"{params.variant} {params.toy.seed} {params.toy.rate} {paths.vlclip} {paths.catalogue}"
    open("made.txt", "w").write(text)
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose components have one stage more, ``toy.train``."""
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_STAGE", "VITRINE_PARAMS"):
        monkeypatch.delenv(name, raising=False)
    room = tmp_path / "components/toy/train"
    room.mkdir(parents=True)
    (room / "stage.py").write_text(ROOM)
    monkeypatch.setattr(frame, "COMPONENTS", tmp_path / "components")
    monkeypatch.setattr(components, "__path__", [*components.__path__, str(tmp_path / "components")])
    Path("params.yaml").write_text("toy: {rate: 0.25}\nother: {}\n")
    return tmp_path


def test_a_stage_gets_defaults_file_and_command_in_this_order(toy: Path) -> None:
    assert main(["toy.train", "variant=full", "toy.seed=5", "paths.vlclip=models/study"]) == 0
    assert Path("made.txt").read_text() == "full 5 0.25 models/study data/checked"
    (record,) = [json.loads(file.read_text()) for file in Path(".vitrine/records").rglob("*.json")]
    assert record["parameters"] == {"variant": "full", "toy": {"seed": 5, "rate": 0.25}}
    assert record["status"] == "finished"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["toy.train"], "variant: Field required"),
        (["toy.train", "variant=half"], "variant: "),
        (["toy.train", "variant=full", "toy.sede=4"], "toy.sede: unknown key"),
        (["toy.train", "variant=full", "paths.nowhere=x"], "paths.nowhere: unknown key"),
        (["toy.train", "full"], "write it as name=value"),
        (["toy.train", "variant=full", ".=4"], "write it as name=value"),
        (["toy.tune", "variant=full"], "There is no stage 'toy.tune'; known are: toy.train"),
    ],
)
def test_a_wrong_setting_is_refused_and_nothing_runs(
    toy: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err
    assert not Path("made.txt").exists()


@pytest.mark.parametrize("words", [[], ["--help"], ["variant=full"]])
def test_without_a_room_the_rooms_are_listed(
    toy: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "rooms: toy.train" in capsys.readouterr().err
