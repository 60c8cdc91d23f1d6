"""``vitrine gc``: give disk space back without taking anything a run, a profile or a branch still needs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from components.stage.publish import remove
from components.stage.record import STATE
from flows import processes
from flows.display import memory
from flows.errors import FlowError
from flows.locks import held
from flows.profiles import worktree_path
from flows.workspace import git

DAY_S = 86400.0
OVERRIDES = "set-"  # part of the name of a worktree that --set made


def collect(root: Path, console: Console, memo: bool, days: float, dry_run: bool) -> None:
    """Delete old override worktrees, logs and resume state, memo caches if asked, then unused cache entries.

    Everything that the working trees of the workspace and its profiles, or any git branch, refer to is kept.

    Raises:
        LockHeldError: a run is going on in the workspace or a profile.
        FlowError: DVC refused.
    """
    before = time.time() - days * DAY_S
    with ExitStack() as stack:
        for lock in sorted((root / STATE / "locks").glob("run-*")):
            stack.enter_context(held(lock, f"Workspace {lock.name.removeprefix('run-')}", 0.0, console.print))
        for work in list(old_overrides(root, before)):
            _tell(console, work, dry_run)
            if not dry_run:
                git(root, "worktree", "remove", "--force", str(work))
                git(root, "branch", "-q", "-D", f"profile/{work.name}", check=False)
        for path in old_state(root, before, memo):
            _tell(console, path, dry_run)
            if not dry_run:
                remove(path)
        _unused_cache(root, console, dry_run)


def worktrees(root: Path) -> list[Path]:
    """Worktrees of profiles and overrides."""
    return sorted(path for path in worktree_path(root, "_").parent.glob("*") if (path / ".git").exists())


def old_overrides(root: Path, before: float) -> Iterator[Path]:
    """Worktrees that ``--set`` made and that nobody has run in since ``before`` (Unix seconds)."""
    for work in worktrees(root):
        lock = work / "dvc.lock"
        if OVERRIDES in work.name and (lock if lock.exists() else work).stat().st_mtime < before:
            yield work


def old_state(root: Path, before: float, memo: bool) -> Iterator[Path]:
    """Logs and resume state untouched since ``before`` (Unix seconds), in the workspace and its worktrees."""
    for place in (root, *worktrees(root)):
        for pattern in ("logs/*", "resume/*/*"):
            yield from (p for p in sorted((place / STATE).glob(pattern)) if _newest(p) < before)
    if memo:
        yield from sorted((root / STATE / "cache").glob("*"))


def _newest(path: Path) -> float:
    """Newest modification time below a path."""
    return max([path.stat().st_mtime, *(p.stat().st_mtime for p in path.rglob("*"))])


def _tell(console: Console, path: Path, dry_run: bool) -> None:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
    size = memory(sum(p.stat().st_size for p in files)) or "0 MiB"
    console.print(
        f"{'would delete' if dry_run else 'delete'} {path} ({size})", highlight=False, soft_wrap=True
    )


def _unused_cache(root: Path, console: Console, dry_run: bool) -> None:
    """``dvc gc`` over all branches and all worktrees.

    Raises:
        FlowError: DVC failed.
    """
    command = [sys.executable, "-m", "dvc", "gc", "--workspace", "--all-branches", "--force"]
    command += ["--dry"] if dry_run else []
    others = worktrees(root)
    command += ["--projects", *map(str, others)] if others else []
    done = subprocess.run(
        command, cwd=root, env=processes.environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise FlowError(f"dvc gc failed in {root}: {' '.join(done.stderr.split())}")
    lines = [
        line
        for line in done.stdout.splitlines() + done.stderr.splitlines()
        if "emov" in line or "unused" in line.lower()
    ]
    console.print("\n".join(lines) or "DVC's cache holds nothing unused.", highlight=False, soft_wrap=True)
