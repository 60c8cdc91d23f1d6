"""Outputs that appear whole or not at all, and what a killed process leaves behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.stage.files.publish import published, write_text

KILLED = """
import os, signal, sys
from pathlib import Path
from components.stage.files.publish import published
with published(Path(sys.argv[1])) as folder:
    folder.mkdir()
    (folder / "part").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def litter(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.tmp"))


def test_temporary_files_of_a_killed_process_are_removed_at_the_next_write(tmp_path: Path) -> None:
    target = tmp_path / "catalog"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(target)], check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == -signal.SIGKILL and len(litter(tmp_path)) == 1 and not target.exists()
    write_text(tmp_path / "other", "another target's is none of its business")
    assert len(litter(tmp_path)) == 1
    with published(target) as folder:
        folder.mkdir()
        assert litter(tmp_path) == [folder]
    assert target.is_dir() and not litter(tmp_path)


def test_temporary_files_of_a_running_process_stay(tmp_path: Path) -> None:
    target = tmp_path / "catalog"
    with published(target) as first:
        first.write_text("first")
        with published(target) as second:
            second.write_text("second")
            assert first.exists()
        assert target.read_text() == "second"
    assert target.read_text() == "first" and not litter(tmp_path)


def test_foreign_names_are_left_alone(tmp_path: Path) -> None:
    names = [".catalog.mine.tmp", ".catalog.00000000-1-abc.tmp", ".catalog.tmp"]
    for name in names:
        (tmp_path / name).touch()
    write_text(tmp_path / "catalog", "text")
    assert sorted(names) == [path.name for path in litter(tmp_path)]


def test_a_failure_leaves_the_old_contents(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError), published(tmp_path / "a") as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "old" and not litter(tmp_path)
