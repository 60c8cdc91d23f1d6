"""Sides that MLflow knows: runs, model versions, aliases and logged models; and pages logged beside them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from components.stage.record import Interval
from components.tracking.compare.sides import Side, from_lock, local
from components.tracking.errors import UnknownReferenceError
from components.tracking.faults import explained
from components.tracking.lineage.lockfile import LockEntry, Output
from components.tracking.publish.publish import tracking_params
from components.tracking.publish.runs import Runs
from components.tracking.registry.names import existing_name, registry_call
from components.tracking.store import catalogue_of, store_of

MODEL = re.compile(r"(?:models:/)?(?P<name>.+?)(?:@(?P<alias>[^@/]+)|/(?P<version>\d+))")
LOGGED = re.compile(r"(?:models:/)?(?P<id>m-[0-9a-f]{32})")
FOLDER = "compare"  # of a run's artifacts, that holds pages about it


def recorded_side(root: Path, name: str, kind: str = "") -> Side:
    """The side of a run (its id, the start of it, or a pipeline's id) or of a model; ``kind`` says which.

    Raises:
        UnknownReferenceError: MLflow has neither, several runs fit, or the run was deleted.
        TrackerUnavailableError: the store does not answer.
    """
    store = store_of(root)
    runs = Runs.open(store, tracking_params(root).experiment)
    with registry_call(f"'{name}' cannot be read"), explained(store):
        if kind in ("", "model") and (logged := LOGGED.fullmatch(name)):
            model = runs.client.get_logged_model(logged["id"])
            return _model_side(root, runs, name, model.source_run_id)
        if kind in ("", "model") and (found := MODEL.fullmatch(name)):
            return _model_side(root, runs, name, _version(root, runs, **found.groupdict()).run_id)
        if kind == "model":
            raise UnknownReferenceError(
                f"'{name}' is no model: give NAME@ALIAS, NAME/VERSION, or the id of a logged model (m-...)."
            )
        run = runs.named(name)  # a pipeline run with all its stages, cached ones too, or a single stage's run
        return _filled(root, runs, Side(name, "run"), run, runs.members(run))


def _version(root: Path, runs: Runs, name: str, alias: str | None, version: str | None) -> Any:
    name = existing_name(runs.client, tracking_params(root), catalogue_of(root), name)
    if alias:
        return runs.client.get_model_version_by_alias(name, alias)
    return runs.client.get_model_version(name, version)


def _model_side(root: Path, runs: Runs, name: str, run_id: str | None) -> Side:
    """A model: the run that made it, and the newest run of each stage that read exactly these bytes."""
    run = runs.get(run_id or "-")
    if run is None or run.info.lifecycle_stage == "deleted":
        raise UnknownReferenceError(
            f"The run that made {name} is not in MLflow any more (id {run_id or 'unknown'}): restore it, or "
            "register the model again."
        )
    stages = {run.data.tags.get("vitrine.stage", run_id): run}
    for key, md5 in run.data.tags.items():
        if key.startswith("vitrine.out.models/"):
            readers = runs.search(f"tags.`vitrine.dep.{key.removeprefix('vitrine.out.')}` = '{md5}'")
            stages |= {reader.data.tags.get("vitrine.stage", ""): reader for reader in readers}
    return _filled(root, runs, Side(name, "model"), run, list(stages.values()))


def _filled(root: Path, runs: Runs, side: Side, run: Any, members: list[Any]) -> Side:
    tags = run.data.tags
    side.commit = tags.get("vitrine.git_commit", "")
    side.dirty = {"true": True, "false": False}.get(tags.get("vitrine.dirty", ""))
    side.catalogue = tags.get("vitrine.catalogue", "")
    side.runs = (str(run.info.run_id),)
    lock, loose = {}, {}
    with tempfile.TemporaryDirectory(prefix="vitrine-") as temporary:
        folder = Path(temporary)
        sources: dict[str, Any] = {}
        for member in members:
            entry = runs.lock_entry(member, folder)
            if entry:
                lock[member.data.tags["vitrine.stage"]] = entry
                sources |= {out.path: member for out in entry.outs}
            else:  # a stage that failed has no hashes, but parameters and figures
                loose.update(member.data.params)
        held = local(root)

        def _fetch(output: Output) -> Mapping[str, bytes]:
            return held(output) or _artifacts(runs, sources[output.path], output.path, folder)

        from_lock(root, side, lock, _fetch)
    side.parameters = loose | side.parameters
    if not side.metrics:
        _from_metrics(side, members, lock)
    return side


def _artifacts(runs: Runs, run: Any, path: str, folder: Path) -> dict[str, bytes]:
    """A file of a run, or all files of one of its folders: path -> contents."""
    paths = [path]
    if not Path(path).suffix:
        paths = [item.path for item in runs.client.list_artifacts(run.info.run_id, path) if not item.is_dir]
    read = {one: runs.file(run, one, folder) for one in paths}
    return {one: raw for one, raw in read.items() if raw is not None}


def _from_metrics(side: Side, members: Iterable[Any], lock: Mapping[str, LockEntry]) -> None:
    """Figures as MLflow shows them, where no metrics file can be had: of a run of another clone."""
    for member in members:
        stage = member.data.tags.get("vitrine.stage", "run")
        for name, value in member.data.metrics.items():
            if not name.startswith(("system/", "timing/", "curve/")) and value == value:
                side.metrics[stage, "", name] = Interval(value=value, n=0)
    if side.metrics and lock:
        side.notes.append(f"{side.name}: its metrics files are not here, so figures have no intervals.")


def log_page(root: Path, page: Path, sides: Iterable[Side]) -> list[str]:
    """Keep a page with every run that it is about, in the folder ``compare``; returns the ids of the runs.

    A profile, a commit or the workspace belongs to the pipeline runs that made exactly its results.

    Raises:
        TrackingError: the store does not answer, or MLflow refuses.
    """
    store = store_of(root)
    if store.missing():
        return []
    try:
        runs = Runs.open(store, tracking_params(root).experiment)
    except UnknownReferenceError:  # nothing has been recorded, so no run is known there
        return []
    logged: list[str] = []
    with registry_call("The page was not logged"), explained(store):
        for side in sides:
            for run_id in side.runs or _makers(runs, side):
                if run_id not in logged:
                    runs.client.log_artifact(run_id, str(page), FOLDER)
                    logged.append(run_id)
    return logged


def _makers(runs: Runs, side: Side) -> tuple[str, ...]:
    """The pipeline run that made the last of a side's evaluations."""
    for stage, digest in reversed(side.entries.items()):
        if stage.endswith("_eval"):
            for run in reversed(runs.search(f"tags.`vitrine.lock_entry` = '{digest}'")):
                return (run.data.tags.get("mlflow.parentRunId") or run.info.run_id,)
    return ()
