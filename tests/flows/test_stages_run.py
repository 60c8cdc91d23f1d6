"""One stage through ``dvc repro``: how it comes out, and what is said when it fails."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from components.stage.record import StageResult
from flows.run.stages import QUIET, Stage, Watcher, _answer, last_line, run_stage
from tests.flows.toy_workspace import PROJECT, make_workspace, settings


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("run") / "toy")


@pytest.fixture(autouse=True)
def _project_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))


def run(root: Path, name: str, run_id: str = "r", watcher: Watcher = QUIET) -> StageResult:
    return run_stage(Stage(root, name, run_id, prefect_run="p"), watcher)


def test_a_stage_is_run_then_unchanged_then_restored(root: Path) -> None:
    seen: list[str] = []
    ran = run(root, "make", watcher=Watcher(print, lambda stage, seconds, line: seen.append(line), print))
    assert (ran.state, ran.exit_code) == ("ran", 0)
    assert ran.peak_memory_bytes > 10e6 and ran.seconds > 0
    assert (
        ran.log == root / ".vitrine" / "logs" / "r" / "make.log" and "make: 1/2 rows" in ran.log.read_text()
    )
    assert ran.record is not None and (ran.record["parent"], ran.record["prefect_run"]) == ("r", "p")
    assert seen, "a running stage is followed"
    assert run(root, "make").state == "unchanged"
    shutil.rmtree(root / "out")
    restored = run(root, "make")
    assert restored.state == "restored" and restored.record is None
    assert (root / "out" / "make.json").read_text() == "[1, 2, 3, 4, 5]"


def test_a_failed_gate_keeps_its_exit_code_and_sentence(root: Path) -> None:
    run(root, "make")
    settings(root, factor=9, fail="gate")
    try:
        failed = run(root, "scale")
    finally:
        settings(root)
    assert (failed.state, failed.exit_code) == ("failed", 3)
    assert failed.error == "too many bad rows in out/make.json; look at the quarantine."
    assert failed.record is not None


def test_a_failure_before_the_stage_command_is_explained_by_dvcs_output(root: Path) -> None:
    shutil.rmtree(root / "out", ignore_errors=True)
    failed = run(root, "scale")
    assert (failed.state, failed.exit_code, failed.record) == ("failed", 1, None)
    assert "out/make.json is missing" in failed.error


def test_a_full_disk_and_a_killed_process_are_told_in_a_sentence(root: Path, tmp_path: Path) -> None:
    from flows.run.dvc_job import sentence

    full = RuntimeError("failed to reproduce 'make'")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert "the disk is full" in sentence(None, {}, full)  # type: ignore[arg-type]
    other = RuntimeError("failed to reproduce 'x'")
    other.__cause__ = ValueError("output 'a'\n does not exist")
    assert sentence(None, {}, other) == "failed to reproduce 'x': output 'a' does not exist"  # type: ignore[arg-type]
    stage = Stage(root, "make", "killed")
    assert "killed from outside" in _answer(stage, tmp_path / "nothing", 137)[1]
    assert "exit code 7" in _answer(stage, tmp_path / "nothing", 7)[1]


def test_last_line_is_what_a_terminal_would_show(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"first\n\r\x1b[2Ktrain: 1/3\r\x1b[2Ktrain: 2/3, 4/s")
    assert last_line(log) == "train: 2/3, 4/s"
    log.write_bytes(b"")
    assert last_line(log) == ""
