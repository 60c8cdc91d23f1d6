"""Profiles: the same graph with other parameters and data, in a git worktree of its own.

``.vitrine/work/X`` is a worktree on branch ``profile/X``. Code comes from the main working tree as it is,
also uncommitted; parameters from ``params.yaml`` with ``conf/X.yaml`` laid on it; results and sources are
the worktree's own; DVC's cache, our caches and MLflow's store are shared. So the main workspace stays as it
was, and two profiles never mix.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from components.parameters.profiles import overrides_name, profile_names
from components.stage.publish import remove, write_text
from components.stage.record import STATE
from flows import processes
from flows.errors import SelectionError, WorkspaceError
from flows.workspace import git, head_commit, is_dirty, snapshot

# The worktree's own: never overwritten from the main workspace.
OWN = (":!dvc.lock", ":!params.yaml", ":!metrics", ":!results", ":!data/source")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def work_name(profile: str | None, overrides: Sequence[str]) -> str | None:
    """Name of the worktree a run needs; None where the main workspace itself will do."""
    if not overrides:
        return profile
    return "-".join(filter(None, [profile, overrides_name(overrides)]))


def checked_name(name: str) -> str:
    """The name of a profile or override, which becomes a folder, a branch and a lock file.

    Raises:
        SelectionError: the name is no good file name.
    """
    if NAME.fullmatch(name) is None:
        raise SelectionError(f"{name!r} is no profile name; use letters, digits, '.', '_' and '-'.")
    return name


def worktrees_folder(root: Path) -> Path:
    """The folder of all worktrees."""
    return root / STATE / "work"


def worktree_path(root: Path, name: str) -> Path:
    """Where the worktree of a profile lies.

    Raises:
        SelectionError: the name is no good file name.
    """
    return worktrees_folder(root) / checked_name(name)


def run_lock(root: Path, name: str | None) -> Path:
    """The lock of whoever works in a profile's worktree, or in the main workspace (None).

    Raises:
        SelectionError: the name is no good file name.
    """
    return root / STATE / "locks" / f"run-{'workspace' if name is None else checked_name(name)}"


def prepare_worktree(root: Path, name: str, params: str) -> Path:
    """Make or refresh the worktree of a profile and return its root.

    Raises:
        SelectionError: the name is no good file name.
        WorkspaceError: git refuses, or the repository has no commit yet.
    """
    work = worktree_path(root, name)
    head_commit(root)
    if not (work / ".git").exists():
        remove(work)
        git(root, "worktree", "prune")
        branch = f"profile/{name}"
        known = git(root, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", check=False).strip()
        wanted = ["--force", str(work), branch] if known else ["-b", branch, str(work)]
        git(root, "worktree", "add", "-q", *wanted)
        if not known and name in profile_names(root):
            # The commit's figures are of another catalogue; nobody may read them as this profile's.
            remove(work / "metrics")
    sync_files(root, work)
    if not (work / "params.yaml").is_file() or (work / "params.yaml").read_text(encoding="utf-8") != params:
        write_text(work / "params.yaml", params)
    share_caches(root, work)
    return work


def sync_files(root: Path, work: Path) -> None:
    """Bring in the tracked files of the main working tree as they are, and new modules in folders."""
    new = git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", "*/*.py").split("\0")
    tree = snapshot(root, filter(None, new))
    git(work, "restore", f"--source={tree}", "--staged", "--worktree", "--", ".", *OWN)


def share_caches(root: Path, work: Path) -> None:
    """Point the worktree to the main workspace's DVC cache and remotes, and to its caches in .vitrine."""
    ours, theirs = root / ".dvc" / "config.local", work / ".dvc" / "config.local"
    cache = cache_folder(root)
    done = work / STATE / "shared-from"
    stamp = hashlib.sha256((ours.read_bytes() if ours.exists() else b"") + str(cache).encode()).hexdigest()
    if not done.exists() or done.read_text() != stamp or not theirs.exists():
        theirs.parent.mkdir(parents=True, exist_ok=True)
        theirs.write_bytes(ours.read_bytes() if ours.exists() else b"")
        dvc_output(work, "cache", "dir", "--local", str(cache))
        write_text(done, stamp)
    caches, link = root / STATE / "cache", work / STATE / "cache"
    caches.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        remove(link)
        link.symlink_to(caches, target_is_directory=True)


def cache_folder(root: Path) -> Path:
    """Absolute path of the workspace's DVC cache, wherever its configuration puts it."""
    return (root / dvc_output(root, "cache", "dir").strip().splitlines()[-1]).resolve()


def dvc_output(root: Path, *arguments: str) -> str:
    """Output of one short DVC command.

    Raises:
        WorkspaceError: DVC refused.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(
        command, cwd=root, env=processes.environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise WorkspaceError(
            f"dvc {' '.join(arguments[:2])} failed in {root}: {' '.join(done.stderr.split())}."
        )
    return done.stdout


def keep_results(root: Path, work: Path, profile: str) -> Path:
    """Copy the metrics of a profile to ``results/<profile>/`` of the main workspace; returns that folder.

    ``run.json`` says what they were computed from: commit, whether tracked files differed from it, and the
    hashes of parameters and dvc.lock. No clock, no host.
    """
    folder = root / "results" / profile
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted((work / "metrics").glob("*.json"))
    for stale in set(folder.glob("*.json")) - {folder / path.name for path in found}:
        stale.unlink()
    for path in found:
        write_text(folder / path.name, path.read_text(encoding="utf-8"))
    facts = {
        "profile": profile,
        "commit": head_commit(root),
        "dirty": is_dirty(root),
        "params_sha256": _sha256(work / "params.yaml"),
        "lock_sha256": _sha256(work / "dvc.lock"),
    }
    write_text(folder / "run.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return folder


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def commit_worktree(work: Path, message: str) -> bool:
    """Commit everything in a profile's worktree on its branch; False when there was nothing to commit.

    Raises:
        WorkspaceError: git refused.
    """
    git(work, "add", "--all")
    if not git(work, "status", "--porcelain").strip():
        return False
    known = git(work, "config", "user.email", check=False).strip()
    who = [] if known else ["-c", "user.name=Vitrine", "-c", "user.email=vitrine@localhost"]
    git(work, *who, "commit", "-q", "--no-verify", "-m", message)
    return True
