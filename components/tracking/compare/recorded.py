"""The side of a comparison that a name means; runs and models as MLflow knows them; pages logged beside them.

MLflow is loaded only where a run or model is meant.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from components.stage.record import Interval
from components.tracking.compare.sides import (
    Side,
    commit_side,
    from_lock,
    local,
    profile_side,
    workspace_side,
)
from components.tracking.errors import UnknownReferenceError
from components.tracking.faults import explained
from components.tracking.lineage.lockfile import Output
from components.tracking.lineage.revision import resolve_commit
from components.tracking.publish.run_content import DEP, NO_FIGURES, OUT
from components.tracking.publish.runs import Runs, tracking_params
from components.tracking.registry.registry import existing_name, registry_call
from components.tracking.store import CATALOGUE, main_workspace, store_of

MODEL = re.compile(r"(?:models:/)?(?P<name>.+?)(?:@(?P<alias>[^@/]+)|/(?P<version>\d+))")
LOGGED = re.compile(r"(?:models:/)?(?P<id>m-[0-9a-f]{32})")
KINDS = ("profile", "git", "run", "model")
FOLDER = "compare"  # of a run's artifacts, that holds pages about it


def side_of(root: Path, name: str) -> Side:
    """Find what ``name`` means: ``.`` (the workspace), a profile, a branch or commit, a model, a run.

    ``profile:X``, ``git:X``, ``model:X`` and ``run:X`` say which is meant where a name could be several. A
    model is ``NAME@ALIAS``, ``NAME/VERSION`` or the id of a logged model.

    Raises UnknownReferenceError: nothing has this name, or several runs begin with it;
    TrackerUnavailableError: only MLflow can know the name, and the store does not answer.
    """
    kind, _, bare = name.partition(":")
    if kind not in KINDS:
        kind, bare = "", name
    if name == ".":
        return workspace_side(root, name)
    main = main_workspace(root) or root
    if kind in ("", "profile") and (side := profile_side(main, bare)):
        return side
    if kind in ("", "git") and (commit := resolve_commit(root, bare)):
        return commit_side(root, bare, commit)
    profiles = [file.stem for file in (main / "conf").glob("*.yaml")]
    if kind in ("", "run", "model"):
        try:
            return recorded_side(root, bare, kind)
        except UnknownReferenceError as error:
            near = [] if kind else get_close_matches(bare, [*profiles, "HEAD"], 1)
            if near != [bare]:
                raise UnknownReferenceError(f"{error} Did you mean '{near[0]}'?") if near else error from None
    if kind in ("", "profile") and bare in profiles:
        raise UnknownReferenceError(f"Profile '{bare}' has no results here: vitrine run --profile {bare}")
    raise UnknownReferenceError(
        f"There is no {'profile' if kind == 'profile' else 'commit or branch'} '{bare}' here."
    )


def recorded_side(root: Path, name: str, kind: str = "") -> Side:
    """The side of a run (its id, the start of it, or a pipeline's id) or of a model; ``kind`` says which.

    Raises UnknownReferenceError: MLflow has neither, several runs fit, or the run was deleted;
    TrackerUnavailableError: the store does not answer.
    """
    store = store_of(root)
    runs = Runs.open(store, tracking_params(root).experiment)
    client, model = runs.client, kind in ("", "model")
    with registry_call(f"'{name}' cannot be read"), explained(store):
        if model and (logged := LOGGED.fullmatch(name)):
            return _model_side(root, runs, name, client.get_logged_model(logged["id"]).source_run_id)
        if model and (found := MODEL.fullmatch(name)):
            called = existing_name(client, root, found["name"])
            if found["alias"]:
                version = client.get_model_version_by_alias(called, found["alias"])
            else:
                version = client.get_model_version(called, found["version"])
            return _model_side(root, runs, name, version.run_id)
        if kind == "model":
            raise UnknownReferenceError(
                f"'{name}' is no model: give NAME@ALIAS, NAME/VERSION, or the id of a logged model (m-...)."
            )
        run = runs.named(name)  # a pipeline run with all its stages, cached ones too, or a single stage's run
        return _filled(root, runs, Side(name, "run"), run, runs.members(run))


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
        if key.startswith(f"{OUT}models/"):
            readers = runs.search(f"tags.`{DEP}{key.removeprefix(OUT)}` = '{md5}'")
            stages |= {reader.data.tags.get("vitrine.stage", ""): reader for reader in readers}
    return _filled(root, runs, Side(name, "model"), run, list(stages.values()))


def _filled(root: Path, runs: Runs, side: Side, run: Any, members: list[Any]) -> Side:
    tags = run.data.tags
    side.commit, side.catalogue = tags.get("vitrine.git_commit", ""), tags.get(CATALOGUE, "")
    side.dirty = {"true": True, "false": False}.get(tags.get("vitrine.dirty", ""))
    side.runs = (str(run.info.run_id),)
    lock, loose, held = {}, {}, local(root)
    with tempfile.TemporaryDirectory(prefix="vitrine-") as temporary:
        folder = Path(temporary)
        sources: dict[str, Any] = {}
        for member in members:
            if entry := runs.lock_entry(member, folder):
                lock[member.data.tags["vitrine.stage"]] = entry
                sources |= {out.path: member for out in entry.outs}
            else:  # a stage that failed has no hashes, but parameters and figures
                loose.update(member.data.params)

        def _fetch(output: Output) -> Mapping[str, bytes]:
            if found := held(output):
                return found
            run, paths = sources[output.path], [output.path]
            if not Path(output.path).suffix:
                items = runs.client.list_artifacts(run.info.run_id, output.path)
                paths = [item.path for item in items if not item.is_dir]
            read = {path: runs.file(run, path, folder) for path in paths}
            return {path: raw for path, raw in read.items() if raw is not None}

        from_lock(root, side, lock, _fetch)
    side.parameters = loose | side.parameters
    if not side.metrics:  # figures as MLflow shows them, of a run of another clone
        for member in members:
            stage = member.data.tags.get("vitrine.stage", "run")
            for name, value in member.data.metrics.items():
                if not name.startswith(NO_FIGURES) and value == value:
                    side.metrics[stage, "", name] = Interval(value=value, n=0)
        if side.metrics and lock:
            side.notes.append(f"{side.name}: its metrics files are not here, so figures have no intervals.")
    return side


def log_page(root: Path, page: Path, sides: Iterable[Side]) -> list[str]:
    """Keep a page with every run that it is about, in the folder ``compare``; returns the ids of the runs.

    A profile, a commit or the workspace belongs to the pipeline runs that made exactly its results.

    Raises TrackingError: the store does not answer, or MLflow refuses.
    """
    store = store_of(root)
    try:
        runs = Runs.open(store, tracking_params(root).experiment)
    except UnknownReferenceError:  # nothing has been recorded, so no run is known there
        return []
    with registry_call("The page was not logged"), explained(store):
        ids = dict.fromkeys(run_id for side in sides for run_id in side.runs or _makers(runs, side))
        for run_id in ids:
            runs.client.log_artifact(run_id, str(page), FOLDER)
    return list(ids)


def _makers(runs: Runs, side: Side) -> tuple[str, ...]:
    """The pipeline run that made the last of a side's evaluations."""
    for stage, digest in reversed(side.entries.items()):
        if stage.endswith("_eval"):
            for run in reversed(runs.search(f"tags.`vitrine.lock_entry` = '{digest}'")):
                return (run.data.tags.get("mlflow.parentRunId") or run.info.run_id,)
    return ()
