"""Which code a run came from: git's commit, whether the tree was dirty, and files at another commit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from pydantic import BaseModel, ConfigDict

# What a run itself writes into tracked files; everything else that differs makes the tree dirty.
WRITTEN_BY_RUNS = ("dvc.lock", "metrics", "results")
GIT_TIMEOUT_S = 60


class Revision(BaseModel):
    """State of the code. ``commit`` is "" outside a git repository; ``dirty`` is then unknown (None)."""

    model_config = ConfigDict(frozen=True)

    commit: str = ""
    dirty: bool | None = None


def _git(root: Path, *arguments: str) -> bytes | None:
    """Standard output of a git command, or None when it fails or git is not installed."""
    quiet = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, timeout=GIT_TIMEOUT_S, env=quiet
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def revision(root: Path) -> Revision:
    """Commit of HEAD, and whether anything but ``dvc.lock``, ``metrics/`` and ``results/`` differs from it.

    Files that are neither tracked nor ignored count as differences: a new module can be imported.
    """
    head = _git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head is None:
        return Revision()
    excluded = [f":(exclude){name}" for name in WRITTEN_BY_RUNS]
    changes = _git(root, "status", "--porcelain", "-z", "--untracked-files=normal", "--", ".", *excluded)
    return Revision(commit=head.decode().strip(), dirty=None if changes is None else bool(changes))


def resolve_commit(root: Path, name: str) -> str | None:
    """Full hash of the commit a branch, tag or hash names, or None."""
    if not name or name.startswith("-"):
        return None
    found = _git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    return found.decode().strip() if found else None


def file_at(root: Path, commit: str, path: str) -> str | None:
    """Text of a file (path relative to ``root``) at a commit, or None when it is not there."""
    found = _git(root, "show", f"{commit}:./{path}")
    return None if found is None else found.decode("utf-8", errors="replace")


def files_at(root: Path, commit: str, folder: str) -> list[str]:
    """Paths, relative to ``root``, of the files under a folder at a commit."""
    found = _git(root, "ls-tree", "-r", "-z", "--name-only", commit, "--", f"{folder}/")
    return [name for name in (found or b"").decode("utf-8", errors="replace").split("\0") if name]
