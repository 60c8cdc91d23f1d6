"""Locks: a run per workspace, a process per stage; and repair of what a kill left, told to people."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from components.tracking.lineage.repair import clear_dead_locks, guard_lock_file
from flows.errors import LockHeldError

POLL_S = 0.25
Say = Callable[[str], None]


@contextmanager
def held(path: Path, what: str, timeout_s: float, say: Say) -> Iterator[int]:
    """Hold an exclusive lock on ``path`` and yield its file descriptor; the kernel frees it when we die.

    Raises LockHeldError: another process has held it for all of ``timeout_s`` seconds.
    """
    handles: list[int] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(  # ``flock``, as DVC takes; the file stays
        path, timeout_s, thread_local=False, preserve_lock_file=True, on_acquired=handles.append
    )
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if timeout_s:
            say(f"{what} is in use by {_holder(path)}; waiting up to {timeout_s:g} s")
        try:
            lock.acquire(poll_interval=POLL_S)
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
