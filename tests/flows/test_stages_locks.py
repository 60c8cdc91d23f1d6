"""Locks: waiting, timing out, and repairing what a killed process left behind."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.stage.errors import ConfigurationError
from components.tracking.lineage.repair import clear_dead_locks, guard_lock_file
from flows.errors import LockHeldError
from flows.run.locks import held
from flows.run.stages import StageJob, run_stage
from tests.flows.toy_workspace import PROJECT, make_workspace

LOCK = yaml.safe_dump(
    {
        "schema": "2.0",
        "stages": {
            f"s{i}": {"cmd": f"run {i}", "outs": [{"path": f"o{i}", "md5": "0" * 32}]} for i in range(4)
        },
    }
)


def test_held_lock_times_out_with_the_holder_named(tmp_path: Path) -> None:
    said: list[str] = []
    with held(tmp_path / "lock", "Workspace x", 0.0, said.append):
        second = held(tmp_path / "lock", "Workspace x", 0.4, said.append)
        with pytest.raises(LockHeldError, match=f"Workspace x is in use by process {os.getpid()}"), second:
            raise AssertionError("two holders")
        assert len(said) == 1
    with held(tmp_path / "lock", "Workspace x", 0.0, said.append):
        pass


def test_held_lock_is_waited_out(tmp_path: Path) -> None:
    release = threading.Event()
    said: list[str] = []

    def hold() -> None:
        with held(tmp_path / "lock", "w", 0.0, said.append):
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    while not (tmp_path / "lock").exists() or not (tmp_path / "lock").read_text():
        pass
    threading.Timer(0.5, release.set).start()
    with held(tmp_path / "lock", "w", 10.0, said.append):
        assert release.is_set()
    holder.join()
    assert "waiting up to 10 s" in said[0]


def dead_process() -> int:
    """Id of a process that has just ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def rwlock(root: Path, content: object) -> Path:
    path = root / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_entries_of_dead_processes_go_and_living_ones_stay(tmp_path: Path) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)  # dvc repro"])
    try:
        dead, alive = {"pid": dead_process(), "cmd": "dvc repro"}, {"pid": sleeper.pid, "cmd": "dvc repro"}
        path = rwlock(
            tmp_path, {"write": {"/a": dead, "/b": alive}, "read": {"/c": [dead, alive], "/d": [dead]}}
        )
        assert clear_dead_locks(tmp_path)
        assert json.loads(path.read_text()) == {"write": {"/b": alive}, "read": {"/c": [alive]}}
        assert not clear_dead_locks(tmp_path)
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_process_that_only_has_the_old_id_is_no_holder(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        path = rwlock(tmp_path, {"write": {"/a": {"pid": sleeper.pid, "cmd": "dvc repro"}}, "read": {}})
        assert clear_dead_locks(tmp_path)
        assert json.loads(path.read_text()) == {"write": {}, "read": {}}
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize("content", ["", '{"write": {"/a": {"pid"', "[1]", '{"write": {"/a": 3}}'])
def test_a_truncated_rwlock_is_repaired_so_that_dvc_can_go_on(tmp_path: Path, content: str) -> None:
    path = rwlock(tmp_path, content)
    assert clear_dead_locks(tmp_path)
    assert json.loads(path.read_text()) == {"write": {}, "read": {}}


def test_a_rwlock_being_written_is_left_alone(tmp_path: Path) -> None:
    path = rwlock(tmp_path, "")
    with (path.parent / "rwlock.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        assert not clear_dead_locks(tmp_path)
    assert path.read_text() == ""


@hypothesis.settings(deadline=None, max_examples=50)
@given(cut=st.integers(0, len(LOCK)))
@hypothesis.example(cut=LOCK.index("stages:\n") + len("stages:\n"))
def test_a_truncated_dvc_lock_is_restored_or_keeps_its_whole_entries(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    root = tmp_path_factory.mktemp("cut")
    path = root / "dvc.lock"
    path.write_text(LOCK)
    assert not guard_lock_file(root)
    path.write_text(LOCK[:cut])
    repaired = guard_lock_file(root)
    whole, now = yaml.safe_load(LOCK), yaml.safe_load(path.read_text())
    if repaired:
        assert now == whole
    else:  # cut at the end of a line: DVC can read it, and asks its run cache for what is lost
        assert now["schema"] == "2.0"
        assert all(
            entry["cmd"] == whole["stages"][name]["cmd"] for name, entry in now.get("stages", {}).items()
        )


def test_a_broken_dvc_lock_without_a_copy_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(LOCK[:-20])
    assert guard_lock_file(tmp_path) and not (tmp_path / "dvc.lock").exists()
    assert not guard_lock_file(tmp_path)


def test_a_merge_conflict_in_dvc_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("<<<<<<< HEAD\n" + LOCK)
    with pytest.raises(ConfigurationError, match="merge conflict") as caught:
        guard_lock_file(tmp_path)
    assert caught.value.exit_code == 2


@pytest.mark.slow
def test_dvcs_own_lock_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC gives up after 3 s; the runner tries until its timeout."""
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    root = make_workspace(tmp_path / "toy")
    lock = root / ".dvc" / "tmp" / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(LockHeldError, match="Another DVC process kept its lock"):
            run_stage(StageJob(root, "note", "r1", lock_timeout_s=0.0))
        threading.Timer(5.0, fcntl.flock, (handle, fcntl.LOCK_UN)).start()
        assert run_stage(StageJob(root, "note", "r2", lock_timeout_s=60.0)).state == "ran"
