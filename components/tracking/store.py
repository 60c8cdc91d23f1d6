"""The tracking store: where it is, whether it answers, and MLflow's client for it.

The embedded default is SQLite: ``<workspace>/mlruns/mlflow.db`` with artifacts beside it. MLflow is
imported only in ``connect``, after ``check``: its import costs seconds, and its own retries against a store
that is down cost minutes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from filelock import FileLock

from components.stage.errors import ConfigurationError
from components.stage.files.publish import published
from components.stage.params import read_yaml
from components.tracking.errors import TrackerUnavailableError, UnknownReferenceError
from components.tracking.faults import explained

ANSWER_WITHIN_S = 5.0
PAGE = 1000  # what MLflow lists at once
# What MLflow's pages are told of an experiment: it trains models (its first page is then the table of runs).
KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"
CATALOGUE = "vitrine.catalogue"
# MLflow's pages open in another mode unless the address says so, whatever the experiment's kind is.
MODE = "workflowType=machine_learning"
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
# MLflow's telemetry is off, its progress bars and hints are silent, and a server that stops answering costs
# seconds, not the four minutes of its default retries. Whatever the user has set stands, but for telemetry.
QUIET = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_PRINT_MODEL_URLS_ON_CREATION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    RETRIES: "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True)
class Store:
    """A tracking store. ``database`` is the file behind an SQLite store, None for a server."""

    uri: str
    database: Path | None

    @property
    def key(self) -> str:
        """Short name of the store for file names; independent of the user and password in the address."""
        return hashlib.sha256(self.shown.encode()).hexdigest()[:12]

    @property
    def shown(self) -> str:
        """The address without user and password."""
        parts = urlsplit(self.uri)
        _, at, host = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=host)) if at else self.uri

    @property
    def http(self) -> bool:
        """A server, not a database."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def artifacts(self) -> Path | None:
        """Absolute artifact folder beside an SQLite file; a server decides for itself (None)."""
        return self.database.parent / "artifacts" if self.database else None

    def missing(self) -> bool:
        """An SQLite store that has not been made yet, or was deleted."""
        return self.database is not None and not self.database.exists()


def store_of(root: Path) -> Store:
    """The store of the workspace at ``root``: ``MLFLOW_TRACKING_URI``, or its own SQLite file.

    A profile's worktree ``<workspace>/.vitrine/work/<profile>`` shares the store of the main workspace.
    """
    root = root.resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri and not uri.startswith("sqlite:///"):
        return Store(uri.rstrip("/"), None)
    database = root / unquote(uri.removeprefix("sqlite:///").split("?")[0])
    if not uri:
        database = (main_workspace(root) or root) / "mlruns" / "mlflow.db"
    return Store(_address_of(database), database)


def _address_of(database: Path) -> str:
    """The address of an SQLite file for SQLAlchemy, where ``%``, ``?`` and ``#`` would be its grammar.

    MLflow makes the folder of an address that begins with ``sqlite:///`` and does not decode it first: a
    path with such a character would leave an empty folder beside the right one.
    """
    path = str(database)
    encoded = quote(path, safe="/ :@&+,;='()[]~")
    return f"sqlite:///{path}" if not set("%?#") & set(path) else f"sqlite+pysqlite:///{encoded}"


def main_workspace(root: Path) -> Path | None:
    """The workspace that a profile's worktree belongs to, or None when ``root`` is no such worktree."""
    return root.parents[2] if root.parent.name == "work" and root.parents[1].name == ".vitrine" else None


def profile_of(root: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Profile here: ``VITRINE_PROFILE``, the worktree's name, or ``report.profile`` of params.yaml."""
    worktree = root.name if main_workspace(root) else ""
    return environ.get("VITRINE_PROFILE") or worktree or _reported_profile(root)


def catalogue_of(root: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Catalogue here: ``report.profile`` of params.yaml, else the profile.

    Runs with ``--set`` have a worktree of their own name and the catalogue of the profile they change.
    """
    return _reported_profile(root) or profile_of(root, environ)


def _reported_profile(root: Path) -> str:
    try:
        report = read_yaml(root / "params.yaml").get("report")
    except ConfigurationError:
        return ""
    return str(report.get("profile", "")) if isinstance(report, dict) else ""


def check(store: Store) -> None:
    """Make sure the store answers.

    Raises:
        TrackerUnavailableError: server down, database locked or broken, or an address MLflow 3 does not take.
    """
    if store.database is not None:
        if store.database.exists():
            _check_database(store.database)
    elif store.http:
        _check_server(store)
    elif not re.match(r"^(postgresql|mysql|mssql)(\+\w+)?://", store.uri):
        raise TrackerUnavailableError(
            f"MLFLOW_TRACKING_URI={store.shown} is not a tracking store: "
            "set sqlite:///PATH, http(s)://HOST:PORT or a database."
        )


def _check_database(database: Path) -> None:
    try:
        with closing(sqlite3.connect(database, timeout=ANSWER_WITHIN_S, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        raise TrackerUnavailableError(
            f"{database} cannot be written ({error}): close the program that holds it, or repair its "
            "permissions or disk."
        ) from None
    except sqlite3.DatabaseError as error:
        raise TrackerUnavailableError(
            f"{database} is damaged ({error}): move it to another place; the next sync makes a new one from "
            "the records."
        ) from None


def _check_server(store: Store) -> None:
    try:
        urllib.request.urlopen(f"{store.shown}/health", timeout=ANSWER_WITHIN_S).close()
        return
    except urllib.error.HTTPError as error:
        if error.code < 500:  # it answers; who may do what is decided at the first real call
            return
        reason = f"HTTP {error.code}"
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "reason", error))
    raise TrackerUnavailableError(f"{store.shown} does not answer ({reason}): start the MLflow server.")


def _make(database: Path) -> None:
    """Make an SQLite store with MLflow's tables where there is none."""
    from mlflow.tracking import MlflowClient

    database.parent.mkdir(parents=True, exist_ok=True)
    # One at a time: the second of two would replace what the first has begun to fill.
    with FileLock(database.parent / f".{database.name}.lock", preserve_lock_file=True):
        if not database.exists():
            # Made aside and renamed: a kill during the migrations must not leave half a schema.
            with published(database) as temporary:
                MlflowClient(tracking_uri=_address_of(temporary)).search_experiments(max_results=1)


def connect(store: Store) -> Any:
    """MLflow's client (``mlflow.MlflowClient``) for the store; a new SQLite store is made first.

    One question is asked, so that a wrong password or another version shows here, as one sentence.

    Raises TrackerUnavailableError: as ``check``; or the store refuses the user, or is of another version.
    """
    check(store)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if store.database is not None and not store.database.exists():
        _make(store.database)
    with explained(store):
        if store.database is None and not store.http:
            # Open the port as its user: MLflow itself would ask again for two minutes.
            from sqlalchemy import NullPool, create_engine

            wait = {"connect_timeout": int(ANSWER_WITHIN_S)}
            create_engine(store.uri, poolclass=NullPool, connect_args=wait).connect().close()
        registry = os.environ.get("MLFLOW_REGISTRY_URI") or store.uri
        client = MlflowClient(tracking_uri=store.uri, registry_uri=registry)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def once() -> Iterator[None]:
    """Let MLflow's client send each call a single time: around calls that make something.

    It asks a server that is slow again, and the server then does everything that it was asked: a run would be
    there three times. What one call made and nobody heard of is found by its tags at the next sync.
    """
    before = os.environ.get(RETRIES)
    os.environ[RETRIES] = "0"
    try:
        yield
    finally:
        os.environ.pop(RETRIES)
        if before is not None:
            os.environ[RETRIES] = before


def all_pages(search: Callable[..., Any], *given: Any, **options: Any) -> list[Any]:
    """Everything that one of MLflow's searches finds, page by page."""
    from mlflow.utils import get_results_from_paginated_fn

    def _page(size: int, token: str | None) -> Any:
        return search(*given, max_results=size, page_token=token, **options)

    return list(get_results_from_paginated_fn(_page, PAGE))


def in_catalogue(base: str, catalogue: str) -> str:
    """A name that carries its catalogue: of an experiment, or the beginning of a registered model's."""
    return f"{base}-{catalogue}" if catalogue else base


def experiments_of(client: Any, base: str, deleted: bool = False) -> dict[str, Any]:
    """Id -> MLflow's experiment, of those Vitrine writes: one a catalogue (``base``: without a name)."""
    from mlflow.entities import ViewType

    kind = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
    return {
        str(one.experiment_id): one
        for one in all_pages(client.search_experiments, view_type=kind)
        if one.name == base or (one.name.startswith(f"{base}-") and CATALOGUE in one.tags)
    }


def experiment_of(client: Any, store: Store, base: str, catalogue: str = "") -> str:
    """Id of the catalogue's experiment, made if it is missing; MLflow opens it as model training.

    Raises TrackerUnavailableError: the experiment was deleted, or an SQLite store was moved after it was made
    (artifact paths are absolute, and a copied workspace would write into the original).
    """
    name, place = in_catalogue(base, catalogue), store.artifacts.as_uri() if store.artifacts else None
    found = client.get_experiment_by_name(name)
    if found is None:
        tags = {KIND: TRAINING, CATALOGUE: catalogue}
        with once():
            return str(client.create_experiment(name, artifact_location=place, tags=tags))
    if found.lifecycle_stage != "active":
        raise TrackerUnavailableError(
            f"Experiment '{name}' was deleted in MLflow: restore it (`mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`, with MLFLOW_TRACKING_URI={store.shown}), or name "
            "another one in params.yaml."
        )
    if place and found.artifact_location != place:
        raise TrackerUnavailableError(
            f"{store.database} keeps its artifacts in {found.artifact_location}: it was moved or copied; "
            "move it back, or move the database to another place and sync again."
        )
    return str(found.experiment_id)


def front_page(server: str) -> str:
    """The address at which a server's experiments open as model training."""
    return f"{server}/#/experiments?{MODE}"


def ui_command(root: Path, port: int) -> list[str]:
    """The command that shows the store in a browser, on this machine only (127.0.0.1).

    Raises UnknownReferenceError: the store is a server, which has a page of its own.
    """
    store = store_of(root)
    if store.http:
        raise UnknownReferenceError(f"The runs are on a server: open {front_page(store.shown)} in a browser.")
    # this environment's MLflow, also where its bin is not on the path
    command = [sys.executable, *f"-m mlflow server --host 127.0.0.1 --port {port}".split()]
    place = ["--default-artifact-root", str(store.artifacts)] if store.artifacts else []
    return [*command, "--backend-store-uri", store.uri, *place]
