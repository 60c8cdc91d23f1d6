"""Locks of a workspace: one run at a time, one process per stage, whom DVC waits for, and repairing what a
killed DVC left.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml
from filelock import FileLock, Timeout

from components.stage.publish import write_text
from flows.errors import LockHeldError, WorkspaceError

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

    Raises:
        LockHeldError: another process has held it for all of ``timeout_s`` seconds.
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


def _alive(info: dict[str, Any]) -> bool:
    """Whether the process of a rwlock entry still runs DVC; a process id may have been given to another."""
    try:
        line = " ".join(psutil.Process(int(info["pid"])).cmdline())
    except psutil.AccessDenied:
        return True
    except (psutil.Error, KeyError, ValueError):
        return False
    return "dvc" in line or "vitrine" in line or "flows" in line or "pytest" in line


def _living(lock: dict[str, Any]) -> dict[str, Any]:
    """A rwlock without the entries of dead processes."""
    write = {path: info for path, info in lock.get("write", {}).items() if info and _alive(info)}
    read = {path: [i for i in infos if _alive(i)] for path, infos in lock.get("read", {}).items()}
    return {"write": write, "read": {path: infos for path, infos in read.items() if infos}}


def clear_dead_locks(root: Path) -> bool:
    """Remove from DVC's ``rwlock`` what processes that are gone have left; True when something was removed.

    DVC skips entries of dead processes by itself, but it stops at a file that was cut short by a kill, and it
    takes a new process with an old one's id for the old one.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.exists():
        return False
    with _free(path.parent / "rwlock.lock") as free:
        if not free:
            return False  # a living DVC is writing it right now
        try:
            lock = json.loads(path.read_text(encoding="utf-8"))
            living = _living(lock)
        except (ValueError, AttributeError, TypeError):
            lock, living = None, {"write": {}, "read": {}}
        if living == lock:
            return False
        path.write_text(json.dumps(living), encoding="utf-8")
        return lock is None or bool(lock.get("write") or lock.get("read"))


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


LOCK_FILES = {"dvc.lock": "dvc.lock.copy", "studies/dvc.lock": "studies.lock.copy"}


def guard_lock_file(root: Path) -> bool:
    """Keep a copy of a sound dvc.lock, or repair one that a kill cut short; True when one was repaired.

    DVC rewrites dvc.lock in place, so a SIGKILL at that moment leaves half a file. Without a copy the half is
    put aside: DVC's run cache then gives the results back without running anything. While another DVC is
    at work nothing is looked at: half a file is then one that is just being written.

    Raises:
        WorkspaceError: dvc.lock holds a merge conflict, which only a person can resolve.
    """
    with dvc_stands_still(root) as still:
        there = [(root / name, root / ".vitrine" / copy) for name, copy in LOCK_FILES.items()]
        repaired = [_repair(path, copy) for path, copy in there if path.exists()] if still else []
        return any(repaired)


def _repair(path: Path, copy: Path) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    copy.parent.mkdir(parents=True, exist_ok=True)
    if _is_sound(text):
        write_text(copy, text)
        return False
    if "<<<<<<<" in text:
        raise WorkspaceError(f"{path} holds a merge conflict: take either side, then run again.")
    path.replace(copy.with_suffix(".broken"))
    if copy.exists() and _is_sound(kept := copy.read_text(encoding="utf-8")):
        write_text(path, kept)
    return True


def _is_sound(text: str) -> bool:
    """Whether the text of a dvc.lock can be read, and every stage in it has its command."""
    try:
        loaded = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        whole = text.endswith("\n")  # DVC ends the file with one
        return (
            whole
            and "schema" in loaded
            and all("cmd" in entry for entry in loaded.get("stages", {}).values())
        )
    except (yaml.YAMLError, TypeError, AttributeError):
        return False
