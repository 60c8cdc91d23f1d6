"""Where a long stage keeps what it needs to go on after a kill, and when that may be used.

State lives outside the outputs, in ``.vitrine/resume/<stage>/<key>/``, and is read only on an exact key: the
parameters, the inputs and the code must all be what they were. It goes when the stage succeeds.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from components.stage.record import STATE


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_folder(folder: Path) -> str:
    """SHA-256 over the relative names and bytes of every file below ``folder``, as hex."""
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()


def code_sha256() -> str:
    """SHA-256 over the source of every ``components`` module this process has imported."""
    files = {
        m.__file__
        for n, m in sys.modules.items()
        if n.startswith("components.") and getattr(m, "__file__", None)
    }
    digest = hashlib.sha256()
    for file in sorted(str(f) for f in files):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def resume_folder(stage: str, parts: Iterable[str], state: Path = STATE) -> Path:
    """The folder for this exact work; state of any other key of the same stage is deleted.

    Args:
        stage: DVC's name of the stage.
        parts: texts that identify the work: parameters as JSON, hashes of inputs and code.
    """
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    root = state / "resume" / stage
    if root.is_dir():
        for other in root.iterdir():
            if other.name != key:
                shutil.rmtree(other, ignore_errors=True)
    folder = root / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder
