"""Find the workspace and ask git about it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from components.tracking.lineage.repair import clear_index_lock
from flows.errors import WorkspaceError

# What we do in git is the machinery's own: no hook of the user's (DVC's checks data out), and no
# signature, whose key may be missing or wait for a passphrase.
OURS = ("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgsign=false")
# What ends or changes a path in the address of an SQLite file, and bytes that are no text
UNFIT = re.compile(r"[?#%\x00-\x1f\x7f\ud800-\udfff]")


def git(root: Path, *arguments: str, check: bool = True, env: Mapping[str, str] | None = None) -> str:
    """Output of one git command in ``root``, with ``env`` laid on our environment.

    Raises WorkspaceError: git is not installed, or the command failed and ``check`` is set.
    """
    done = _called(root, arguments, env)
    if done.returncode and "index.lock" in done.stderr:
        lock = root / _called(root, ("rev-parse", "--git-path", "index.lock"), None).stdout.strip()
        if clear_index_lock(root, lock):
            done = _called(root, arguments, env)
    if check and done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())
        raise WorkspaceError(f"git {' '.join(arguments[:2])} failed in {root}: {reason}.")
    return done.stdout


def _called(
    root: Path, arguments: tuple[str, ...], env: Mapping[str, str] | None
) -> subprocess.CompletedProcess[str]:
    command, ours = ["git", *OURS, *arguments], {**os.environ, **(env or {})}
    try:
        return subprocess.run(command, cwd=root, env=ours, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise WorkspaceError(
            f"git is not installed, or {root} does not exist; Vitrine keeps code and dvc.lock in git."
        ) from None


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
    if wrong := UNFIT.search(str(root)):
        raise WorkspaceError(
            f"The path of the workspace {root} has {wrong[0]!r} in it, which the addresses of databases and "
            "of MLflow's artifacts cannot hold; move it to a path without."
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
