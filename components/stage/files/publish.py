"""Outputs that appear whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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


def _machine() -> str:
    """A short name of this machine: folders may be shared, and process numbers are its own."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # the process is another user's
        return True
    return True


def _sweep(target: Path) -> None:
    """Remove what a killed process of this machine left of ``target``: nothing else would."""
    for stale in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        machine, _, rest = stale.suffixes[-2].removeprefix(".").partition("-")
        process = rest.partition("-")[0]
        if machine == _machine() and process.isdigit() and not _runs(int(process)):
            with suppress(OSError):  # another process was quicker
                remove(stale)


@contextmanager
def published(target: Path, flush: Callable[[Path], object] = _flush) -> Iterator[Path]:
    """Yield a temporary sibling path; on success move it to ``target``, on failure leave ``target`` alone.

    The caller writes a file, or makes a folder, at the yielded path. A folder that stands at ``target`` is
    removed just before the rename: a kill between the two leaves no output, never half of one. What a killed
    process left is removed by the next one; git ignores such names.

    Args:
        flush: forces what was written to disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    # Hidden and unique: DVC never takes it for an output, and two processes never share it.
    owner = f"{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    temporary = target.parent / f".{target.name}.{owner}.tmp"
    try:
        yield temporary
        flush(temporary)
        if target.is_dir() or temporary.is_dir():
            remove(target)
        temporary.replace(target)
    finally:
        remove(temporary)


def write_text(target: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new contents, never a part."""
    with published(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
