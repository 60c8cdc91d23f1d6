"""Runs as they are found in MLflow: by id, by pipeline, by what they made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.tracking.errors import UnknownReferenceError
from components.tracking.lineage.lockfile import LockEntry, is_inside
from components.tracking.store import Store, connect, experiments_of

PAGE = 1000
SHORTEST_PREFIX = 4
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def is_deleted(client: Any, run_id: str) -> bool:
    """Has somebody deleted the run in MLflow, or removed it for good?"""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_run(run_id).info.lifecycle_stage) != "active"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return True
        raise


@dataclass
class Runs:
    """Reading access to the runs of all catalogues; ``client`` is MLflow's, ``experiments`` are ids."""

    client: Any
    experiments: list[str]

    @classmethod
    def open(cls, store: Store, experiment: str) -> Runs:
        """Connect to a store that holds runs; ``experiment`` is what the experiments' names begin with.

        Raises:
            TrackerUnavailableError: the store does not answer.
            UnknownReferenceError: nothing has been recorded yet.
        """
        if not store.missing():
            client = connect(store)
            if found := experiments_of(client, experiment):
                return cls(client, list(found))
        raise UnknownReferenceError(
            f"{store.shown} holds no experiment '{experiment}' yet: run vitrine sync first."
        )

    def search(self, query: str) -> list[Any]:
        """All active runs that match a filter, oldest first."""
        found: list[Any] = []
        token: str | None = None
        while True:
            options = {"max_results": PAGE, "order_by": ["attributes.start_time ASC"], "page_token": token}
            page = self.client.search_runs(self.experiments, query, **options)
            found += page
            token = page.token
            if not token:
                return found

    def named(self, name: str) -> Any:
        """The run with this id, or whose id begins with it, or the newest of the pipeline run with this id.

        Raises:
            UnknownReferenceError: none, or more than one.
        """
        plain = name.strip().lower()
        named = self.search("") if len(plain) >= SHORTEST_PREFIX else []
        ids = [run for run in named if run.info.run_id.startswith(plain)]
        if not ids and "'" not in name:
            ids = self.search(f"tags.`vitrine.pipeline` = '{name}'")[-1:]
        if not ids and (deleted := self._deleted(name)):
            raise UnknownReferenceError(
                f"Run {deleted} was deleted in MLflow: restore it there (`mlflow runs restore --run-id "
                f"{deleted}`), or name another one."
            )
        if not ids:
            raise UnknownReferenceError(
                f"'{name}' is not a run, profile, branch or commit (a run's id needs at least 4 characters)."
            )
        if len(ids) > 1:
            listed = ", ".join(run.info.run_id[:12] for run in ids[:5])
            raise UnknownReferenceError(
                f"{len(ids)} run ids begin with '{name}' ({listed}): give more characters."
            )
        return ids[0]

    def _deleted(self, name: str) -> str:
        """Id of a deleted run that is called so, or begins so; "" if there is none."""
        from mlflow.entities import ViewType

        plain = name.strip().lower()
        ids = [one.experiment_id for one in self.client.search_experiments(view_type=ViewType.ALL)]
        for run in self.client.search_runs(ids, run_view_type=ViewType.DELETED_ONLY, max_results=5000):
            begins = len(plain) >= SHORTEST_PREFIX and run.info.run_id.startswith(plain)
            if begins or run.data.tags.get("vitrine.pipeline") == name:
                return str(run.info.run_id)
        return ""

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
        stages: dict[str, Any] = {}
        for key, linked in run.data.tags.items():
            if key.startswith("cached.") and (found := self.get(linked)):
                stages[found.data.tags.get("vitrine.stage", key)] = found
        for child in self.search(f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"):
            stages[child.data.tags.get("vitrine.stage", child.info.run_id)] = child
        return list(stages.values())

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
        if "vitrine.lock_entry" not in run.data.tags:
            return None
        raw = self.file(run, "lock_entry.json", folder)
        return LockEntry.model_validate_json(raw) if raw else None
