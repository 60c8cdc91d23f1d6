"""Which code a run came from: git's commit, whether the tree was dirty, and files at another commit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from components.tracking.errors import TrackingError

# What a run itself writes into tracked files; everything else that differs makes the tree dirty.
OTHERS = (".", *(f":(exclude){name}" for name in ("dvc.lock", "metrics", "results")))
GIT_TIMEOUT_S = 60


class Revision(BaseModel):
    """State of the code. ``commit`` is "" outside a git repository; ``dirty`` is then unknown (None)."""

    model_config = ConfigDict(frozen=True)

    commit: str = ""
    dirty: bool | None = None


def git(root: Path, *arguments: str, given: bytes = b"") -> bytes:
    """Standard output of a git command, which gets ``given`` as its input.

    Raises TrackingError: it failed, took too long, or git is not installed.
    """
    quiet = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=GIT_TIMEOUT_S, env=quiet)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TrackingError(f"git {arguments[0]} did not run in {root}: {error}.") from None
    if done.returncode:
        reason = " ".join(done.stderr.decode(errors="replace").split())
        raise TrackingError(f"git {arguments[0]} failed in {root}: {reason}.")
    return done.stdout


def _git(root: Path, *arguments: str) -> bytes | None:
    """Standard output of a git command, or None where there is none to be had."""
    try:
        return git(root, *arguments)
    except TrackingError:
        return None


def blobs(root: Path, ids: Iterable[str]) -> Iterator[str]:
    """Contents of git's objects with these ids, in their order.

    Raises TrackingError: git could not read them.
    """
    rest = git(root, "cat-file", "--batch", given="".join(f"{one}\n" for one in ids).encode())
    while rest:
        head, _, rest = rest.partition(b"\n")  # "<id> blob <size>"
        if head.endswith(b" missing"):
            raise TrackingError(f"git lacks an object of {root}: {head.decode()}; run 'git fsck' there.")
        size = int(head.split()[2])
        yield rest[:size].decode("utf-8", errors="replace")
        rest = rest[size + 1 :]


def revision(root: Path) -> Revision:
    """Commit of HEAD, and whether anything but ``dvc.lock``, ``metrics/`` and ``results/`` differs from it.

    Files that are neither tracked nor ignored count as differences: a new module can be imported.
    """
    head = _git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head is None:
        return Revision()
    changes = _git(root, "status", "--porcelain", "-z", "--untracked-files=normal", "--", *OTHERS)
    return Revision(commit=head.decode().strip(), dirty=None if changes is None else bool(changes))


def uncommitted(root: Path, limit_bytes: int) -> str:
    """What differs from HEAD, as a diff; new files that git does not ignore are named. "" where nothing does.

    Cut at ``limit_bytes``; what runs write is left out.
    """
    diff = _git(root, "diff", "HEAD", "--no-color", "--no-ext-diff", "--", *OTHERS) or b""
    new = _git(root, "ls-files", "--others", "--exclude-standard", "--", *OTHERS) or b""
    named = (f"new, not added to git: {name}\n" for name in new.decode(errors="replace").splitlines())
    text = "".join(named) + diff.decode("utf-8", errors="replace")
    whole = len(text.encode())
    if whole <= limit_bytes:
        return text
    return text.encode()[:limit_bytes].decode(errors="ignore") + f"\n... cut: {whole} bytes in all\n"


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
