"""``vitrine gc`` names what is old, and never what a run may still go on from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.garbage import old_overrides, old_state, worktrees

NOW, DAY = 1_700_000_000.0, 86_400.0


def put(path: Path, days_old: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    os.utime(path, (NOW - days_old * DAY,) * 2)
    os.utime(path.parent, (NOW - 30 * DAY,) * 2)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with state of today and of a month ago, and three worktrees."""
    state = tmp_path / ".vitrine"
    put(state / "logs/old.log", 30)
    put(state / "logs/new.log", 1)
    put(state / "resume/encoder/old-key/state.pt", 30)
    put(state / "resume/encoder/new-key/settings.json", 30)
    put(state / "resume/encoder/new-key/state.pt", 1)
    put(state / "records/encoder/run.json", 30)
    put(state / "cache/vectors.sqlite", 1)
    for name, age in (("fashion", 30.0), ("set-1234", 30.0), ("fashion-set-99", 1.0)):
        put(state / "work" / name / ".git", 30)
        put(state / "work" / name / "dvc.lock", age)
    put(state / "work/set-1234/.vitrine/logs/old.log", 30)
    (state / "work/no-worktree").mkdir()
    return tmp_path


def names(root: Path, paths: list[Path]) -> list[str]:
    return sorted(str(path.relative_to(root / ".vitrine")) for path in paths)


def test_old_logs_and_dead_resume_state_go_and_a_run_under_way_keeps_its_own(root: Path) -> None:
    found = names(root, list(old_state(root, NOW - 7 * DAY, memo=False)))
    assert found == ["logs/old.log", "resume/encoder/old-key", "work/set-1234/.vitrine/logs/old.log"]


def test_memos_go_only_when_asked_for_and_records_never(root: Path) -> None:
    with_memo = names(root, list(old_state(root, NOW - 7 * DAY, memo=True)))
    assert "cache/vectors.sqlite" in with_memo
    assert not any(name.startswith("records") for name in with_memo)


def test_only_worktrees_of_overrides_that_nobody_runs_are_old(root: Path) -> None:
    assert [work.name for work in worktrees(root)] == ["fashion", "fashion-set-99", "set-1234"]
    assert [work.name for work in old_overrides(root, NOW - 7 * DAY)] == ["set-1234"]
