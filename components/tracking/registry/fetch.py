"""A registered version as a local folder, checked against the hash it was registered with."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from components.stage.files.publish import published
from components.stage.record import STATE
from components.tracking.errors import ModelFolderError
from components.tracking.publish.publish import tracking_params
from components.tracking.registry.model_folder import checked_files, content_hash
from components.tracking.registry.names import CONTENT, MODEL_FOLDER, existing_name, registry_call
from components.tracking.store import catalogue_of, connect, store_of

SHA256 = re.compile(r"[0-9a-f]{64}")
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]*")
LOGGED = re.compile(r"models:/(m-[0-9a-f]{32})")


def load_path(root: Path, name: str, alias: str) -> Path:
    """A local folder with the files of the version an alias points at, checked against its hash.

    Files behind a server are fetched once, into ``.vitrine/models/<name>/<hash>/``, and again where that copy
    has been damaged; until they are checked they stay in a temporary folder. Whoever may edit a model in
    MLflow chooses its tags and its source, so neither is used as a path before it has been checked.

    Raises:
        UnknownReferenceError: no such model or alias.
        ModelFolderError: the files are not those that were registered, or the version does not say which.
        TrackerUnavailableError: the store does not answer.
    """
    root = root.resolve()
    store = store_of(root)
    client = connect(store)
    from mlflow.artifacts import download_artifacts

    with registry_call(f"{name}@{alias} cannot be loaded"):
        name = existing_name(client, tracking_params(root), catalogue_of(root), name)
        version = client.get_model_version_by_alias(name, alias)
        what = f"{name} v{version.version}"
        wanted = _wanted(what, version)
        logged = client.get_logged_model(_model_id(what, version))
        artifacts = str(logged.artifact_location)
    folder = _local_artifacts(artifacts, MODEL_FOLDER)
    if folder is not None:
        _check(folder, what, wanted)
        return folder
    folder = root / STATE / "models" / _folder_name(name) / wanted
    if not _is(folder, wanted):  # not fetched yet, or damaged since
        with published(folder) as temporary, registry_call(f"{name}@{alias} cannot be fetched"):
            temporary.mkdir()
            options = {"dst_path": str(temporary), "tracking_uri": store.uri}
            _lift(Path(download_artifacts(artifact_uri=f"{artifacts}/{MODEL_FOLDER}", **options)), temporary)
            _check(temporary, what, wanted)
    return folder


def _wanted(what: str, version: Any) -> str:
    """The hash that a version must have.

    Raises:
        ModelFolderError: its tag is missing, or is no hash.
    """
    wanted = str(version.tags.get(CONTENT, ""))
    if not SHA256.fullmatch(wanted):
        raise ModelFolderError(
            f"The tag {CONTENT} of {what} in MLflow is {wanted[:80]!r}, not a SHA-256 of 64 hex digits: "
            "somebody has changed it; register the model again."
        )
    return wanted


def _model_id(what: str, version: Any) -> str:
    """The id of the LoggedModel that holds a version's files.

    Raises:
        ModelFolderError: its source is no LoggedModel.
    """
    if found := LOGGED.fullmatch(str(version.source)):
        return found[1]
    raise ModelFolderError(
        f"The source of {what} in MLflow is {str(version.source)[:200]!r}, not a logged model: "
        "it was not registered by Vitrine; register the model again."
    )


def _folder_name(name: str) -> str:
    """A registered name as the name of one folder; other names than plain ones by their hash."""
    return name if PLAIN.fullmatch(name) else hashlib.sha256(name.encode()).hexdigest()[:24]


def _is(folder: Path, wanted: str) -> bool:
    """Whether a folder holds the model of this hash, and nothing that no model may."""
    try:
        return content_hash(checked_files(folder)) == wanted
    except ModelFolderError:
        return False


def _check(folder: Path, what: str, wanted: str) -> None:
    """Make sure that a folder holds the model that was registered.

    Raises:
        ModelFolderError: it does not, or it holds what no model may.
    """
    if content_hash(checked_files(folder)) != wanted:
        raise ModelFolderError(f"{folder} is not the model that was registered as {what}: register it again.")


def _local_artifacts(uri: str, place: str) -> Path | None:
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        return None
    folder = Path(unquote(parts.path)) / place
    return folder if folder.is_dir() else None


def _lift(fetched: Path, target: Path) -> None:
    """Move what was fetched from a folder below ``target`` into ``target`` itself."""
    for item in list(fetched.iterdir()):
        item.replace(target / item.name)
    for parent in [fetched, *fetched.parents]:
        if parent == target:
            return
        parent.rmdir()
