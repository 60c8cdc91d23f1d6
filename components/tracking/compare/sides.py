"""One side of a comparison: figures, parameters, data and code of a profile, a commit or the workspace."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components.stage.files.publish import write_text
from components.stage.record import STATE, Interval
from components.stage.resume import sha256_file
from components.tracking.errors import UnknownReferenceError
from components.tracking.lineage.lockfile import LOCK_FILES, LockEntry, Output, located, parse_lock, read_lock
from components.tracking.lineage.repair import held
from components.tracking.lineage.revision import file_at, files_at, resolve_commit, revision
from components.tracking.publish.datasets import CHECKED, checked_files
from components.tracking.publish.figures import number
from components.tracking.publish.run_content import clean_key, flattened, is_code
from components.tracking.store import catalogue_of, profile_of

PER_QUERY = "results/per_query/"
NAMED = 12  # stages in a note
Fetch = Callable[[Output], Mapping[str, bytes]]  # files of an output that are here: path -> contents
Key = tuple[str, str, str]  # table (stem of the metrics file), variant, metric


@dataclass
class Side:
    """What is compared. ``notes`` say what of it could not be read."""

    name: str
    kind: str  # run | model | profile | commit | workspace
    catalogue: str = ""  # the profile whose products these are; "" unknown
    commit: str = ""  # of the code; "" unknown
    dirty: bool | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)  # path -> DVC's hash
    code: dict[str, str] = field(default_factory=dict)  # file or folder that a stage runs -> DVC's hash
    metrics: dict[Key, Interval] = field(default_factory=dict)
    per_query: dict[str, bytes] = field(default_factory=dict)  # path under results/per_query -> Parquet
    products: dict[str, Path] = field(default_factory=dict)  # files of data/checked that are here
    queries: str = ""  # hash of the queries behind ``per_query``, "" unknown
    entries: dict[str, str] = field(default_factory=dict)  # stage -> digest of its lock entry
    runs: tuple[str, ...] = ()  # ids of MLflow runs that a page about this side belongs to
    notes: list[str] = field(default_factory=list)

    def product_file(self, name: str) -> str:
        """DVC's hash of a file of the checked catalogue: its name in the cache; "" where it is not here."""
        path = self.products.get(name)
        return f"{path.parent.name}{path.name}" if path else ""


def from_lock(root: Path, side: Side, lock: Mapping[str, LockEntry], fetch: Fetch) -> Side:
    """Add all that lock entries state; ``fetch`` gives the files of an output that are here."""
    kept = _consistent(lock)
    if stale := [stage for stage in lock if stage not in kept]:
        named = ", ".join(stale[:NAMED]) + (f" and {len(stale) - NAMED} more" if len(stale) > NAMED else "")
        side.notes.append(f"{side.name}: left out, for their inputs have changed since: {named}.")
    for stage, entry in kept.items():
        side.entries[stage] = entry.digest()
        side.parameters |= {clean_key(k): v for k, v in flattened(entry.parameters()).items()}
        for item in entry.deps:  # code is a module or a component's folder
            code = is_code(item.path) or item.path.startswith("components/")
            (side.code if code else side.data)[item.name] = item.md5
        for out in entry.outs:
            side.data[out.name] = out.md5
            if out.path.startswith("metrics/") and out.path.endswith(".json"):
                for path, raw in fetch(out).items():
                    take_figures(side, path, raw)
            elif f"{out.path}/".startswith(PER_QUERY):
                rows = {path: raw for path, raw in fetch(out).items() if path.endswith(".parquet")}
                side.per_query |= {path.removeprefix(PER_QUERY): raw for path, raw in rows.items()}
    side.catalogue = side.parameters.get("report.profile", side.catalogue)
    checked = Output(path=CHECKED, md5=side.data.get(CHECKED, ""))
    side.products = checked_files(root, LockEntry(deps=(checked,)))
    side.queries = side.product_file("queries.parquet")
    return side


def _consistent(lock: Mapping[str, LockEntry]) -> dict[str, LockEntry]:
    """Entries that fit together.

    A worktree begins with the lock of the branch it was made from: what has not run since is of that
    branch's catalogue. Such an entry, or one that reads what such an entry made, names other hashes of its
    inputs than the stages have that make them now.
    """
    made = {out.name: (stage, out.md5) for stage, entry in lock.items() for out in entry.outs}
    kept = dict(lock)

    def _changed(dep: Output) -> bool:
        stage, md5 = made.get(dep.name, ("", dep.md5))
        return md5 != dep.md5 or bool(stage and stage not in kept)

    while stale := [stage for stage, entry in kept.items() if any(map(_changed, entry.deps))]:
        for stage in stale:
            del kept[stage]
    return kept


def take_figures(side: Side, path: str, raw: bytes | str) -> None:
    """Add the figures of a metrics file; flat files (the headline repeats others) have none.

    What is no number (NaN, null) is no figure; how many there are is noted, and so is broken JSON.
    """
    try:
        found = figures_in(raw)
    except ValueError:
        side.notes.append(f"{side.name}: {path} is not valid JSON, so its figures are missing.")
        return
    side.metrics |= {(Path(path).stem, *key): cell for key, cell in found.items() if cell is not None}
    if undefined := list(found.values()).count(None):
        side.notes.append(f"{side.name}: {undefined:,} figures of {path} are undefined (NaN or null).")


def figures_in(raw: bytes | str) -> dict[tuple[str, str], Interval | None]:
    """(variant, metric) -> figure of a metrics file; None for one that is no number.

    Raises ValueError: the file is no JSON.
    """
    loaded = json.loads(raw)
    return {
        (variant, metric): _interval(cell)
        for variant, row in (loaded.items() if isinstance(loaded, dict) else ())
        if isinstance(row, dict) and not variant.startswith("_")
        for metric, cell in row.items()
        if isinstance(cell, dict) and "value" in cell
    }


def _interval(cell: Mapping[str, Any]) -> Interval | None:
    value, low, high = (number(cell.get(name)) for name in ("value", "low", "high"))
    n = cell["n"] if isinstance(cell.get("n"), int) else 0
    return None if value is None else Interval(value=value, low=low, high=high, n=n)


def local(root: Path) -> Fetch:
    """Reads outputs of this workspace and of its DVC cache."""
    return lambda output: {path: file.read_bytes() for path, file in located(root, output).items()}


def workspace_side(root: Path, name: str) -> Side:
    """The workspace as it is."""
    code = revision(root)
    side = Side(name, "workspace", catalogue_of(root, {}), code.commit, code.dirty)
    return from_lock(root, side, read_lock(root), local(root))


def commit_side(root: Path, name: str, commit: str) -> Side:
    """What was committed: dvc.lock, metrics, and what DVC's cache has of the rest.

    Raises UnknownReferenceError: no results were committed there.
    """

    def _fetch(output: Output) -> Mapping[str, bytes]:
        committed = file_at(root, commit, output.path) if output.path.startswith("metrics/") else None
        return local(root)(output) if committed is None else {output.path: committed.encode()}

    lock = lock_at(root, commit)
    report = _mapping(file_at(root, commit, "params.yaml") or "").get("report")
    catalogue = str(report.get("profile") or "") if isinstance(report, dict) else ""
    side = from_lock(root, Side(name, "commit", catalogue, commit, False), lock, _fetch)
    stated = {key[0] for key in side.metrics}
    for path in files_at(root, commit, "metrics"):
        text = file_at(root, commit, path)
        if text and path.endswith(".json") and Path(path).stem not in stated:
            take_figures(side, path, text)
    if not lock and not side.metrics:
        raise UnknownReferenceError(
            f"Commit '{name}' has neither dvc.lock nor metrics/: no results were committed there."
        )
    return side


def lock_at(root: Path, commit: str) -> dict[str, LockEntry]:
    """The lock entries of a commit, as ``read_lock`` gives the workspace's."""
    found: dict[str, LockEntry] = {}
    for file, prefix in LOCK_FILES.items():
        entries = parse_lock(file_at(root, commit, file) or "", f"{file} at {commit[:12]}")
        found |= {prefix + name: entry for name, entry in entries.items()}
    return found


def profile_side(root: Path, name: str) -> Side | None:
    """A profile as its worktree has it, also while it runs; else its kept results with its branch's lock."""
    if Path(name).name != name or name in ("", "..", "per_query", "compare"):
        return None
    worktree, kept = root / STATE / "work" / name, root / "results" / name
    files = sorted(path for path in kept.glob("*.json") if path.name != "run.json")
    here = profile_of(root, {}) == name
    side = Side(name, "profile", name, *_kept_code(kept))
    if lock := read_lock(worktree) if (worktree / "dvc.yaml").is_file() else {}:
        if not side.commit:
            code = revision(worktree)
            side.commit, side.dirty = code.commit, code.dirty
        side.catalogue = catalogue_of(worktree, {}) or name
        from_lock(worktree, side, lock, local(worktree))
        own = root / STATE / "locks" / f"run-{name}"
        with held(own) if own.exists() else nullcontext(True) as free:
            if not free:
                side.notes.append(f"{name} is running: figures are of the stages that have finished.")
    elif files:
        branch = resolve_commit(root, f"refs/heads/profile/{name}")
        lock = (lock_at(root, branch) if branch else {}) or (read_lock(root) if here else {})
        from_lock(root, side, lock, local(root))
    elif here and read_lock(root):
        return workspace_side(root, name)
    for path in files if not side.metrics else ():
        take_figures(side, path.name, path.read_text(encoding="utf-8"))
    if not side.parameters and (conf := root / "conf" / f"{name}.yaml").is_file():
        side.parameters = flattened(_mapping(conf.read_text(encoding="utf-8")))
    return side if side.metrics or side.data else None


def _kept_code(kept: Path) -> tuple[str, bool | None]:
    """Commit and state of the code that a profile's kept results came from."""
    try:
        facts = json.loads((kept / "run.json").read_text(encoding="utf-8"))
        return str(facts.get("commit") or ""), facts.get("dirty")
    except (OSError, ValueError, AttributeError):
        return "", None


def _mapping(text: str) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


def keep_results(root: Path, work: Path, profile: str) -> Path:
    """Copy the metrics of a profile's worktree to ``results/<profile>/`` of ``root``; returns that folder.

    ``run.json`` says what they were computed from: commit, whether the code differed from it, and the hashes
    of parameters and dvc.lock. No clock, no host.
    """
    folder = root / "results" / profile
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted((work / "metrics").glob("*.json"))
    for stale in set(folder.glob("*.json")) - {folder / path.name for path in found}:
        stale.unlink()
    for path in found:
        write_text(folder / path.name, path.read_text(encoding="utf-8"))
    code = revision(root)
    facts = {"profile": profile, "commit": code.commit, "dirty": code.dirty}
    for name, file in (("params_sha256", "params.yaml"), ("lock_sha256", "dvc.lock")):
        facts[name] = sha256_file(work / file) if (work / file).exists() else ""
    write_text(folder / "run.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return folder
