"""Locks: a run per workspace, a process per stage, whom DVC waits for; repair of what a kill left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from components.tracking.lineage.repair import clear_rwlock, repair_lock_files
from flows.errors import LockHeldError

POLL_S = 0.25
Say = Callable[[str], None]


def _file_lock(path: Path, timeout_s: float, got: Callable[[int], None] | None = None) -> FileLock:
    """The lock on a file, which stays (``flock``, as DVC takes); ``got`` is told its descriptor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(
        path, timeout_s, poll_interval=POLL_S, preserve_lock_file=True, on_acquired=got, thread_local=False
    )


@contextmanager
def held(path: Path, what: str, timeout_s: float, say: Say) -> Iterator[int]:
    """Hold an exclusive lock on ``path`` and yield its file descriptor; the kernel frees it when we die.

    Raises LockHeldError: another process has held it for all of ``timeout_s`` seconds.
    """
    handles: list[int] = []
    lock = _file_lock(path, timeout_s, handles.append)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if timeout_s:
            say(f"{what} is in use by {_holder(path)}; waiting up to {timeout_s:g} s")
        try:
            lock.acquire()
        except Timeout:
            raise LockHeldError(
                f"{what} is in use by {_holder(path)} and was not freed within {timeout_s:g} s; "
                "wait for that run to end, or stop it, and run again."
            ) from None
    try:
        os.ftruncate(handles[0], 0)
        os.pwrite(handles[0], f"process {os.getpid()}\n".encode(), 0)
        yield handles[0]
    finally:
        lock.release()


def _holder(path: Path) -> str:
    """What the process that holds a lock wrote into it."""
    return path.read_text(encoding="utf-8", errors="replace")[:200].strip() or "unknown"


def mend(root: Path, say: Say) -> None:
    """Clear and repair what a killed DVC left, and say so; raises as :func:`guard_lock_file`."""
    if clear_dead_locks(root):
        say("removed DVC's locks of a process that is gone")
    if guard_lock_file(root):
        say("repaired dvc.lock, which a killed run had cut short")


def clear_dead_locks(root: Path) -> bool:
    """Remove from DVC's ``rwlock`` what dead processes have left, unless a living DVC is writing it."""
    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.exists():
        return False
    with _free(path.parent / "rwlock.lock") as free:
        return free and clear_rwlock(path)


@contextmanager
def _free(path: Path) -> Iterator[bool]:
    """Hold a lock that nobody else has; yields False, holding nothing, where somebody has it."""
    lock = _file_lock(path, 0.0)
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
    return _free(root / ".dvc" / "tmp" / "lock")


def guard_lock_file(root: Path) -> bool:
    """Keep a copy of a sound dvc.lock, or repair one that a kill cut short, unless DVC is at work.

    Returns whether one was repaired; raises as :func:`repair_lock_files`.
    """
    with dvc_stands_still(root) as still:
        return still and repair_lock_files(root)
