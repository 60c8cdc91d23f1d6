"""Objects of DVC's cache: which are there, which something needs, and which a commit says how to compute.

Needed is every hash that a DVC file mentions: the text is searched, not parsed, so a file that cannot be read
as YAML keeps what it names. Outputs of a dvc.lock can be computed again; imported data, of which only a .dvc
file tells, cannot.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from os import fsdecode
from pathlib import Path

from components.stage.record import STATE
from components.tracking.errors import LockFileError
from components.tracking.lineage.lockfile import parse_lock
from components.tracking.lineage.revision import blobs, git

HASH = re.compile(r"\b[0-9a-f]{32}(?:\.dir\b)?")
NAME = re.compile(r"[0-9a-f]{30}(?:\.dir)?")  # of a cache file; its folder is the first two digits
LOCK, POINTER = "dvc.lock", ".dvc"
HISTORY = ("--objects", "--branches", "--tags", "--remotes")


class Cache:
    """DVC's cache, read as plain files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "files" / "md5"

    def objects(self) -> dict[str, Path]:
        """Hash -> file of everything in it."""
        files = self.folder.glob("[0-9a-f][0-9a-f]/*")
        return {path.parent.name + path.name: path for path in files if NAME.fullmatch(path.name)}

    def with_contents(self, hashes: Iterable[str]) -> set[str]:
        """The hashes, and those of the files inside the folders among them."""
        found = set(hashes)
        for folder in [one for one in found if one.endswith(".dir")]:
            found |= self._inside(folder)
        return found

    def _inside(self, folder: str) -> set[str]:
        try:
            listing = json.loads((self.folder / folder[:2] / folder[2:]).read_text(encoding="utf-8"))
            return {str(item["md5"]) for item in listing}
        except (OSError, ValueError, KeyError, TypeError):
            return set()  # what was in it cannot be told, so nothing here counts as held by it


def needed(root: Path, folders: Iterable[Path], refs: Iterable[str]) -> set[str]:
    """Hashes that the DVC files of working trees and of branches, tags or commits mention."""
    texts = [*_texts_here([root, *folders]), *_texts_at(root, refs)]
    return set(HASH.findall("\n".join(texts)))


def _is_dvc_file(path: str) -> bool:
    return path.endswith((f"/{LOCK}", POINTER)) or path == LOCK


def _texts_here(folders: Iterable[Path]) -> Iterator[str]:
    """The DVC files of working trees as they are on disk, with Vitrine's copies of dvc.lock."""
    for folder in dict.fromkeys(folders):
        listed = fsdecode(git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard"))
        files = {folder / name for name in listed.split("\0") if _is_dvc_file(name)} | {folder / LOCK}
        for file in sorted(files | set((folder / STATE).glob("*.lock.copy"))):
            if file.is_file():
                yield file.read_text(encoding="utf-8", errors="replace")


def _texts_at(root: Path, refs: Iterable[str]) -> Iterator[str]:
    ids: set[str] = set()
    for ref in dict.fromkeys(refs):
        for line in fsdecode(git(root, "ls-tree", "-r", "-z", "--full-tree", ref)).split("\0"):
            facts, _, path = line.partition("\t")
            if _is_dvc_file(path):
                ids.add(facts.split()[2])
    yield from blobs(root, sorted(ids))


def computable(root: Path, heads: Iterable[str]) -> Iterator[str]:
    """Hashes of the outputs in every dvc.lock that any commit of a branch, tag or HEAD holds."""
    listed = fsdecode(git(root, "rev-list", *HISTORY, *heads)).splitlines()
    lines = (line.partition(" ") for line in listed)
    ids = {one for one, _, path in lines if path == LOCK or path.endswith(f"/{LOCK}")}
    for text in blobs(root, sorted(ids)):
        try:
            entries = parse_lock(text)
        except LockFileError:
            continue
        yield from (out.md5 for entry in entries.values() for out in entry.outs)
