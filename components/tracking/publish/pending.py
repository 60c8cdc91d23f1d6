"""What waits to be recorded, as small files under ``.vitrine/``: a tracker that is down loses nothing.

::

    records/<stage>/<id>.json     written by stages (components.stage.record)
    joined/<id>.json              what a record belongs to, fixed at first sight: code, lock entry, pipeline
    links/<key>.json              cached stages of a pipeline run, until they are written into MLflow
    pipelines/<key>.json          the code a pipeline run started from
    published/<store>/<id>.json   the MLflow run of a record, one folder per tracking store
    open/<store>/<key>.json       a pipeline run that is not ended in MLflow yet

Nothing here imports MLflow: a run with nothing to record must not wait for its import.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from components.stage.files.publish import write_text
from components.stage.record import STATE, Record
from components.tracking.lineage.lockfile import LockEntry, digest, disagreement, read_lock
from components.tracking.lineage.revision import Revision, revision, uncommitted
from components.tracking.store import Store, catalogue_of, profile_of, store_of

DIFF_BYTES = 500_000  # of an uncommitted diff that is kept


class Origin(BaseModel):
    """The pipeline run that something belongs to, and what that was made from."""

    model_config = ConfigDict(frozen=True)

    pipeline: str  # id of the pipeline run, or of the group a bare `dvc repro` gets
    code: Revision
    profile: str
    catalogue: str
    prefect_run: str = ""


class Join(Origin):
    """Where a record belongs; fixed at first sight, for dvc.lock and git move on meanwhile."""

    record: str
    stage: str
    status: str
    started: float  # Unix time, seconds
    seconds: float
    entry: LockEntry | None = None  # None: no lock entry belongs to this execution
    reason: str = ""  # why there is none


class Links(Origin):
    """Stages a pipeline run found cached: stage -> digest of their lock entry."""

    stages: dict[str, str]


class Pipeline(Origin):
    """What a pipeline run started from."""

    changed: dict[str, str] = {}  # parameters that differ from their defaults
    diff: str = ""  # what was not committed


class OpenedRun(BaseModel):
    """A pipeline run that a sync has begun or gone on with, and has to end in MLflow."""

    pipeline: str
    run_id: str


M = TypeVar("M", bound=BaseModel)


def key_of(pipeline: str) -> str:
    """File name of a pipeline run: ids come from outside and may hold any character."""
    return hashlib.sha256(pipeline.encode()).hexdigest()[:24]


def read_state(path: Path, model: type[M]) -> M | None:
    """What was written down as ``model``; None where nothing, or nothing of that form, is."""
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _write(path: Path, value: BaseModel) -> None:
    write_text(path, json.dumps(value.model_dump(), indent=1, sort_keys=True))


def record_files(root: Path) -> list[Path]:
    """All records of the workspace (stages of other dvc.yaml files have folders of their own)."""
    return sorted((root / STATE / "records").rglob("*.json"))


def marks(root: Path, store: Store) -> Path:
    """Folder that names the records already published to ``store``."""
    return root / STATE / "published" / store.key


def mark(root: Path, store: Store, record: str, run_id: str) -> None:
    """Note that ``store`` holds the record as run ``run_id``."""
    write_text(marks(root, store) / f"{record}.json", json.dumps({"run_id": run_id}))


def _opened(root: Path, store: Store, pipeline: str) -> Path:
    return root / STATE / "open" / store.key / f"{key_of(pipeline)}.json"


def note_opened(root: Path, store: Store, pipeline: str, run_id: str) -> None:
    """Note, before its stages are written, that a pipeline run has to be ended."""
    _write(_opened(root, store, pipeline), OpenedRun(pipeline=pipeline, run_id=run_id))


def note_ended(root: Path, store: Store, pipeline: str) -> None:
    """Note that a pipeline run is ended in MLflow."""
    _opened(root, store, pipeline).unlink(missing_ok=True)


def opened(root: Path, store: Store) -> dict[str, str]:
    """Pipeline run -> its MLflow run, of those that a killed sync has left open."""
    paths = [] if store.missing() else sorted(_opened(root, store, "").parent.glob("*.json"))
    found = (read_state(path, OpenedRun) for path in paths)
    return {one.pipeline: one.run_id for one in found if one is not None}


def unpublished(root: Path, store: Store) -> list[Path]:
    """Records of the workspace that ``store`` does not hold yet; a store that was deleted holds none."""
    done = set() if store.missing() else {path.name for path in marks(root, store).glob("*.json")}
    return [path for path in record_files(root) if path.name not in done]


def pending(root: Path) -> bool:
    """Is there anything that MLflow does not hold yet? Costs milliseconds; never imports MLflow."""
    root = root.resolve()
    store = store_of(root)
    waits = unpublished(root, store) or opened(root, store)
    return bool(waits) or any((root / STATE / "links").glob("*.json"))


def load_records(paths: list[Path]) -> tuple[list[Record], list[str]]:
    """Read records, oldest first; a broken one is set aside as ``.broken``, with a warning."""
    records, warnings = [], []
    for path in paths:
        record = read_state(path, Record)
        if record is not None and record.id == path.stem:
            records.append(record)
        elif path.exists():
            path.replace(path.with_suffix(".broken"))
            warnings.append(f"{path} is not a valid record; it was set aside as {path.stem}.broken.")
    return sorted(records, key=lambda record: (record.started, record.id)), warnings


def start_pipeline(root: Path, pipeline: str, changed: Mapping[str, str] | None = None) -> None:
    """Note what a pipeline run starts from; later edits then do not make its runs look dirty.

    ``changed`` are the parameters that differ from their defaults.
    """
    root = root.resolve()
    path = root / STATE / "pipelines" / f"{key_of(pipeline)}.json"
    if not path.exists():
        diff = uncommitted(root, DIFF_BYTES)
        _write(path, _now(root, pipeline).model_copy(update={"changed": dict(changed or {}), "diff": diff}))


def started(root: Path, pipeline: str) -> Pipeline | None:
    """What a pipeline run started from; None where nobody noted it (a bare ``dvc repro``)."""
    return read_state(root / STATE / "pipelines" / f"{key_of(pipeline)}.json", Pipeline) if pipeline else None


def _now(root: Path, pipeline: str) -> Pipeline:
    found = {"profile": profile_of(root), "catalogue": catalogue_of(root)}
    return Pipeline(pipeline=pipeline, code=revision(root), **found)


def _joins(root: Path) -> dict[str, Join]:
    """All joins made so far, by record id."""
    found = (read_state(path, Join) for path in (root / STATE / "joined").glob("*.json"))
    return {join.record: join for join in found if join is not None}


def join_records(root: Path, records: list[Record]) -> dict[str, Join]:
    """Fix what each record belongs to, and return all joins known.

    Only the newest finished execution of a stage can own the lock entry that stands in dvc.lock now.

    Raises LockFileError: dvc.lock cannot be read; nothing is fixed then.
    """
    known = _joins(root)
    new = [record for record in records if record.id not in known]
    if not new:
        return known
    lock = read_lock(root)
    group = digest({name: entry.digest() for name, entry in lock.items()}) if lock else "none"
    now = _now(root, "")
    bare = f"repro-{now.code.commit[:12] or 'nogit'}-{group[:12]}"
    newest: dict[str, float] = {}
    executions: list[Join | Record] = [*known.values(), *new]
    for item in executions:
        if item.status == "finished":
            newest[item.stage] = max(newest.get(item.stage, 0.0), item.started)
    for record in new:
        entry, reason = lock.get(record.stage), ""
        if record.status != "finished":
            reason = "the stage did not finish"
        elif entry is None:
            reason = "dvc.lock has no entry of this stage"
        elif record.started < newest[record.stage]:
            reason = "a later execution owns the entry in dvc.lock"
        else:
            reason = disagreement(root, record.stage, entry, record.started + record.seconds)
        facts = (started(root, record.parent) or now).model_dump(include={"code", "profile", "catalogue"})
        facts |= record.model_dump(include={"stage", "status", "started", "seconds", "prefect_run"})
        facts |= {"pipeline": record.parent or bare, "entry": None if reason else entry, "reason": reason}
        known[record.id] = Join(record=record.id, **facts)
        _write(root / STATE / "joined" / f"{record.id}.json", known[record.id])
    return known


def _executed(root: Path, pipeline: str) -> bool:
    """Did the pipeline run execute any stage? Records without a join are read first, then the joins."""
    folder = root / STATE / "joined"
    fresh = (read_state(path, Record) for path in record_files(root) if not (folder / path.name).exists())
    if any(record is not None and record.parent == pipeline for record in fresh):
        return True
    return any(join.pipeline == pipeline for join in _joins(root).values())


def link_cached(root: Path, parent: str, stages: list[str]) -> None:
    """Queue links from pipeline run ``parent`` to the runs that made its cached stages.

    A pipeline run that executed nothing is not recorded, and nothing is queued.
    Call it when the stages have run and before ``publish``. Stages without a lock entry are left out.

    Raises LockFileError: dvc.lock cannot be read.
    """
    root = root.resolve()
    if not stages or not _executed(root, parent):
        return
    lock = read_lock(root)
    origin = started(root, parent) or _now(root, parent)
    found = {stage: lock[stage].digest() for stage in stages if stage in lock}
    links = Links(**origin.model_dump(exclude={"changed", "diff"}), stages=found)
    _write(root / STATE / "links" / f"{key_of(parent)}.json", links)


def queued_links(root: Path) -> dict[Path, Links]:
    """Links that wait, by the file that holds them; a broken file is removed (links can be made again)."""
    found: dict[Path, Links] = {}
    for path in sorted((root / STATE / "links").glob("*.json")):
        if links := read_state(path, Links):
            found[path] = links
        else:
            path.unlink(missing_ok=True)
    return found
