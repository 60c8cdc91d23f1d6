"""Find the workspace and ask git about it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from flows.errors import WorkspaceError

YOUNG_LOCK_S = (
    10.0  # a younger lock may be of somebody whom we cannot see: another program, container or host
)


def git(root: Path, *arguments: str, check: bool = True, env: Mapping[str, str] | None = None) -> str:
    """Output of one git command in ``root``, with ``env`` laid on our environment.

    Raises WorkspaceError: git is not installed, or the command failed and ``check`` is set.
    """
    done = _called(root, arguments, env)
    if done.returncode and "index.lock" in done.stderr and _stale_lock_removed(root):
        done = _called(root, arguments, env)
    if check and done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())
        raise WorkspaceError(f"git {' '.join(arguments[:2])} failed in {root}: {reason}.")
    return done.stdout


def _called(
    root: Path, arguments: tuple[str, ...], env: Mapping[str, str] | None
) -> subprocess.CompletedProcess[str]:
    command, ours = ["git", *arguments], {**os.environ, **(env or {})}
    try:
        return subprocess.run(command, cwd=root, env=ours, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise WorkspaceError(
            f"git is not installed, or {root} does not exist; Vitrine keeps code and dvc.lock in git."
        ) from None


def _stale_lock_removed(root: Path) -> bool:
    """Remove the lock of a git that was killed while it wrote the index; False if somebody may still write.

    Git never removes it by itself. Only Linux lets one see who has it open, or who works there; elsewhere,
    and while the lock is young, the user gets git's own message, which names the file.
    """
    lock = root / _called(root, ("rev-parse", "--git-path", "index.lock"), None).stdout.strip()
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


def snapshot(root: Path, more: Iterable[str] = ()) -> str:
    """Git's tree of the working tree as it is: the tracked files, and ``more``; the user's index stays.

    Raises WorkspaceError: one of ``more`` is not there, or git ignores it.
    """
    index = root / git(root, "rev-parse", "--git-path", "index").strip()
    with tempfile.TemporaryDirectory() as folder:
        # copy2: by the time of its index git tells which files may have changed unseen since
        ours = {"GIT_INDEX_FILE": str(shutil.copy2(index, folder))}
        git(root, "add", "--update", ":/", env=ours)
        if names := sorted(more):
            git(root, "add", "--", *names, env=ours)
        return git(root, "write-tree", env=ours).strip()


def find_workspace(start: Path) -> Path:
    """The root of the workspace that holds ``start``: the nearest folder upwards with a dvc.yaml.

    Raises WorkspaceError: no dvc.yaml, no git repository, or no initialised DVC; says which and what to do.
    """
    start = start.resolve()
    root = next((folder for folder in (start, *start.parents) if (folder / "dvc.yaml").is_file()), None)
    if root is None:
        raise WorkspaceError(
            f"{start} lies in no Vitrine workspace (no dvc.yaml upwards); change to its root."
        )
    if not git(root, "rev-parse", "--is-inside-work-tree", check=False).strip():
        raise WorkspaceError(
            f"{root} is no git repository; clone Vitrine with git, or run 'git init' and commit."
        )
    if not (root / ".dvc").is_dir():
        raise WorkspaceError(f"{root} is no DVC workspace (no .dvc folder); run 'dvc init' there.")
    return root


def head_commit(root: Path) -> str:
    """The commit of HEAD; WorkspaceError: the repository has none yet."""
    commit = git(root, "rev-parse", "--verify", "--quiet", "HEAD", check=False).strip()
    if not commit:
        raise WorkspaceError(f"The git repository {root} has no commit yet; commit the project first.")
    return commit
