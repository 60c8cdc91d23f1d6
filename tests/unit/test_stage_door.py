"""The frame around every stage: which words reach a command, under which name it is recorded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from components.stage.frame import run
from components.stage.placement import hold_threads_in_place
from components.stage.record import Record


def test_words_after_the_command_reach_functions_that_take_them_and_no_others(
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


def test_a_stage_holds_its_threads_in_place_and_other_processes_do_not(
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
