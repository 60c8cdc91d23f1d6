"""Runs as they are found in MLflow: by id, by pipeline, by what they made."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.stage.params import load_params
from components.tracking.errors import UnknownReferenceError
from components.tracking.lineage.lockfile import LockEntry, is_inside
from components.tracking.params import TrackingParams
from components.tracking.store import Store, all_pages, connect, experiments_of

SHORTEST_PREFIX = 4
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def tracking_params(root: Path) -> TrackingParams:
    """Block ``tracking`` of the workspace's params.yaml (or of the file named by ``VITRINE_PARAMS``).

    Raises ConfigurationError: the file or block is missing or wrong.
    """
    return load_params("tracking", TrackingParams, root / os.environ.get("VITRINE_PARAMS", "params.yaml"))


@dataclass
class Runs:
    """Reading access to the runs of all catalogues; ``client`` is MLflow's, ``experiments`` are ids."""

    client: Any
    experiments: list[str]

    @classmethod
    def open(cls, store: Store, experiment: str) -> Runs:
        """Connect to a store that holds runs; ``experiment`` is what the experiments' names begin with.

        Raises TrackerUnavailableError: the store does not answer; UnknownReferenceError: nothing is recorded.
        """
        if not store.missing():
            client = connect(store)
            if found := experiments_of(client, experiment, deleted=True):
                return cls(client, list(found))
        raise UnknownReferenceError(
            f"{store.shown} holds no experiment '{experiment}' yet: run vitrine sync first."
        )

    def search(self, query: str, deleted: bool = False) -> list[Any]:
        """All active (or deleted) runs that match a filter, oldest first."""
        from mlflow.entities import ViewType

        kind = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
        options = {"run_view_type": kind, "order_by": ["attributes.start_time ASC"]}
        return all_pages(self.client.search_runs, self.experiments, query, **options)

    def named(self, name: str) -> Any:
        """The run with this id, or whose id begins with it, or the newest of the pipeline run with this id.

        Raises UnknownReferenceError: none, or more than one.
        """
        found = self._named(name)
        if not found and (deleted := self._named(name, deleted=True)):
            gone = deleted[0].info.run_id
            raise UnknownReferenceError(
                f"Run {gone} was deleted in MLflow: restore it there (`mlflow runs restore --run-id "
                f"{gone}`), or name another one."
            )
        if not found:
            raise UnknownReferenceError(
                f"'{name}' is not a run, profile, branch or commit (a run's id needs at least 4 characters)."
            )
        if len(found) > 1:
            listed = ", ".join(run.info.run_id[:12] for run in found[:5])
            raise UnknownReferenceError(
                f"{len(found)} run ids begin with '{name}' ({listed}): give more characters."
            )
        return found[0]

    def _named(self, name: str, deleted: bool = False) -> list[Any]:
        plain = name.strip().lower()
        every = self.search("", deleted) if len(plain) >= SHORTEST_PREFIX else []
        found = [run for run in every if run.info.run_id.startswith(plain)]
        if not found and "'" not in name:
            found = self.search(f"tags.`vitrine.pipeline` = '{name}'", deleted)[-1:]
        return found

    def get(self, run_id: str) -> Any | None:
        """The run of this id; None where the store has none."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id)
        except MlflowException:
            return None

    def members(self, run: Any) -> list[Any]:
        """Stage runs of a pipeline run: the last execution of each, and those its cached stages link to.

        A stage's run is its own only member.
        """
        if run.data.tags.get("vitrine.kind") != "pipeline":
            return [run]
        linked = [self.get(value) for key, value in run.data.tags.items() if key.startswith("cached.")]
        own = self.search(f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
        found = [one for one in (*linked, *own) if one]
        return list({one.data.tags.get("vitrine.stage", one.info.run_id): one for one in found}.values())

    def file(self, run: Any, path: str, folder: Path) -> bytes | None:
        """Contents of a file of the run, by way of ``folder``; None when the run has no such file.

        Ids and paths are what MLflow says they are, so neither may lead out of ``folder``.
        """
        from mlflow.exceptions import MlflowException

        if not (RUN_ID.fullmatch(run.info.run_id) and is_inside(path)):
            return None
        target = folder / run.info.run_id
        target.mkdir(exist_ok=True)
        try:
            return Path(self.client.download_artifacts(run.info.run_id, path, str(target))).read_bytes()
        except (MlflowException, OSError):
            return None

    def lock_entry(self, run: Any, folder: Path) -> LockEntry | None:
        """The stage's entry of dvc.lock, as the run keeps it; None for executions that own none."""
        raw = self.file(run, "lock_entry.json", folder) if "vitrine.lock_entry" in run.data.tags else None
        return LockEntry.model_validate_json(raw) if raw else None
