"""Find the workspace and ask git about it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from flows.errors import WorkspaceError


def git(root: Path, *arguments: str, check: bool = True) -> str:
    """Output of one git command in ``root``.

    Raises:
        WorkspaceError: git is not installed, or the command failed and ``check`` is set.
    """
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise WorkspaceError(
            "git is not installed; Vitrine keeps code, parameters and dvc.lock in git."
        ) from None
    if check and done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())
        raise WorkspaceError(f"git {' '.join(arguments[:2])} failed in {root}: {reason}.")
    return done.stdout


def find_workspace(start: Path) -> Path:
    """The root of the workspace that holds ``start``: the nearest folder upwards with a dvc.yaml.

    Raises:
        WorkspaceError: no dvc.yaml, no git repository, or no initialised DVC; says which and what to do.
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
    """The commit of HEAD.

    Raises:
        WorkspaceError: the repository has no commit yet.
    """
    commit = git(root, "rev-parse", "--verify", "--quiet", "HEAD", check=False).strip()
    if not commit:
        raise WorkspaceError(f"The git repository {root} has no commit yet; commit the project first.")
    return commit


def is_dirty(root: Path) -> bool:
    """Whether tracked files differ from HEAD; what a run writes (dvc.lock, metrics, results) is no dirt."""
    outputs = (":!dvc.lock", ":!metrics", ":!results")
    return bool(git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *outputs).strip())


def blobs(root: Path, ids: Iterable[str]) -> Iterator[bytes]:
    """Contents of git's objects with these ids, in their order.

    Raises:
        WorkspaceError: git could not read them.
    """
    asked = "".join(f"{one}\n" for one in ids).encode()
    done = subprocess.run(
        ["git", "cat-file", "--batch"], cwd=root, input=asked, capture_output=True, check=False
    )
    if done.returncode:
        raise WorkspaceError(
            f"git cat-file failed in {root}: {done.stderr.decode(errors='replace').strip()}."
        )
    rest = done.stdout
    while rest:
        head, _, rest = rest.partition(b"\n")  # "<id> blob <size>"
        if head.endswith(b" missing"):
            raise WorkspaceError(f"git lacks an object of {root}: {head.decode()}; run 'git fsck' there.")
        size = int(head.split()[2])
        yield rest[:size]
        rest = rest[size + 1 :]
