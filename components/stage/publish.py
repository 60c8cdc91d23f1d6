"""Outputs that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _flush(path: Path) -> None:
    """Force file contents to disk, so that a rename never publishes a name without its bytes."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    for file in files:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def remove(path: Path) -> None:
    """Delete a file or a folder; a path that is not there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def published(target: Path) -> Iterator[Path]:
    """Yield a temporary sibling path; on success move it to ``target``, on failure leave ``target`` alone.

    The caller writes a file, or makes a folder, at the yielded path. A folder that stands at ``target`` is
    removed just before the rename: a kill between the two leaves no output, never half of one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # Hidden and unique: DVC never takes it for an output, and two processes never share it.
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        yield temporary
        _flush(temporary)
        if target.is_dir() or temporary.is_dir():
            remove(target)
        temporary.replace(target)
    finally:
        remove(temporary)


def write_text(target: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new contents, never a part."""
    with published(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
