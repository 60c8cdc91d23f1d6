"""What a killed DVC or git leaves in its files: half a dvc.lock, and locks of processes that are gone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from components.stage.errors import ConfigurationError
from components.stage.files.publish import write_text
from components.stage.record import STATE
from components.tracking.errors import LockFileError
from components.tracking.lineage.lockfile import parse_lock

YOUNG_LOCK_S = 10.0  # a younger lock may be of somebody whom we cannot see: another container or host
COPIES = {"dvc.lock": "dvc.lock.copy", "studies/dvc.lock": "studies.lock.copy"}


def clear_dead_locks(root: Path) -> bool:
    """Remove from DVC's ``rwlock`` what dead processes have left, unless a living DVC is writing it.

    DVC skips entries of dead processes by itself, but it stops at a file that was cut short by a kill, and it
    takes a new process with an old one's id for the old one.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.exists():
        return False
    with held(path.parent / "rwlock.lock") as free:
        return free and _without_dead(path)


@contextmanager
def held(path: Path, wait_s: float = 0.0) -> Iterator[bool]:
    """Hold a lock; yields False, holding nothing, where somebody else keeps it for ``wait_s`` seconds.

    The kernel frees the lock of a killed process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, wait_s, preserve_lock_file=True, thread_local=False)  # flock, as DVC takes
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def dvc_stands_still(root: Path) -> AbstractContextManager[bool]:
    """Hold, if it is free, the lock that DVC takes to read or write the workspace (dvc/lock.py)."""
    return held(root / ".dvc" / "tmp" / "lock")


def guard_lock_file(root: Path) -> bool:
    """Keep a copy of each sound dvc.lock, or repair one that a kill cut short; True when one was repaired.

    DVC rewrites dvc.lock in place, so a SIGKILL at that moment leaves half a file. Without a copy the half is
    put aside: DVC's run cache then gives the results back without running anything. While a DVC is at work
    nothing is done: half a file may be one that is just being written.

    Raises ConfigurationError: dvc.lock holds a merge conflict, which only a person can resolve.
    """
    with dvc_stands_still(root) as still:
        there = {root / name: root / STATE / copy for name, copy in COPIES.items() if (root / name).exists()}
        repaired = [_repair(path, copy) for path, copy in there.items() if still]
    return any(repaired)


def _repair(path: Path, copy: Path) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    copy.parent.mkdir(parents=True, exist_ok=True)
    if _is_sound(text):
        write_text(copy, text)
        return False
    if "<<<<<<<" in text:
        raise ConfigurationError(f"{path} holds a merge conflict: take either side, then run again.")
    path.replace(copy.with_suffix(".broken"))
    if copy.exists() and _is_sound(kept := copy.read_text(encoding="utf-8")):
        write_text(path, kept)
    return True


def _is_sound(text: str) -> bool:
    """Whether the text of a dvc.lock begins and ends as DVC writes it, and every stage in it can be read."""
    if not (text.startswith("schema:") and text.endswith("\n")) or text.endswith("stages:\n"):
        return False  # also cut right before the first stage
    try:
        return all(entry.cmd for entry in parse_lock(text).values())
    except LockFileError:
        return False


def _without_dead(path: Path) -> bool:
    """Rewrite a rwlock that nobody writes, without dead processes; whether something was removed."""
    living: dict[str, Any] = {"write": {}, "read": {}}
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
        write = {place: info for place, info in lock.get("write", {}).items() if info and _alive(info)}
        read = {place: [i for i in infos if _alive(i)] for place, infos in lock.get("read", {}).items()}
        living = {"write": write, "read": {place: infos for place, infos in read.items() if infos}}
        held_before = bool(lock.get("write") or lock.get("read"))
    except (ValueError, AttributeError, TypeError):
        lock, held_before = None, True
    if living == lock:
        return False
    path.write_text(json.dumps(living), encoding="utf-8")
    return held_before


def _alive(info: dict[str, Any]) -> bool:
    """Whether the process of a rwlock entry still runs DVC; a process id may have been given to another."""
    try:
        line = " ".join(psutil.Process(int(info["pid"])).cmdline())
    except psutil.AccessDenied:
        return True
    except (psutil.Error, KeyError, ValueError):
        return False
    return any(name in line for name in ("dvc", "vitrine", "flows", "pytest"))


def clear_index_lock(root: Path, lock: Path) -> bool:
    """Remove the lock of a git that was killed while it wrote the index; False if somebody may still write.

    Git never removes it by itself. Only Linux lets one see who has it open, or who works below ``root``;
    elsewhere, and while the lock is young, the user gets git's own message, which names the file.
    """
    try:
        if time.time() - lock.stat().st_mtime < YOUNG_LOCK_S or not Path("/proc/self/fd").exists():
            return False
    except FileNotFoundError:  # its owner has just ended
        return True
    if any(_may_write(process, root.resolve(), lock.resolve()) for process in Path("/proc").glob("[0-9]*")):
        return False
    lock.unlink(missing_ok=True)
    return True


def _may_write(process: Path, root: Path, lock: Path) -> bool:
    """Whether a process, as a folder of /proc, has the lock open or is a git that works below ``root``."""
    with suppress(OSError):  # it has ended, or is somebody else's
        if (process / "comm").read_text() == "git\n" and (process / "cwd").resolve().is_relative_to(root):
            return True
        return any(file.resolve() == lock for file in (process / "fd").iterdir())
    return False
