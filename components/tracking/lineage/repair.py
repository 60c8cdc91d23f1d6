"""What a killed DVC leaves in its files: half a dvc.lock, and locks of processes that are gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil

from components.stage.errors import ConfigurationError
from components.stage.publish import write_text
from components.stage.record import STATE
from components.tracking.errors import LockFileError
from components.tracking.lineage.lockfile import parse_lock

COPIES = {"dvc.lock": "dvc.lock.copy", "studies/dvc.lock": "studies.lock.copy"}


def repair_lock_files(root: Path) -> bool:
    """Keep a copy of each sound dvc.lock, or repair one that a kill cut short; True when one was repaired.

    DVC rewrites dvc.lock in place, so a SIGKILL at that moment leaves half a file. Without a copy the half is
    put aside: DVC's run cache then gives the results back without running anything. Call it while no DVC is
    at work: half a file may be one that is just being written.

    Raises:
        ConfigurationError: dvc.lock holds a merge conflict, which only a person can resolve.
    """
    there = [(root / name, root / STATE / copy) for name, copy in COPIES.items() if (root / name).exists()]
    repaired = [_repair(path, copy) for path, copy in there]
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
    if not (text.startswith("schema:") and text.endswith("\n")):
        return False
    try:
        return all(entry.cmd for entry in parse_lock(text).values())
    except LockFileError:
        return False


def clear_rwlock(path: Path) -> bool:
    """Remove from DVC's ``rwlock`` what processes that are gone have left; True when something was removed.

    DVC skips entries of dead processes by itself, but it stops at a file that was cut short by a kill, and it
    takes a new process with an old one's id for the old one. Call it while nobody writes the file.
    """
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
        living = _living(lock)
    except (ValueError, AttributeError, TypeError):
        lock, living = None, {"write": {}, "read": {}}
    if living == lock:
        return False
    path.write_text(json.dumps(living), encoding="utf-8")
    return lock is None or bool(lock.get("write") or lock.get("read"))


def _living(lock: dict[str, Any]) -> dict[str, Any]:
    """A rwlock without the entries of dead processes."""
    write = {path: info for path, info in lock.get("write", {}).items() if info and _alive(info)}
    read = {path: [i for i in infos if _alive(i)] for path, infos in lock.get("read", {}).items()}
    return {"write": write, "read": {path: infos for path, infos in read.items() if infos}}


def _alive(info: dict[str, Any]) -> bool:
    """Whether the process of a rwlock entry still runs DVC; a process id may have been given to another."""
    try:
        line = " ".join(psutil.Process(int(info["pid"])).cmdline())
    except psutil.AccessDenied:
        return True
    except (psutil.Error, KeyError, ValueError):
        return False
    return "dvc" in line or "vitrine" in line or "flows" in line or "pytest" in line
