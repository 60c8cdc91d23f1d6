"""Profiles: the same graph with other parameters and data, in a git worktree of its own.

``.vitrine/work/X`` is a worktree on branch ``profile/X``. Code comes from the main working tree as it is,
also uncommitted; parameters from ``params.yaml`` with ``conf/X.yaml`` laid on it; results and sources are
the worktree's own; DVC's cache, our caches and MLflow's store are shared.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from components.machine import processes
from components.parameters.profiles import changed_profile, checked_name, profile_names
from components.stage.files.publish import remove, write_text
from components.stage.record import STATE
from flows.errors import WorkspaceError
from flows.workspace import git, head_commit, snapshot

WORK = STATE / "work"  # the folder of all worktrees, in the main workspace
# The worktree's own: never overwritten from the main workspace.
SOURCE = "data/source"
OWN = (":!dvc.lock", ":!params.yaml", ":!metrics", ":!results", f":!{SOURCE}")
NEW_BRANCH = "new"  # what stands in the file beside a worktree that is being made on a branch of its own
HALF_WRITTEN = (":(exclude,glob)**/.*.tmp", ":(exclude,glob)**/.*.tmp/**")
NEW = ("*/*.py", "components/*")  # brought in although git does not know them yet


def worktree_path(root: Path, name: str) -> Path:
    """Where the worktree of a profile lies; ConfigurationError: a bad name."""
    return root / WORK / checked_name(name)


def run_lock(root: Path, name: str | None) -> Path:
    """The lock of whoever works in a profile's worktree, or in the main workspace (None); as above."""
    return root / STATE / "locks" / f"run-{'workspace' if name is None else checked_name(name)}"


def prepare_worktree(root: Path, name: str, params: str) -> Path:
    """Make or refresh the worktree of a profile and return its root.

    Raises ConfigurationError: a bad name; WorkspaceError: git refuses, or the repository has no commit yet.
    """
    work = worktree_path(root, name)
    head_commit(root)
    making = work.parent / f".{name}.making"
    if making.exists() or not (work / ".git").exists():
        _make(root, work, name, making)
    sync_files(root, work)
    base = f"profile/{changed_profile(root, name)}"
    if _is_branch(root, base) and git(work, "diff", "--name-only", base, "--", SOURCE).strip():
        git(work, "restore", f"--source={base}", "--staged", "--worktree", "--", SOURCE)
        remove(work / SOURCE / "files")  # DVC brings in those that belong to it
    if not (work / "params.yaml").is_file() or (work / "params.yaml").read_text(encoding="utf-8") != params:
        write_text(work / "params.yaml", params)
    share_caches(root, work)
    return work


def _make(root: Path, work: Path, name: str, making: Path) -> None:
    """Make the worktree, whole or not at all: ``making`` stands until it is, and says that the branch is new.

    A hook that fails, or a kill, leaves a branch and a part of a worktree, with the main workspace's figures.
    """
    branch = f"profile/{name}"
    known, base = _is_branch(root, branch), f"profile/{changed_profile(root, name)}"
    new = not known or (making.exists() and making.read_text(encoding="utf-8") == NEW_BRANCH)
    write_text(making, NEW_BRANCH if new else "")
    remove(work)
    git(root, "worktree", "prune")
    start = base if _is_branch(root, base) else "HEAD"  # an override has its profile's catalogue
    wanted = ["--force", str(work), branch] if known else ["-b", branch, str(work), start]
    git(root, "worktree", "add", "-q", *wanted)
    if new and name in profile_names(root):
        # The commit's figures are of another catalogue; nobody may read them as this profile's.
        remove(work / "metrics")
    remove(making)


def _is_branch(root: Path, name: str) -> bool:
    return bool(git(root, "rev-parse", "--verify", "--quiet", f"refs/heads/{name}", check=False).strip())


def sync_files(root: Path, work: Path) -> None:
    """Bring in the tracked files of the main working tree as they are, new modules, suites and claims."""
    new = git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *NEW).split("\0")
    tree = snapshot(root, filter(None, new))
    git(work, "restore", f"--source={tree}", "--staged", "--worktree", "--", ".", *OWN)


def share_caches(root: Path, work: Path) -> None:
    """Point the worktree to the main workspace's DVC cache and remotes, and to its caches in .vitrine."""
    ours, theirs = root / ".dvc" / "config.local", work / ".dvc" / "config.local"
    cache, text = cache_folder(root), ours.read_text(encoding="utf-8") if ours.exists() else ""
    done = work / STATE / "shared-from"
    stamp = hashlib.sha256(f"{text}{cache}".encode()).hexdigest()
    if not done.exists() or done.read_text() != stamp or not theirs.exists():
        write_text(theirs, text)
        # relative where it can be: DVC writes no path into its configuration that is not ASCII
        place = os.path.relpath(cache, work) if cache.is_relative_to(root.resolve()) else str(cache)
        dvc_output(work, "cache", "dir", "--local", place)
        write_text(done, stamp)
    caches, link = root / STATE / "cache", work / STATE / "cache"
    caches.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        remove(link)
        link.symlink_to(caches, target_is_directory=True)


def cache_folder(root: Path) -> Path:
    """Absolute path of the workspace's DVC cache; WorkspaceError: its configuration is damaged."""
    from dvc.config import Config, ConfigError

    try:
        configured = Config(str(root / ".dvc")).get("cache", {}).get("dir")
    except ConfigError as error:
        raise WorkspaceError(f"DVC's configuration of {root} cannot be read: {error}.") from None
    return Path(configured or root / ".dvc" / "cache").resolve()


def dvc_output(root: Path, *arguments: str) -> str:
    """Output of one short DVC command; WorkspaceError: DVC refused."""
    command, env = [sys.executable, "-m", "dvc", *arguments], processes.environment()
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.split())
        raise WorkspaceError(f"dvc {' '.join(arguments[:2])} failed in {root}: {reason}.")
    return done.stdout


def commit_worktree(work: Path, message: str) -> bool:
    """Commit everything in a profile's worktree on its branch; False when there was nothing to commit.

    Half-written files of a killed process are not a part of it, whatever the workspace's .gitignore says.
    """
    git(work, "add", "--all", "--", ".", *HALF_WRITTEN)
    if not git(work, "diff", "--cached", "--name-only").strip():
        return False
    known = git(work, "config", "user.email", check=False).strip()
    who = [] if known else ["-c", "user.name=Vitrine", "-c", "user.email=vitrine@localhost"]
    git(work, *who, "commit", "-q", "--no-verify", "-m", message)
    return True
