"""What differs in the code of two sides: commits, and the folders that changed between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from components.tracking.compare.sides import Side
from components.tracking.errors import TrackingError
from components.tracking.lineage.revision import git, resolve_commit

# Folders are told as deep as a component's room; what no stage reads is told as a whole.
DEPTH = {"components": 3}
SHOWN = 10  # characters of a commit


def commit_line(root: Path, side: Side) -> str:
    """``1a2b3c4d5e Subject of the commit, with uncommitted changes``."""
    if not side.commit:
        return "unknown"
    dirty = ", with uncommitted changes" if side.dirty else ""
    try:
        subject = git(root, "log", "-1", "--format=%s", side.commit).decode("utf-8", errors="replace").strip()
    except TrackingError:
        subject = "(of another clone: not in this repository)"
    return f"{side.commit[:SHOWN]} {subject}{dirty}"


def changed_folders(root: Path, sides: Sequence[Side]) -> dict[str, list[str | None]]:
    """Folder -> what changed in it on each side against the first, None for nothing.

    By git where both commits are here, else by the hashes that dvc.lock has of the code its stages run.
    """
    first, found = sides[0], dict[str, list[str | None]]()
    for place, side in enumerate(sides[1:], start=1):
        changes = _by_git(root, first, side)
        if changes is None:
            changes = _by_hash(first, side)
        for folder, what in changes.items():
            found.setdefault(folder, [None] * len(sides))[place] = what
    return dict(sorted(found.items()))


def _by_git(root: Path, a: Side, b: Side) -> dict[str, str] | None:
    known = all(side.commit and resolve_commit(root, side.commit) for side in (a, b))
    if not known:
        return None
    try:
        told = git(
            root, "diff", "--numstat", "--no-renames", "-z", a.commit, b.commit, "--", ":!docs", ":!results"
        )
    except TrackingError:
        return None
    files, plus, minus = Counter[str](), Counter[str](), Counter[str]()
    for line in filter(None, told.decode("utf-8", errors="replace").split("\0")):
        added, removed, path = line.split("\t", 2)
        if path.startswith(("metrics/", "tests/")) or path.endswith("dvc.lock"):
            continue
        folder = _folder(path)
        files[folder] += 1
        plus[folder] += int(added) if added.isdigit() else 0
        minus[folder] += int(removed) if removed.isdigit() else 0
    return {name: f"+{plus[name]:,} −{minus[name]:,} lines, files: {count}" for name, count in files.items()}


def _folder(path: str) -> str:
    parts = path.split("/")
    return "/".join(parts[: min(len(parts) - 1, DEPTH.get(parts[0], 1))]) or path


def _by_hash(a: Side, b: Side) -> dict[str, str]:
    """By the code that stages of both sides read."""
    shared = a.code.keys() & b.code.keys()
    return {path: "differs" for path in sorted(shared) if a.code[path] != b.code[path]}
