"""A real MLflow server with passwords, on SQLite and on PostgreSQL: nothing is lost, and nothing doubled.

The server is started as infra/compose.yaml starts it; it is killed, or stands still for a while.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components.tracking.compare.compare import compare
from components.tracking.publish.publish import pending, publish
from components.tracking.registry.registry import load_path, promote, register
from components.tracking.store import connect, store_of
from tests.services import (
    VALUES,
    free_port,
    mlflow,
    postgres,
    postgres_binaries,
    service_values,
    serving,
)

pytestmark = pytest.mark.slow
WITHOUT = next(
    (
        reason
        for absent, reason in (
            (postgres_binaries() is None, "PostgreSQL is not installed (Debian: apt-get install postgresql)"),
            (
                importlib.util.find_spec("psycopg2") is None,
                "psycopg2 is not installed (pip install '.[dev]')",
            ),
        )
        if absent
    ),
    "",
)
NEEDS_POSTGRES = pytest.mark.skipif(bool(WITHOUT), reason=WITHOUT)


@dataclass
class Server:
    """An MLflow server that can be killed and started again, on the same port with the same database."""

    folder: Path
    database: dict[str, str] | None
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    _running: ExitStack = field(default_factory=ExitStack)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command, env = mlflow(self.folder, self.port, self.database)
        self._running = ExitStack()
        run = serving(command, env, self.folder, f"{self.address}/health")
        self.process = self._running.enter_context(run)

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        self._running.close()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=NEEDS_POSTGRES)])
def server(
    request: pytest.FixtureRequest, migrated: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with ExitStack() as stack:
        database = stack.enter_context(postgres()) if request.param == "postgresql" else None
        if database is None:
            shutil.copyfile(migrated, folder / "mlflow.db")
        made = Server(folder, database)
        made.start()
        yield made
        made.stop()


@pytest.fixture
def team(server: Server, bare: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """A workspace whose tracker is the team's server; each test has a catalogue of its own there."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", VALUES["MLFLOW_USERNAME"])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", VALUES["MLFLOW_PASSWORD"])
    monkeypatch.setenv("VITRINE_PROFILE", request.node.originalname.removeprefix("test_")[:20])
    return bare


def catalogue_of(workspace: Any) -> Any:
    """The experiment that the workspace's profile writes to, read with MLflow's client."""
    client = connect(store_of(workspace.root))
    return client, client.get_experiment_by_name(f"vitrine-{os.environ['VITRINE_PROFILE']}").experiment_id


def kinds(workspace: Any) -> dict[str, int]:
    client, experiment = catalogue_of(workspace)
    found = [run.data.tags["vitrine.kind"] for run in client.search_runs([experiment])]
    return {kind: found.count(kind) for kind in sorted(set(found))}


WHOLE = {"evaluation": 1, "pipeline": 1, "stage": 3}


def assert_whole(workspace: Any) -> None:
    """Everything of one pipeline run is there once, complete and ended."""
    client, experiment = catalogue_of(workspace)
    assert kinds(workspace) == WHOLE and not pending(workspace.root)
    runs = client.search_runs([experiment])
    assert {run.info.status for run in runs} == {"FINISHED"}
    (model,) = client.search_logged_models([experiment])
    assert str(model.status) == "READY" and [metric.value for metric in model.metrics] == [0.5]
    encoder = next(run for run in runs if run.data.tags.get("vitrine.stage") == "encoder")
    assert len(client.get_metric_history(encoder.info.run_id, "curve/loss")) == 5
    assert "record.json" in [item.path for item in client.list_artifacts(encoder.info.run_id)]


def test_a_run_is_recorded_compared_and_registered(team: Any) -> None:
    team.pipeline(parent="p1")
    assert publish(team.root).warnings == []
    assert_whole(team)
    client, experiment = catalogue_of(team)
    (model,) = client.search_logged_models([experiment])
    made = register(team.root, "encoder", Path("models/encoder"), "challenger")
    assert register(team.root, "encoder", Path("models/encoder"), "challenger").version == made.version
    assert promote(team.root, made.name, "challenger", "champion")[0] == made.version
    assert client.get_model_version(made.name, made.version).source == f"models:/{model.model_id}"
    assert (load_path(team.root, "encoder", "champion") / "model.safetensors").exists()
    team.pipeline(parent="p2", seed=2)
    assert publish(team.root).warnings == []
    found = compare(team.root, [f"model:{made.name}@champion", "."])
    assert [figure and figure.value for row in found.rows for figure in row.figures] == [0.5, 0.52]


def test_a_wrong_password_is_one_sentence_and_the_right_one_publishes(
    team: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.pipeline(parent="wrong-password")
    right = os.environ["MLFLOW_TRACKING_PASSWORD"]
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of-somebody-else")
    result = publish(team.root)
    (warning,) = result.warnings
    assert "refuses this user or password: set the right ones in MLFLOW_TRACKING_USERNAME" in warning
    assert "\n" not in warning and "of-somebody-else" not in warning and result.waiting == 3
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", right)
    assert publish(team.root).warnings == []
    assert_whole(team)


def at_call(monkeypatch: pytest.MonkeyPatch, name: str, number: int, action: Callable[[], None]) -> None:
    """Do something just before MLflow's client makes a call for the ``number``-th time."""
    from mlflow.tracking import MlflowClient

    original, calls = getattr(MlflowClient, name), iter(range(1, 10_000))

    def before(self: Any, *arguments: Any, **named: Any) -> Any:
        if next(calls) == number:
            action()
        return original(self, *arguments, **named)

    monkeypatch.setattr(MlflowClient, name, before)


@pytest.mark.parametrize(("call", "number"), [("create_run", 2), ("log_artifacts", 2)])
def test_a_server_killed_while_it_is_written_to_loses_and_doubles_nothing(
    team: Any, server: Server, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    monkeypatch.setenv("VITRINE_PROFILE", f"killed-at-{call}")
    team.pipeline(parent=f"killed-at-{call}")
    with monkeypatch.context() as patched:
        at_call(patched, call, number, server.kill)
        result = publish(team.root)
    (warning,) = result.warnings
    assert "does not answer" in warning or "has stopped answering" in warning
    assert "\n" not in warning and result.waiting and pending(team.root)
    server.start()
    assert publish(team.root).warnings == []
    assert_whole(team)


def impatient(patched: pytest.MonkeyPatch, action: Callable[[], None]) -> Callable[[], None]:
    """The action, after which the client waits two seconds for an answer; before, the machine may be slow."""

    def both() -> None:
        patched.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
        action()

    return both


@pytest.mark.parametrize(("call", "number"), [("create_run", 2)])
def test_a_server_that_stands_still_and_wakes_later_doubles_nothing(
    team: Any, server: Server, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """What it was asked while it stood still it does when it wakes, though nobody waits for it any more."""
    monkeypatch.setenv("VITRINE_PROFILE", f"still-at-{call}")
    team.pipeline(parent=f"still-at-{call}")
    with monkeypatch.context() as patched:
        at_call(patched, call, number, impatient(patched, lambda: server.signal(signal.SIGSTOP)))
        try:
            result = publish(team.root)
        finally:
            server.signal(signal.SIGCONT)
    (warning,) = result.warnings
    assert "does not answer" in warning or "answers too slowly" in warning
    assert "\n" not in warning and result.waiting
    assert publish(team.root).warnings == []
    assert_whole(team)


@pytest.mark.parametrize(
    ("call", "table"), [("create_run", "runs"), ("create_logged_model", "logged_models")]
)
def test_a_server_whose_database_is_slow_makes_nothing_twice(
    team: Any, server: Server, monkeypatch: pytest.MonkeyPatch, call: str, table: str
) -> None:
    """MLflow's client asks a slow server again, and the server then does all that it was asked."""
    if server.database is None:
        pytest.skip("SQLite refuses after some seconds what PostgreSQL lets wait")
    import psycopg2

    values = service_values("postgres")
    who = {"user": values["POSTGRES_USER"], "password": values["POSTGRES_PASSWORD"], "dbname": "mlflow"}
    where = {"host": server.database["PGHOST"], "port": server.database["PGPORT"]}
    monkeypatch.setenv("VITRINE_PROFILE", f"slow-at-{call}")
    team.pipeline(parent=f"slow-at-{call}")
    with contextlib.closing(psycopg2.connect(**who, **where)) as holder:
        locked = f"LOCK TABLE {table} IN SHARE MODE"  # it can be read
        with monkeypatch.context() as patched:
            at_call(patched, call, 1, impatient(patched, lambda: holder.cursor().execute(locked)))
            result = publish(team.root)
        holder.rollback()
        (warning,) = result.warnings
        assert "answers too slowly" in warning and result.waiting
    assert publish(team.root).warnings == []
    assert_whole(team)
