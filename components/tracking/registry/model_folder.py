"""Which files may leave as a model: safetensors, JSON and tokenizer files, by allow-list and by content."""

from __future__ import annotations

import json
from pathlib import Path

from components.stage.left_out import reason_in
from components.stage.resume import sha256_file
from components.tracking.errors import ModelFolderError
from components.tracking.lineage.lockfile import digest

WEIGHTS = ".safetensors"
SUFFIXES = (WEIGHTS, ".json")
TOKENIZER_FILES = ("vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "chat_template.jinja")
CARD = "README.md"  # the model card, written at registration


def checked_files(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file of a model folder that may be published.

    Raises ModelFolderError: the folder is missing or a link, holds a link, a hidden file, or a file that is
    not on the allow-list or is not what its name says, or has no weights or no config.json.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise ModelFolderError(
            f"{folder} is not a model folder; train first (dvc repro), or name another folder."
        )
    if reason := reason_in(folder):
        raise ModelFolderError(f"{folder} holds no model: it was left out. {reason}")
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ModelFolderError(f"{path} is a symbolic link; a model folder holds plain files only.")
        if path.is_file():
            _check(path)
            found[path.relative_to(folder).as_posix()] = sha256_file(path)
    if "config.json" not in found or not any(name.endswith(WEIGHTS) for name in found):
        raise ModelFolderError(f"{folder} is not a complete model: config.json and *{WEIGHTS} must be there.")
    return found


def content_hash(files: dict[str, str]) -> str:
    """One SHA-256 for a model's files; the model card is about the model, not part of it."""
    return digest(sorted((name, found) for name, found in files.items() if name != CARD))


def _check(path: Path) -> None:
    """Hold a file against its name; safetensors compares its header with the length, and reads no tensor."""
    from safetensors import SafetensorError, safe_open

    name, kind = path.name, "a safetensors file" if path.suffix == WEIGHTS else "valid JSON"
    if name.startswith(".") or not (path.suffix in SUFFIXES or name in TOKENIZER_FILES or name == CARD):
        raise ModelFolderError(
            f"{path} may not be registered: only {', '.join(SUFFIXES)} and tokenizer files may be; "
            "pickles and torch files can run code when they are read."
        )
    try:
        if path.suffix == WEIGHTS:
            with safe_open(path, framework="np"):
                pass
        elif path.suffix == ".json":
            json.loads(path.read_bytes())
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ModelFolderError(f"{path} is not {kind} ({error}); make the model again.") from None
