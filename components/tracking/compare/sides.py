"""One side of a comparison: figures, parameters and data of a run, a profile or a commit."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components.stage.record import Interval
from components.tracking.errors import UnknownReferenceError
from components.tracking.lineage.lockfile import (
    LockEntry,
    Output,
    cached_file,
    located,
    parse_lock,
    read_lock,
)
from components.tracking.lineage.revision import file_at, files_at, resolve_commit
from components.tracking.publish.publish import tracking_params
from components.tracking.publish.run_content import clean_key, flattened, is_code
from components.tracking.publish.runs import Runs
from components.tracking.store import profile_of, store_of

PER_QUERY = "results/per_query/"
QUERIES = "data/checked"
Fetch = Callable[[Output], bytes | None]
Key = tuple[str, str, str]  # table (stem of the metrics file), variant, metric


@dataclass
class Side:
    """What is compared; ``queries`` is the hash of the queries behind ``per_query``, "" if unknown."""

    name: str
    kind: str  # run | profile | commit | workspace
    parameters: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)  # path -> DVC's hash
    metrics: dict[Key, Interval] = field(default_factory=dict)
    per_query: dict[str, bytes] = field(default_factory=dict)  # name -> Parquet bytes
    queries: str = ""


def side_of(root: Path, name: str) -> Side:
    """Find what ``name`` means: ``.`` (the workspace), a profile, a git branch or commit, or a run.

    ``profile:X``, ``git:X`` and ``run:X`` say which is meant where a name could be several.

    Raises:
        UnknownReferenceError: nothing has this name, or several runs begin with it.
        TrackerUnavailableError: only a run can be meant, and the store does not answer.
    """
    kind, _, bare = name.partition(":")
    if kind not in ("profile", "git", "run"):
        kind, bare = "", name
    if name == ".":
        return _workspace(root, name)
    if kind in ("", "profile") and (side := _profile(root, bare)):
        return side
    if kind in ("", "git") and (commit := resolve_commit(root, bare)):
        return _commit(root, bare, commit)
    if kind in ("", "run"):
        return _run(root, bare)
    raise UnknownReferenceError(
        f"There is no {'profile' if kind == 'profile' else 'commit or branch'} '{bare}' here."
    )


def from_lock(root: Path, name: str, kind: str, lock: Mapping[str, LockEntry], fetch: Fetch) -> Side:
    """All that a lock file states; ``fetch`` gives a file's contents, or None when it is not here."""
    side = Side(name, kind)
    for entry in lock.values():
        side.parameters |= {clean_key(k): v for k, v in flattened(entry.parameters()).items()}
        for item in (*entry.outs, *(dep for dep in entry.deps if not is_code(dep.path))):
            side.data[item.path.rstrip("/")] = item.md5
        for out in entry.outs:
            _take(side, out, fetch)
    side.queries = _queries(root, side.data.get(QUERIES, ""))
    return side


def _take(side: Side, out: Output, fetch: Fetch) -> None:
    stem = Path(out.path).stem
    if out.path.startswith("metrics/") and out.path.endswith(".json") and (found := fetch(out)):
        side.metrics |= figures_of(stem, found)
    if out.path.startswith(PER_QUERY) and out.path.endswith(".parquet") and (found := fetch(out)):
        side.per_query[stem] = found


def figures_of(table: str, raw: bytes | str) -> dict[Key, Interval]:
    """Figures of one metrics file; flat files (the headline repeats others) and broken JSON give none."""
    try:
        loaded = json.loads(raw)
    except ValueError:
        return {}
    found: dict[Key, Interval] = {}
    for variant, metrics in loaded.items() if isinstance(loaded, dict) else ():
        if variant.startswith("_") or not isinstance(metrics, dict):
            continue
        for metric, value in metrics.items():
            if isinstance(value, dict) and isinstance(value.get("value"), int | float):
                found[table, variant, metric] = Interval.model_validate({"n": 0} | value)
    return found


def _queries(root: Path, md5: str) -> str:
    """Hash of queries.parquet in a catalogue folder of this hash, from the cache's listing of the folder."""
    listing = cached_file(root, md5) if md5.endswith(".dir") else None
    if listing is None:
        return ""
    items = json.loads(listing.read_text(encoding="utf-8"))
    return next((str(item["md5"]) for item in items if item["relpath"] == "queries.parquet"), "")


def _local(root: Path) -> Fetch:
    def _fetch(output: Output) -> bytes | None:
        path = located(root, output).get(output.path)
        return path.read_bytes() if path else None

    return _fetch


def _workspace(root: Path, name: str) -> Side:
    return from_lock(root, name, "workspace", read_lock(root), _local(root))


def _commit(root: Path, name: str, commit: str) -> Side:
    local = _local(root)

    def _fetch(output: Output) -> bytes | None:
        committed = file_at(root, commit, output.path) if output.path.startswith("metrics/") else None
        return local(output) if committed is None else committed.encode()

    lock = _lock_at(root, commit)
    side = from_lock(root, name, "commit", lock, _fetch)
    for path in files_at(root, commit, "metrics"):
        text = file_at(root, commit, path)
        side.metrics |= figures_of(Path(path).stem, text) if text and path.endswith(".json") else {}
    if not lock and not side.metrics:
        raise UnknownReferenceError(
            f"Commit '{name}' has neither dvc.lock nor metrics/: no results were committed there."
        )
    return side


def _lock_at(root: Path, commit: str) -> dict[str, LockEntry]:
    text = file_at(root, commit, "dvc.lock")
    return parse_lock(text, f"dvc.lock at {commit[:12]}") if text else {}


def _profile(root: Path, name: str) -> Side | None:
    """Results of a profile: ``results/<name>/*.json`` with the lock of its worktree, branch or this one."""
    if Path(name).name != name or name in ("", "..", "per_query"):
        return None
    files = sorted((root / "results" / name).glob("*.json"))
    here = profile_of(root, {}) == name
    if not files:
        return _workspace(root, name) if here and read_lock(root) else None
    worktree, branch = root / ".vitrine" / "work" / name, resolve_commit(root, f"profile/{name}")
    lock = (
        read_lock(worktree) or (_lock_at(root, branch) if branch else {}) or (read_lock(root) if here else {})
    )
    side = from_lock(root, name, "profile", lock, _local(root))
    side.kind = "profile"
    for path in files:
        side.metrics |= figures_of(path.stem, path.read_text(encoding="utf-8"))
    if not side.parameters and (root / "conf" / f"{name}.yaml").exists():
        side.parameters = flattened(
            yaml.safe_load((root / "conf" / f"{name}.yaml").read_text(encoding="utf-8")) or {}
        )
    return side


def _run(root: Path, name: str) -> Side:
    """A pipeline run with all its stages, cached ones too, or a single stage's run."""
    runs = Runs.open(store_of(root), tracking_params(root).experiment)
    run = runs.named(name)
    members = runs.members(run)
    lock, loose = {}, Side(name, "run")
    with tempfile.TemporaryDirectory(prefix="vitrine-") as folder:
        sources: dict[str, Any] = {}
        for member in members:
            entry = runs.lock_entry(member, Path(folder))
            if entry:
                lock[member.data.tags["vitrine.stage"]] = entry
                sources |= {out.path: member for out in entry.outs}
            else:  # a stage that failed has no hashes, but parameters and figures
                loose.parameters |= member.data.params
        local = _local(root)

        def _fetch(output: Output) -> bytes | None:
            return local(output) or runs.file(sources[output.path], output.path, Path(folder))

        side = from_lock(root, f"{name}", "run", lock, _fetch)
    side.parameters = loose.parameters | side.parameters
    return side
