"""Locks of a workspace: one run at a time, one process per stage, whom DVC waits for, and mending what a
killed DVC left.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from components.stage.publish import write_text
from flows.errors import LockHeldError, WorkspaceError

POLL_S = 0.25
Say = Callable[[str], None]


def _holder(handle: int) -> str:
    """What the process that holds a lock wrote into it."""
    return os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "unknown"


@contextmanager
def held(path: Path, what: str, timeout_s: float, say: Say) -> Iterator[int]:
    """Hold an exclusive lock on ``path`` and yield its file descriptor; the kernel frees it when we die.

    Raises:
        LockHeldError: another process has held it for all of ``timeout_s`` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _wait(handle, what, timeout_s, say)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()}\n".encode(), 0)
        yield handle
    finally:
        os.close(handle)


def _wait(handle: int, what: str, timeout_s: float, say: Say) -> None:
    """Poll for the lock; tell once that we are waiting, and for whom."""
    deadline, told = time.monotonic() + timeout_s, False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LockHeldError(
                    f"{what} is in use by {_holder(handle)} and was not freed within {timeout_s:g} s; "
                    "wait for that run to end, or stop it, and run again."
                ) from None
        if not told:
            say(f"{what} is in use by {_holder(handle)}; waiting up to {timeout_s:g} s")
            told = True
        time.sleep(POLL_S)


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
    with (path.parent / "rwlock.lock").open("a") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
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
def dvc_stands_still(root: Path) -> Iterator[bool]:
    """Hold DVC's own lock; yields False, holding nothing, while a living DVC has it."""
    path = root / ".dvc" / "tmp" / "lock"  # dvc/lock.py
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


LOCK_FILES = {"dvc.lock": "dvc.lock.copy", "studies/dvc.lock": "studies.lock.copy"}


def guard_lock_file(root: Path) -> bool:
    """Keep a copy of a sound dvc.lock, or mend one that a kill cut short; True when one was mended.

    DVC rewrites dvc.lock in place, so a SIGKILL at that moment leaves half a file. Without a copy the half is
    put aside: DVC's run cache then gives the results back without running anything. While another DVC is
    at work nothing is looked at: half a file is then one that is just being written.

    Raises:
        WorkspaceError: dvc.lock holds a merge conflict, which only a person can resolve.
    """
    with dvc_stands_still(root) as still:
        there = [(root / name, root / ".vitrine" / copy) for name, copy in LOCK_FILES.items()]
        mended = [_mend(path, copy) for path, copy in there if path.exists()] if still else []
        return any(mended)


def _mend(path: Path, copy: Path) -> bool:
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
