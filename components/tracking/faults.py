"""What a tracker's errors mean: one sentence with what to do, instead of MLflow's own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from components.tracking.errors import TrackerUnavailableError, TrackingError

if TYPE_CHECKING:
    from components.tracking.store import Store

ANSWER_WITHIN_S = 5.0
CODES = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}
CODES |= {"ENDPOINT_NOT_FOUND": 404}


@contextmanager
def explained(store: Store) -> Iterator[None]:
    """Say what is wrong with the tracker where MLflow, or the library below it, raises something of its own.

    Raises TrackerUnavailableError: as ``meaning`` says; any other error passes as it is.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, TrackingError) and (known := meaning(store, error)):
            raise known from None
        raise


def meaning(store: Store, error: BaseException) -> TrackerUnavailableError | None:
    """The tracker's fault behind an error: who may, what it knows, whether it answers; None for any other."""
    seen: list[BaseException] = []  # the error, and those that it came from
    link: BaseException | None = error
    while link is not None and link not in seen:
        if sentence := _sentence(store, link):
            return TrackerUnavailableError(sentence)
        seen.append(link)
        link = link.__cause__ or link.__context__
    return None


def _sentence(store: Store, error: BaseException) -> str:
    home, text = type(error).__module__.partition(".")[0], " ".join(str(error).split())
    status = getattr(getattr(error, "response", None), "status_code", 0)
    named = CODES.get(str(getattr(error, "error_code", "")), 0)
    code = named or (status if status in (401, 403, 502, 503, 504) else 0)  # 404: perhaps a missing file
    if code == 401 or "password authentication failed" in text:
        who = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" if store.http else "MLFLOW_TRACKING_URI"
        return f"{store.shown} refuses this user or password: set the right ones in {who}."
    if code == 403:
        name = os.environ.get("MLFLOW_TRACKING_USERNAME", "") or "This user"
        return f"{name} may not do this on {store.shown}: ask its administrator for the permission to edit."
    if code == 404 and store.http:
        return (
            f"{store.shown} runs {_server_version(store)} and does not know a call that MLflow "
            f"{version('mlflow')} makes: use the same version on both sides."
        )
    if "database schema" in text:
        return (
            f"{store.shown} has the tables of another version of MLflow than {version('mlflow')}, which is "
            "here: if that one was older, copy the database and run `mlflow db upgrade` on it; if it was "
            "newer, install it."
        )
    if home in ("requests", "urllib3") or code in (502, 503, 504):
        reason = re.search(r"too many \d+ error responses|timed out", text)
        return (
            f"{store.shown} has stopped answering, or answers too slowly or with errors "
            f"({reason[0] if reason else type(error).__name__}): look at its log and load, or raise "
            "MLFLOW_HTTP_REQUEST_TIMEOUT (seconds)."
        )
    if isinstance(error, ModuleNotFoundError) and not store.http and store.database is None:
        return f"{store.shown} needs the package {error.name}, which is not installed here: install it."
    if home in ("psycopg2", "psycopg", "pymysql"):
        return f"{store.shown} does not answer ({text[:200]}): start the database."
    return ""


def _server_version(store: Store) -> str:
    """``MLflow 3.1.0`` as the server says it, or words that it does not."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    creds = get_default_host_creds(store.uri)
    try:
        answer = http_request(creds, "/version", "GET", max_retries=0, timeout=ANSWER_WITHIN_S)
    except (MlflowException, OSError):
        answer = None
    return f"MLflow {answer.text.strip()[:40]}" if answer else "another version of MLflow, or something else,"
