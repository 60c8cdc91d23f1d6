"""Objects of DVC's cache that nothing needs, and which of those could be had again.

Needed is every hash that the DVC files of a working tree, a branch or a tag mention: the text is searched,
not parsed, so a file that cannot be read as YAML keeps what it names. What is not needed can be had again if
a remote holds it, or if a commit says how to compute it (the outputs of a dvc.lock; imported data, of which
only a .dvc file tells, cannot be computed).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from components.stage.record import STATE
from components.tracking.errors import LockFileError
from components.tracking.lineage.lockfile import parse_lock
from flows.overrides import Worktree
from flows.profiles import cache_folder
from flows.workspace import blobs, git

HASH = re.compile(r"\b[0-9a-f]{32}(?:\.dir\b)?")
NAME = re.compile(r"[0-9a-f]{30}(?:\.dir)?")  # of a cache file; its folder is the first two digits
LOCK, POINTER = "dvc.lock", ".dvc"
HISTORY = ("--objects", "--branches", "--tags", "--remotes")


@dataclass(frozen=True)
class Unused:
    """Files of the cache that nothing needs."""

    in_remote: tuple[Path, ...] = ()
    in_commit: tuple[Path, ...] = ()  # a commit says how to compute them
    nowhere: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()  # remotes that did not answer


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


def unused(root: Path, trees: Collection[Worktree], freed: Collection[str]) -> Unused:
    """Sort what the cache holds and nothing needs.

    Args:
        trees: working trees that stay; their files and HEADs count.
        freed: full names of branches that need no data.
    """
    cache = Cache(cache_folder(root))
    objects = cache.objects()
    texts = [
        *_texts_here([root, *(tree.path for tree in trees)]),
        *_texts_at(root, _refs(root, trees, freed)),
    ]
    loose = objects.keys() - cache.with_contents(HASH.findall("\n".join(texts)))
    if not loose:
        return Unused()
    remote, notes = in_remotes(root, loose, cache.folder)
    commit = cache.with_contents(_computable(root, _heads(trees))) & (loose - remote)
    groups = (remote, commit, loose - remote - commit)
    in_remote, in_commit, nowhere = (tuple(objects[one] for one in sorted(group)) for group in groups)
    return Unused(in_remote, in_commit, nowhere, tuple(notes))


def _is_dvc_file(path: str) -> bool:
    return path.endswith((f"/{LOCK}", POINTER)) or path == LOCK


def _texts_here(folders: Iterable[Path]) -> Iterator[str]:
    """The DVC files of working trees as they are on disk, with Vitrine's copies of dvc.lock."""
    for folder in dict.fromkeys(folders):
        listed = git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        files = {folder / name for name in listed if _is_dvc_file(name)} | {folder / LOCK}
        for file in sorted(files | set((folder / STATE).glob("*.lock.copy"))):
            if file.is_file():
                yield file.read_text(encoding="utf-8", errors="replace")


def _refs(root: Path, trees: Iterable[Worktree], freed: Collection[str]) -> list[str]:
    """Branches, tags and HEADs whose data are needed."""
    form = "--format=%(refname) %(objecttype)%(*objecttype)"
    listed = (
        line.split(" ") for line in git(root, "for-each-ref", form, "refs/heads", "refs/tags").splitlines()
    )
    named = [ref for ref, kind in listed if ref not in freed and kind.endswith(("commit", "tree"))]
    return [*named, *_heads(trees)]


def _heads(trees: Iterable[Worktree]) -> list[str]:
    """Commits that working trees stand on; a new repository has none, which git tells as zeros."""
    return [tree.head for tree in trees if tree.head.strip("0")]


def _texts_at(root: Path, refs: Iterable[str]) -> Iterator[str]:
    ids: set[str] = set()
    for ref in dict.fromkeys(refs):
        for line in git(root, "ls-tree", "-r", "-z", "--full-tree", ref).split("\0"):
            facts, _, path = line.partition("\t")
            if _is_dvc_file(path):
                ids.add(facts.split()[2])
    for text in blobs(root, sorted(ids)):
        yield text.decode("utf-8", errors="replace")


def _computable(root: Path, heads: Iterable[str]) -> Iterator[str]:
    """Hashes of the outputs in every dvc.lock that any commit of a branch, tag or HEAD holds."""
    lines = (line.partition(" ") for line in git(root, "rev-list", *HISTORY, *heads).splitlines())
    ids = {one for one, _, path in lines if path == LOCK or path.endswith(f"/{LOCK}")}
    for text in blobs(root, sorted(ids)):
        try:
            entries = parse_lock(text.decode("utf-8", errors="replace"))
        except LockFileError:
            continue
        yield from (out.md5 for entry in entries.values() for out in entry.outs)


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
            except (
                Exception
            ) as error:  # whatever a remote throws, it only means that nothing is known to be there
                reason = " ".join(str(error).split())[:200]
                notes.append(f"The DVC remote '{name}' could not be asked ({reason}).")
    return found, notes
