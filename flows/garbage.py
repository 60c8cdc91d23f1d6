"""``vitrine gc``: give disk space back without taking anything a run, a profile or a branch still needs.

One plan is made, told, and then carried out; a dry run stops before the last. What no commit and no remote
holds is in the plan only with ``force``; without, it is told as kept.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from components.report.budget import memory
from components.stage.files.publish import remove
from components.stage.record import STATE
from components.tracking.lineage.lockfile import Cache, computable, needed
from components.tracking.lineage.repair import dvc_stands_still
from flows.errors import LockHeldError
from flows.overrides import Override, Worktree, git_worktrees, last_used, overrides, unsaved
from flows.overrides import held as held_by_git
from flows.profiles import WORK, cache_folder
from flows.remote.handover import published, withdraw
from flows.run.locks import held
from flows.workspace import git

DAY_S = 86400.0
HEADS_AND_TAGS = ("--format=%(refname) %(objecttype)%(*objecttype)", "refs/heads", "refs/tags")


@dataclass(frozen=True)
class Cleaning:
    """What the user asked for: with our caches too, the age in days of what is old, and how far to go."""

    caches: bool = False
    days: float = 14.0
    dry_run: bool = False
    force: bool = False


@dataclass
class DeletionPlan:
    """What one ``vitrine gc`` deletes, and what it leaves for ``--force``."""

    worktrees: list[Worktree] = field(default_factory=list)
    branches: list[Override] = field(default_factory=list)
    handovers: list[str] = field(default_factory=list)  # commits of working trees left for a runner
    state: list[Path] = field(default_factory=list)
    objects: list[Path] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)  # all of the above, in words
    kept: list[str] = field(default_factory=list)  # what only --force deletes, and why
    notes: list[str] = field(default_factory=list)  # what stays whatever is asked for, and why


def collect(root: Path, asked: Cleaning, console: Console) -> None:
    """Delete old override worktrees, logs, resume state, caches if asked, then unused objects of DVC.

    Everything that a working tree, a branch or a tag refers to is kept, but for the data of old overrides; so
    is, without ``force``, everything that no commit and no remote holds.

    Raises LockHeldError: a run or DVC is at work here; WorkspaceError: git or DVC refused.
    """
    root = root.resolve()
    with ExitStack() as stack:
        for lock in sorted((root / STATE / "locks").glob("run-*")):
            stack.enter_context(held(lock, f"Workspace {lock.name.removeprefix('run-')}", 0.0, console.print))
        for tree in git_worktrees(root):
            if (tree.path / ".dvc").is_dir() and not stack.enter_context(dvc_stands_still(tree.path)):
                raise LockHeldError(f"DVC is at work in {tree.path}; wait for it to end, then run again.")
        plan = make_plan(root, time.time() - asked.days * DAY_S, asked.caches, asked.force)
        tell(plan, console, asked.dry_run)
        if not asked.dry_run:
            carry_out(root, plan, asked.force, console)


def make_plan(root: Path, before: float, caches: bool = False, force: bool = False) -> DeletionPlan:
    """What to delete of that which nobody has used since ``before`` (Unix seconds)."""
    plan = DeletionPlan()
    old = [one for one in overrides(root) if last_used(root, one) < before]
    freed = [one for one in old if one.worktree is None or _plan_worktree(plan, root, one.worktree, force)]
    _plan_branches(plan, root, [one for one in freed if one.commit], force)
    gone = {tree.path for tree in plan.worktrees}
    plan.state += old_state(root, before, caches, without=gone)
    plan.deleted += [f"{path} ({_size([path])})" for path in plan.state]
    plan.handovers = published(root)  # no run is at work, so whoever published them was killed
    plan.deleted += [f"a working tree for a runner (commit {one[:10]})" for one in plan.handovers]
    trees = [tree for tree in git_worktrees(root) if tree.path not in gone]
    _plan_objects(plan, root, trees, [one.ref for one in freed], force)
    return plan


def _plan_worktree(plan: DeletionPlan, root: Path, tree: Worktree, force: bool) -> bool:
    """Whether the worktree of an old override goes."""
    if tree.locked:
        plan.notes.append(f"{tree.path} stays: git keeps it locked ('git worktree unlock' frees it).")
        return False
    if (loses := unsaved(root, tree)) and not force:
        plan.kept.append(f"{tree.path}: {loses}")
        return False
    plan.worktrees.append(tree)
    plan.deleted.append(f"{tree.path} ({_size([tree.path])})")
    return True


def _plan_branches(plan: DeletionPlan, root: Path, freed: list[Override], force: bool) -> None:
    """The branches of overrides whose worktrees go: one whose commit nothing else holds stays."""
    refs = {one.ref for one in freed}
    staying = {tree.branch for tree in git_worktrees(root) if tree not in plan.worktrees}
    for one in freed:
        if one.ref in staying:
            plan.notes.append(f"Branch profile/{one.name} stays: a working tree has it checked out.")
        elif force or held_by_git(root, one.commit, without=refs):
            plan.branches.append(one)
            plan.deleted.append(f"branch profile/{one.name} (commit {one.commit[:10]})")
        else:
            plan.kept.append(f"branch profile/{one.name}: nothing else holds its commit {one.commit[:10]}")


def _plan_objects(
    plan: DeletionPlan, root: Path, trees: Collection[Worktree], freed: Collection[str], force: bool
) -> None:
    """Objects of the cache that no working tree of ``trees``, branch or tag needs, but for ``freed``."""
    cache = Cache(cache_folder(root))
    objects = cache.objects()
    heads = [tree.head for tree in trees if tree.head.strip("0")]  # a new repository has zeros
    listed = (line.split() for line in git(root, "for-each-ref", *HEADS_AND_TAGS).splitlines())
    refs = [ref for ref, kind in listed if ref not in freed and kind.endswith(("commit", "tree"))]
    loose = objects.keys() - cache.with_contents(needed(root, [t.path for t in trees], [*refs, *heads]))
    if not loose:
        return
    remote, notes = in_remotes(root, loose, cache.folder)
    commit = cache.with_contents(computable(root, heads)) & (loose - remote)
    nowhere = loose - remote - commit
    parts = {
        "that a DVC remote holds": remote,
        "that a commit says how to compute": commit,
        "that no remote holds and no commit says how to compute": nowhere,
    }
    for why, hashes in parts.items():
        files = [objects[one] for one in sorted(hashes)]
        told = f"cache objects {why}: {len(files):,} ({_size(files)})"
        if files and (force or hashes is not nowhere):
            plan.objects += files
            plan.deleted.append(told)
        elif files:
            plan.kept.append(told)
    plan.notes += notes


def in_remotes(root: Path, hashes: Collection[str], cache: Path) -> tuple[set[str], list[str]]:
    """Which of the hashes a DVC remote holds, and a sentence for each remote that could not be asked."""
    from dvc.repo import Repo

    found: set[str] = set()
    notes = []
    with Repo(str(root)) as repo:
        for name in repo.config["remote"]:
            try:
                remote = repo.cloud.get_remote_odb(name=name, command="gc", hash_name="md5")
                if remote.fs.protocol == "local" and Path(remote.path).resolve() == cache.resolve():
                    continue  # the cache itself, under another name
                found |= set(remote.list_oids_exists(sorted(hashes)))
            except Exception as error:  # whatever a remote throws, it only means that it vouches for nothing
                reason = " ".join(str(error).split())[:200]
                notes.append(f"The DVC remote '{name}' could not be asked ({reason}).")
    return found, notes


def old_state(root: Path, before: float, caches: bool, without: Iterable[Path] = ()) -> Iterator[Path]:
    """Logs and resume state untouched since ``before`` (Unix seconds), in the workspace and its worktrees."""
    works = sorted(git_file.parent for git_file in (root / WORK).glob("*/.git"))
    for place in (root, *(work for work in works if work not in without)):
        for pattern in ("logs/*", "resume/*/*"):
            yield from (p for p in sorted((place / STATE).glob(pattern)) if _newest(p) < before)
    if caches:
        yield from sorted((root / STATE / "cache").glob("*"))


def _newest(path: Path) -> float:
    """Newest modification time below a path."""
    return max([path.stat().st_mtime, *(p.stat().st_mtime for p in path.rglob("*"))])


def _size(paths: Iterable[Path]) -> str:
    files = (file for path in paths for file in ([path] if path.is_file() else path.rglob("*")))
    return memory(sum(f.stat().st_size for f in files if f.is_file() and not f.is_symlink())) or "0 MiB"


def tell(plan: DeletionPlan, console: Console, dry_run: bool) -> None:
    """Print a plan, a line for each part of it."""
    verb = "would delete" if dry_run else "delete"
    lines = [f"{verb} {what}" for what in plan.deleted] + [f"keep {what}" for what in plan.kept]
    if plan.kept:
        lines.append("What is kept here is held nowhere else; --force deletes it too.")
    for line in [*(lines or ["Nothing to delete."]), *plan.notes]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def carry_out(root: Path, plan: DeletionPlan, force: bool, console: Console) -> None:
    """Delete what a plan names and nothing else; WorkspaceError: git refused (a worktree has changed)."""
    for tree in plan.worktrees:
        git(root, "worktree", "remove", *(["--force"] if force else []), str(tree.path))
    for one in plan.branches:  # only if it still is at the commit that was looked at
        git(root, "update-ref", "-d", one.ref, one.commit)
    for commit in plan.handovers:
        if not withdraw(root, commit):
            console.print(f"Commit {commit[:10]} stays: the git remote cannot be reached.", highlight=False)
    for path in (*plan.state, *plan.objects):
        remove(path)
