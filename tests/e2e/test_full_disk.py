"""A disk that fills up under everything a run writes: stages, DVC's cache, Prefect's server, MLflow, git.

``python -m tests.e2e.test_full_disk`` prints the table of docs/reliability.md. A file system of its own is
needed, which only root may mount; elsewhere the test is skipped and says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from components.stage.resources.full_disk import DISK_FULL
from tests.flows.toy_workspace import environment, make_workspace

pytestmark = pytest.mark.slow
DISK = "size=400m"
ROOM_KB = (0, 60, 150, 300, 500, 800, 1_200, 2_000, 4_000, 40_000)  # free when a run starts
FEW_KB = (60, 500, 1_200)


class Ended(NamedTuple):
    """How a run ended: its exit code, whether it said that the disk is full, its last words, its seconds."""

    code: int
    told: bool
    words: str
    seconds: float


@contextmanager
def small_disk() -> Iterator[Path]:
    """A file system in memory, mounted for as long as it is needed.

    Raises:
        PermissionError: this user may not mount one.
    """
    folder = Path(tempfile.mkdtemp())
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        folder.rmdir()
        raise PermissionError(made.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def filled(disk: Path, room_kb: int) -> Path:
    """A file that leaves so much of the disk free."""
    ballast = disk / "ballast"
    with ballast.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, shutil.disk_usage(disk).free - room_kb * 1024)
    return ballast


def run(root: Path) -> Ended:
    """``vitrine run`` with everything it writes on the disk of ``root``."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run"],
        cwd=root, env=environment(TMPDIR=str(root)), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    words = done.stdout + done.stderr
    told = DISK_FULL.split(":")[0] in " ".join(words.split())
    last = words.strip().splitlines()[-1] if words.strip() else ""
    return Ended(done.returncode, told and "Traceback" not in words, last, time.monotonic() - start)


def tried(disk: Path, room_kb: int) -> tuple[Ended, Ended]:
    """A run with so little room, and the one after it, with room."""
    root = make_workspace(disk / f"w{room_kb}")
    ballast = filled(disk, room_kb)
    ended = run(root)
    ballast.unlink()
    again = run(root)
    shutil.rmtree(root)
    return ended, again


def test_a_full_disk_is_told_in_one_sentence_and_the_next_run_is_whole() -> None:
    try:
        with small_disk() as disk:
            for room_kb in FEW_KB:
                ended, again = tried(disk, room_kb)
                assert ended.code == 0 or ended.told, (room_kb, ended)
                assert again.code == 0, (room_kb, again)
    except PermissionError as error:
        pytest.skip(f"no file system can be mounted here: {error}")


def main() -> int:
    """Print the table."""
    print("| free at the start | exit code | says that the disk is full | s | the next run |")
    print("|---|---|---|---|---|")
    with small_disk() as disk:
        for room_kb in ROOM_KB:
            ended, again = tried(disk, room_kb)
            said = "yes" if ended.told else "–" if ended.code == 0 else f"no: {ended.words}"
            whole = "whole" if again.code == 0 else again.words
            print(f"| {room_kb:,} kB | {ended.code} | {said} | {ended.seconds:.0f} | {whole} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
