"""Worktrees and branches that ``vitrine run --set`` made, and what in them is held nowhere else."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from components.parameters.profiles import OVERRIDE, profile_names
from components.tracking.publish.pending import pending
from flows.errors import WorkspaceError
from flows.profiles import WORK
from flows.workspace import git

BRANCHES = "refs/heads/profile/"


@dataclass(frozen=True)
class Worktree:
    """A working tree as git lists it; ``branch`` is "" where HEAD is detached."""

    path: Path
    head: str
    branch: str = ""
    locked: bool = False


@dataclass(frozen=True)
class Override:
    """What one set of overrides left: a worktree, a branch ``profile/<name>``, or both."""

    name: str
    worktree: Worktree | None
    commit: str  # of its branch; "" where there is none

    @property
    def ref(self) -> str:
        """Full name of its branch."""
        return f"{BRANCHES}{self.name}"


def git_worktrees(root: Path) -> list[Worktree]:
    """Every working tree of the repository that is there, the main one too."""
    found = []
    for block in git(root, "worktree", "list", "--porcelain").strip().split("\n\n"):
        facts = dict(line.partition(" ")[::2] for line in block.splitlines())
        path = Path(facts["worktree"])
        if path.is_dir() and "bare" not in facts:
            found.append(Worktree(path, facts["HEAD"], facts.get("branch", ""), "locked" in facts))
    return found


def is_override(root: Path, name: str) -> bool:
    """Whether ``--set`` made the worktree or branch of this name; never true of a profile of conf/.

    A profile may be called as an override is (``training-set-20240101``) and be in conf/ of its own branch
    alone, so its worktree and its branch are asked too.
    """
    if OVERRIDE.fullmatch(name) is None or name in profile_names(root):
        return False
    if (root / WORK / name / "conf" / f"{name}.yaml").exists():
        return False
    committed = f"{BRANCHES}{name}:./conf/{name}.yaml"
    return not git(root, "rev-parse", "--verify", "--quiet", committed, check=False).strip()


def overrides(root: Path) -> list[Override]:
    """All overrides of the workspace, by name."""
    work = (root / WORK).resolve()
    trees = {tree.path.name: tree for tree in git_worktrees(root) if tree.path.resolve().parent == work}
    listed = git(root, "for-each-ref", "--format=%(objectname) %(refname)", BRANCHES).splitlines()
    tips = {ref.removeprefix(BRANCHES): commit for commit, ref in (line.split(" ", 1) for line in listed)}
    names = sorted(name for name in {*trees, *tips} if is_override(root, name))
    return [Override(name, trees.get(name), tips.get(name, "")) for name in names]


def last_used(root: Path, override: Override) -> float:
    """When its results were last written, or committed where there is no worktree any more (Unix seconds)."""
    if override.worktree is None:
        return float(git(root, "log", "-1", "--format=%ct", override.commit))
    lock = override.worktree.path / "dvc.lock"
    return (lock if lock.exists() else override.worktree.path).stat().st_mtime


def unsaved(root: Path, tree: Worktree) -> str:
    """What deleting a worktree would lose, as a phrase; "" when git and MLflow hold all of it."""
    try:
        if git(tree.path, "status", "--porcelain").strip():
            return "it holds results or changes that are not committed"
        if not held(root, tree.head):
            return "its commit is on no branch"
    except WorkspaceError:
        return "git cannot read it"
    if pending(tree.path):
        return f"MLflow does not hold its records yet; 'vitrine sync --profile {tree.path.name}'"
    return ""


def held(root: Path, commit: str, without: Collection[str] = ()) -> bool:
    """Whether a branch, tag or remote branch holds a commit; those of ``without`` do not count."""
    listed = git(root, "for-each-ref", "--format=%(refname)", "--contains", commit)
    return bool(set(listed.split()) - set(without))
