"""One stage through ``dvc repro``: how it comes out, and what is said when it fails."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from components.stage.frame import explain
from components.stage.record import StageResult
from components.stage.resources import full_disk
from components.stage.resources.full_disk import of_full_disk, why_it_ended
from flows.run.stages import COUNTED, QUIET, StageJob, Watcher, _answer, last_line, run_stage
from tests.flows.toy_workspace import PROJECT, make_workspace, settings


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("run") / "toy")


@pytest.fixture(autouse=True)
def _project_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))


def run(root: Path, name: str, run_id: str = "r", watcher: Watcher = QUIET) -> StageResult:
    return run_stage(StageJob(root, name, run_id, prefect_run="p"), watcher)


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


@pytest.mark.parametrize(
    ("told", "log", "sentence"),
    [
        ("failed to reproduce 'x': [Errno 28] No space left on device", "", "the disk is full: 'vitrine gc'"),
        ("SafetensorError: I/O error: No space left on device (os error 28)", "", "the disk is full"),
        (
            "failed to run: python -m x, exited with 1",
            "sqlite3: database or disk is full",
            "the disk is full",
        ),
        ("failed to run: python -m x, exited with 1", "[Errno 122] Disk quota exceeded", "the disk is full"),
        ("failed to run: python -m x, exited with -7", "", "the disk is full"),  # SIGBUS: a mapped file
        ("failed to run: python -m x, exited with -9", "", "killed from outside (out of memory?)"),
        ("failed to run: python -m x, exited with 137", "", "killed from outside (out of memory?)"),
        ("DVC ended with exit code 137; the log has the details.", "", "killed from outside"),
        ("failed to run: python -m x, exited with 1", "ValueError: 28", "exited with 1"),
    ],
)
def test_a_full_disk_and_a_kill_are_told_in_one_sentence_however_they_show(
    told: str, log: str, sentence: str, tmp_path: Path
) -> None:
    assert sentence in why_it_ended(told, log, tmp_path)


def test_what_fails_on_a_disk_without_room_has_failed_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_disk, "LEAST_FREE_BYTES", shutil.disk_usage(tmp_path).total)
    assert "the disk is full" in why_it_ended("the record could not be written", "", tmp_path)


def test_an_error_under_another_is_seen() -> None:
    outer = RuntimeError("failed to reproduce 'make'")
    outer.__cause__ = OSError(errno.EDQUOT, "no matter")
    assert of_full_disk(outer) and explain(outer)[0].startswith("the disk is full")
    assert not of_full_disk(RuntimeError("failed"))


def test_a_stage_that_is_killed_says_so(root: Path) -> None:
    run(root, "make")
    settings(root, factor=11, fail="killed")
    try:
        failed = run(root, "scale")
    finally:
        settings(root)
    assert failed.state == "failed" and "killed from outside (out of memory?)" in failed.error


def test_a_failure_is_told_in_dvcs_words_else(root: Path, tmp_path: Path) -> None:
    from flows.run.dvc_job import sentence

    other = RuntimeError("failed to reproduce 'x'")
    other.__cause__ = ValueError("output 'a'\n does not exist")
    assert sentence(None, {}, other) == "failed to reproduce 'x': output 'a' does not exist"  # type: ignore[arg-type]
    stage = StageJob(root, "make", "killed")
    assert "killed from outside" in _answer(stage, tmp_path / "nothing", 137)[1]
    assert "exit code 7" in _answer(stage, tmp_path / "nothing", 7)[1]


def test_last_line_is_what_a_terminal_would_show(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"first\n\r\x1b[2Ktrain: 1/3\r\x1b[2Ktrain: 2/3, 4/s")
    assert last_line(log) == last_line(log, COUNTED) == "train: 2/3, 4/s"
    log.write_bytes(
        b"> python -m x\ntrain: 1,002/3,000 steps, 4/s\nloss is 3/4\n\tdvc config core.autostage true\n"
    )
    assert last_line(log, COUNTED) == "train: 1,002/3,000 steps, 4/s"  # what DVC says is no progress
    log.write_bytes(b"")
    assert last_line(log) == ""
