"""dvc.lock, read as plain YAML, and DVC's cache, read as plain files.

Importing DVC costs over a second and opens the workspace; the lock file's format (schema 2.0) and the cache's
layout (``files/md5/ab/cdef...``, folders as JSON listings named ``....dir``) are small and stable.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from os import fsdecode
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from components.stage.record import STATE
from components.tracking.errors import LockFileError
from components.tracking.lineage.revision import blobs, git

HASH = re.compile(r"[0-9a-f]{32}(?:\.dir)?")
MENTIONED = re.compile(r"\b[0-9a-f]{32}(?:\.dir\b)?")
OBJECT = re.compile(r"[0-9a-f]{30}(?:\.dir)?")  # name of a cache file; its folder is the first two digits
# lock file -> what DVC puts before the names of its stages
LOCK_FILES = {"dvc.lock": "", "studies/dvc.lock": "studies/dvc.yaml:"}
LOCK, POINTER = "dvc.lock", ".dvc"
HISTORY = ("--objects", "--branches", "--tags", "--remotes")


class Output(BaseModel):
    """A dependency or output of a stage as dvc.lock states it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str
    md5: str = ""
    size: int | None = None  # bytes
    nfiles: int | None = None  # set for folders

    @property
    def name(self) -> str:
        """One spelling for a path, whether dvc.yaml writes it with a slash at its end or not."""
        return self.path.rstrip("/")


class LockEntry(BaseModel):
    """What one stage was when its outputs were made: command, parameters, hashes of all it read and wrote."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    cmd: Any = ""
    deps: tuple[Output, ...] = ()
    outs: tuple[Output, ...] = ()
    params: dict[str, Any] = {}  # file -> {dotted key: value}

    def digest(self) -> str:
        """SHA-256 of the entry, equal for equal contents."""
        return digest(self.model_dump())

    def parameters(self) -> dict[str, Any]:
        """All parameters in one mapping; keys of files other than params.yaml carry the file's name."""
        merged: dict[str, Any] = {}
        for file, values in self.params.items():
            prefix = "" if Path(file).name == "params.yaml" else f"{file}:"
            merged |= {f"{prefix}{key}": value for key, value in (values or {}).items()}
        return merged


def is_inside(path: str) -> bool:
    """Whether a relative path names something below the folder it is read from.

    Paths come from lock entries that MLflow keeps, too, where others may write them.
    """
    parts = PurePosixPath(path).parts
    return bool(parts) and ".." not in parts and not path.startswith("/") and not set("\\\0") & set(path)


def digest(value: object) -> str:
    """SHA-256 over the canonical JSON of ``value``."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def parse_lock(text: str, where: str = LOCK) -> dict[str, LockEntry]:
    """Stage name -> entry.

    Raises LockFileError: the text is no lock file (merge markers, broken YAML, wrong shape).
    """
    try:
        loaded = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
        return {name: LockEntry.model_validate(entry) for name, entry in (loaded.get("stages") or {}).items()}
    except (yaml.YAMLError, ValueError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise LockFileError(
            f"{where} cannot be read ({reason}); restore it with git, or run dvc repro again."
        ) from None


def read_lock(root: Path) -> dict[str, LockEntry]:
    """The workspace's lock entries by the stage's name as DVC exports it; {} where nothing has run yet.

    Stages of ``studies/dvc.yaml`` work in the root folder too; DVC calls them ``studies/dvc.yaml:NAME``.

    Raises LockFileError: a lock file is there but cannot be read.
    """
    found: dict[str, LockEntry] = {}
    for file, prefix in LOCK_FILES.items():
        path = root / file
        try:
            text = path.read_bytes().decode("utf-8", errors="replace")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise LockFileError(f"{path} cannot be read: {error.strerror}.") from None
        found |= {f"{prefix}{name}": entry for name, entry in parse_lock(text, str(path)).items()}
    return found


def file_md5(path: Path) -> str:
    """MD5 of a file's bytes: DVC's name for it."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest()


def tree_md5(path: Path) -> str:
    """DVC's hash of a file, or of a folder: MD5 of the JSON listing of its files, with ``.dir`` behind it."""
    if path.is_file():
        return file_md5(path)
    return listing_md5({file.relative_to(path).as_posix(): file_md5(file) for file in _files(path)})


def listing_md5(files: Mapping[str, str]) -> str:
    """DVC's hash of a folder with these files: relative path -> hash."""
    items = [{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())]
    return hashlib.md5(json.dumps(items, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def _same_size(path: Path, output: Output) -> bool:
    files = _files(path)
    same = path.is_file() or output.nfiles in (None, len(files))
    return same and output.size in (None, sum(file.stat().st_size for file in files))


def disagreement(root: Path, stage: str, entry: LockEntry, ended: float) -> str:
    """Why ``entry`` cannot belong to the execution of ``stage`` that ended then (Unix seconds); "" if it can.

    DVC writes the lock after the stage command has ended. A kill between the two leaves the entry of an
    *earlier* execution, and joining that one would give a run another run's hashes. So sizes must
    agree, and where the lock is older (DVC leaves it untouched when nothing changed) the contents too.
    """
    lock = root / next(file for file, prefix in reversed(LOCK_FILES.items()) if stage.startswith(prefix))
    older = lock.exists() and lock.stat().st_mtime < ended
    for output in entry.outs:
        path = root / output.path
        if not path.exists():  # not checked out here: nothing to compare with
            if older:
                return f"dvc.lock is older than the execution, and {output.path} is not here to compare"
        elif not _same_size(path, output) or (older and output.md5 and tree_md5(path) != output.md5):
            return f"{output.path} is not what dvc.lock says"
    return ""


def cache_folder(root: Path) -> Path:
    """DVC's cache of this workspace: ``cache.dir`` of .dvc/config.local or .dvc/config, or ``.dvc/cache``."""
    folder = root / ".dvc"
    for name in ("config.local", "config"):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read(folder / name, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        if configured := parser.get("cache", "dir", fallback=""):
            # normpath, not resolve: DVC joins as text, and the folder may be a link on purpose.
            return Path(os.path.normpath(folder / configured))
    return folder / "cache"


def cached_file(root: Path, md5: str) -> Path | None:
    """Path of the cache entry with this hash, or None when it is not here or the text is no hash."""
    if HASH.fullmatch(md5) is None:
        return None
    path = cache_folder(root) / "files" / "md5" / md5[:2] / md5[2:]
    return path if path.is_file() else None


def listing(root: Path, output: Output) -> dict[str, str]:
    """Relative path -> hash of the files of a folder; {} where the cache does not have its listing."""
    found = cached_file(root, output.md5) if output.md5.endswith(".dir") else None
    items = json.loads(found.read_text(encoding="utf-8")) if found else []
    return {item["relpath"]: item["md5"] for item in items if is_inside(item["relpath"])}


def composed(root: Path, dep: Output) -> dict[str, str]:
    """The files of a folder that several stages made, which DVC's cache has no listing of.

    Put together from the outputs below it that the lock files state; {} where that is not what ``dep`` was.
    """
    files: dict[str, str] = {}
    top = f"{dep.name}/"
    for out in (out for entry in read_lock(root).values() for out in entry.outs if out.name.startswith(top)):
        inside = out.name.removeprefix(top)
        files |= {f"{inside}/{name}": md5 for name, md5 in listing(root, out).items()} or {inside: out.md5}
    return files if listing_md5(files) == dep.md5 else {}


def located(root: Path, output: Output) -> dict[str, Path]:
    """Relative path -> a local file with exactly the recorded bytes, for one output (a folder's files apart).

    The workspace's file is taken when its hash is the recorded one, else the cache's; what is in neither is
    left out, and so is what would lie outside the workspace.
    """
    if not is_inside(output.path):
        return {}
    if output.md5.endswith(".dir"):
        found = {
            f"{output.name}/{name}": cached_file(root, md5) for name, md5 in listing(root, output).items()
        }
    else:
        path = root / output.path
        here = path.is_file() and _same_size(path, output) and file_md5(path) == output.md5
        found = {output.path: path if here else cached_file(root, output.md5)}
    return {name: file for name, file in found.items() if file}


class Cache:
    """The objects of DVC's cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "files" / "md5"

    def objects(self) -> dict[str, Path]:
        """Hash -> file of everything in it."""
        files = self.folder.glob("[0-9a-f][0-9a-f]/*")
        return {path.parent.name + path.name: path for path in files if OBJECT.fullmatch(path.name)}

    def with_contents(self, hashes: Iterable[str]) -> set[str]:
        """The hashes, and those of the files inside the folders among them, as far as they can be read."""
        found = set(hashes)
        for folder in [one for one in found if one.endswith(".dir")]:
            try:
                items = json.loads((self.folder / folder[:2] / folder[2:]).read_text(encoding="utf-8"))
                found |= {str(item["md5"]) for item in items}
            except (OSError, ValueError, KeyError, TypeError):
                continue  # what was in it cannot be told, so nothing here counts as held by it
        return found


def needed(root: Path, folders: Iterable[Path], refs: Iterable[str]) -> set[str]:
    """Hashes that the DVC files of working trees and of branches, tags or commits mention.

    The text is searched, not parsed, so a file that cannot be read as YAML keeps what it names. Of working
    trees files count as they are on disk, with Vitrine's copies of dvc.lock.
    """
    texts: list[str] = []
    for folder in dict.fromkeys([root, *folders]):
        listed = fsdecode(git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard"))
        files = {folder / name for name in listed.split("\0") if _is_dvc_file(name)} | {folder / LOCK}
        files |= set((folder / STATE).glob("*.lock.copy"))
        texts += [file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file()]
    ids: set[str] = set()
    for ref in dict.fromkeys(refs):
        for line in fsdecode(git(root, "ls-tree", "-r", "-z", "--full-tree", ref)).split("\0"):
            facts, _, path = line.partition("\t")
            if _is_dvc_file(path):
                ids.add(facts.split()[2])
    return set(MENTIONED.findall("\n".join([*texts, *blobs(root, sorted(ids))])))


def _is_dvc_file(path: str) -> bool:
    return path.endswith((f"/{LOCK}", POINTER)) or path == LOCK


def computable(root: Path, heads: Iterable[str]) -> Iterator[str]:
    """Hashes of the outputs in every dvc.lock that any commit of a branch, tag or HEAD holds.

    They can be computed again; imported data, of which only a .dvc file tells, cannot.
    """
    lines = (line.partition(" ") for line in fsdecode(git(root, "rev-list", *HISTORY, *heads)).splitlines())
    ids = {one for one, _, path in lines if path == LOCK or path.endswith(f"/{LOCK}")}
    for text in blobs(root, sorted(ids)):
        try:
            yield from (out.md5 for entry in parse_lock(text).values() for out in entry.outs)
        except LockFileError:
            continue
