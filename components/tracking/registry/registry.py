"""The registry: models as versions of a name, with aliases such as ``challenger`` and ``champion``.

A model's bytes enter MLflow only here. A version belongs to the run that made it, so its lineage is the
run's.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from components.stage.files.publish import published
from components.stage.left_out import reason_in
from components.stage.record import STATE
from components.tracking.errors import ModelFolderError, TrackingError, UnknownReferenceError
from components.tracking.lineage.lockfile import is_inside, tree_md5
from components.tracking.publish.publish import tracking_params
from components.tracking.publish.runs import Runs
from components.tracking.registry.model_folder import CARD, checked_files, content_hash
from components.tracking.store import connect, store_of

OUT = "vitrine.out."
CONTENT = "vitrine.model_sha256"
SHA256 = re.compile(r"[0-9a-f]{64}")
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]*")
DESCRIPTION_LENGTH = 4000  # characters; some SQL back ends hold 5,000


@dataclass(frozen=True)
class ModelVersion:
    """A registered model version."""

    name: str
    version: str
    alias: str
    run_id: str
    sha256: str  # of the model's files


@contextmanager
def _registry_call(what: str) -> Iterator[None]:
    """Turn MLflow's errors into ours.

    Raises:
        UnknownReferenceError: MLflow does not have the name, version or alias, or refuses it.
        TrackingError: anything else MLflow says.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        reason = " ".join(str(error.message).split())
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UnknownReferenceError(f"{what}: {reason}") from None
        raise TrackingError(f"{what}: {reason}") from None


def chosen_models(root: Path, known: Mapping[str, Path], names: Sequence[str]) -> dict[str, Path]:
    """Registered name -> folder: those named, or every known model whose folder stands in the workspace.

    Raises:
        UnknownReferenceError: a name that ``tracking.models`` does not hold, or no model has been made.
    """
    if unknown := [name for name in names if name not in known]:
        raise UnknownReferenceError(
            f"tracking.models has no '{unknown[0]}' (known: {', '.join(known)}); or give a --folder."
        )
    chosen = {name: known[name] for name in names} or {
        name: folder
        for name, folder in known.items()
        if (root / folder).is_dir() and not reason_in(root / folder)
    }
    if not chosen:
        raise UnknownReferenceError("No model of tracking.models has been made here: run vitrine run first.")
    return chosen


def register(
    root: Path, name: str, model_folder: Path, alias: str, run_id: str | None = None
) -> ModelVersion:
    """Register a model folder as a new version of ``name`` and give it the alias.

    ``run_id`` (a prefix is enough) is the stage run that made the folder; without it the run is found by
    the folder's hash. A run that made something else is refused. The same model of the same run keeps its
    version.

    Raises:
        ModelFolderError: the folder may not be published, or is not what the run made.
        UnknownReferenceError: no such run, or no run made this folder; a name or alias MLflow does not take.
        TrackerUnavailableError: the store does not answer.
    """
    root = root.resolve()
    folder = model_folder if model_folder.is_absolute() else root / model_folder
    sha256 = content_hash(checked_files(folder))
    runs = Runs.open(store_of(root), tracking_params(root).experiment)
    run = _maker(runs, root, folder, run_id)
    with _registry_call(f"{name} was not registered"):
        version = _existing(runs.client, name, run.info.run_id, sha256) or _new(
            runs, name, folder, run, sha256
        )
        if alias:
            runs.client.set_registered_model_alias(name, alias, version)
    return ModelVersion(name, version, alias, run.info.run_id, sha256)


def _maker(runs: Runs, root: Path, folder: Path, run_id: str | None) -> Any:
    """The stage run that made a folder with exactly these bytes."""
    md5 = tree_md5(folder)
    if run_id is None:
        place = folder.relative_to(root) if folder.is_relative_to(root) else Path("models") / folder.name
        made = runs.search(f"tags.`{OUT}{place.as_posix()}` = '{md5}'")
        if not made:
            raise UnknownReferenceError(
                f"No recorded run made {folder} as it is now: run vitrine sync, or name the run."
            )
        return made[0]
    run = runs.named(run_id)
    for member in runs.members(run):
        if md5 in [value for key, value in member.data.tags.items() if key.startswith(OUT)]:
            return member
    raise ModelFolderError(
        f"{folder} is not what run {run_id} made: check out the outputs of that run, or name the right run."
    )


def _existing(client: Any, name: str, run_id: str, sha256: str) -> str | None:
    for version in client.search_model_versions(f"run_id='{run_id}'"):
        if version.name == name and version.tags.get(CONTENT) == sha256:
            return str(version.version)
    return None


def _new(runs: Runs, name: str, folder: Path, run: Any, sha256: str) -> str:
    card = model_card(name, run, sha256, headline(runs, run), weights_origins(folder))
    place = f"registered/{name}/{sha256[:16]}"
    with tempfile.TemporaryDirectory(prefix="vitrine-") as temporary:
        copy = Path(temporary) / "model"
        shutil.copytree(folder, copy)
        (copy / CARD).write_text(card, encoding="utf-8")
        runs.client.log_artifacts(run.info.run_id, str(copy), place)
    if not runs.client.search_registered_models(f"name='{name}'"):
        runs.client.create_registered_model(name)
    tags = {CONTENT: sha256} | {
        key: run.data.tags[key]
        for key in ("vitrine.git_commit", "vitrine.lock_entry", "vitrine.profile")
        if key in run.data.tags
    }
    source = f"runs:/{run.info.run_id}/{place}"
    version = runs.client.create_model_version(
        name, source, run_id=run.info.run_id, tags=tags, description=card[:DESCRIPTION_LENGTH]
    )
    return str(version.version)


def headline(runs: Runs, run: Any) -> dict[str, float]:
    """Headline figures of the pipeline run that the model's run belongs to."""
    parent = runs.get(run.data.tags.get("mlflow.parentRunId", "-"))
    return dict(parent.data.metrics) if parent else {}


def weights_origins(folder: Path) -> dict[str, str]:
    """Where weights made elsewhere come from, as the configurations of a model folder say it.

    A part that two configurations name, with other facts, is named with its folder as well.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("config.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        origins = config.get("origins") if isinstance(config, dict) else None
        for part, facts in (origins if isinstance(origins, dict) else {}).items():
            if not isinstance(facts, dict) or facts.get("source") == "random":
                continue
            said = "; ".join(f"{key}: {value}" for key, value in facts.items())
            if found.setdefault(str(part), said) != said:
                found[f"{part} ({path.parent.relative_to(folder).as_posix()})"] = said
    return found


def model_card(
    name: str, run: Any, sha256: str, figures: dict[str, float], origins: dict[str, str] | None = None
) -> str:
    """The model card in Markdown: what it is, its first weights, figures, and what it was made from."""
    tags = run.data.tags
    dirty = " with uncommitted changes" if tags.get("vitrine.dirty") == "true" else ""
    lines = [
        f"# {name}",
        "",
        f"Made by stage `{tags.get('vitrine.stage', '')}` in run `{run.info.run_id}`, ",
        "",
    ]
    lines[2] += f"from commit `{tags.get('vitrine.git_commit') or 'unknown'}`{dirty}."
    lines += [f"SHA-256 of the model's files: `{sha256}`.", ""]
    own = {
        key: value
        for key, value in run.data.metrics.items()
        if not key.startswith(("system/", "timing/", "curve/"))
    }
    inputs = {
        key.removeprefix("vitrine.dep."): value
        for key, value in tags.items()
        if key.startswith("vitrine.dep.")
    }
    lines += _section("Weights made elsewhere", origins or {})
    lines += _section("Figures of the pipeline run", {key: f"{value:.4f}" for key, value in figures.items()})
    lines += _section("Figures of the training", {key: f"{value:.4f}" for key, value in own.items()})
    lines += _section("Made from", inputs)
    lines += _section("Parameters", run.data.params)
    return "\n".join(lines)


def _section(title: str, values: dict[str, str]) -> list[str]:
    if not values:
        return []
    return [
        f"## {title}",
        "",
        "| name | value |",
        "|---|---|",
        *(f"| {_cell(k)} | {_cell(v)} |" for k, v in sorted(values.items())),
        "",
    ]


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table: one line, and no markup of its own."""
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", plain)


def promote(root: Path, name: str, version: str, alias: str) -> tuple[str, str]:
    """Point an alias at a version; returns the version's number and the one before it, or "".

    ``version`` is a number, or another alias.

    Raises:
        UnknownReferenceError: no such model or version, or an alias MLflow does not take.
        TrackerUnavailableError: the store does not answer.
    """
    client = connect(store_of(root.resolve()))
    with _registry_call(f"{name} {version} was not promoted"):
        wanted = (
            version if version.isdigit() else str(client.get_model_version_by_alias(name, version).version)
        )
        client.get_model_version(name, wanted)
        before = str(client.get_registered_model(name).aliases.get(alias, ""))
        client.set_registered_model_alias(name, alias, wanted)
    return wanted, before


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
    client = connect(store_of(root))
    with _registry_call(f"{name}@{alias} cannot be loaded"):
        version = client.get_model_version_by_alias(name, alias)
        run = client.get_run(version.run_id)
    what = f"{name} v{version.version}"
    wanted, place = _wanted(what, version), _place(what, version)
    folder = _local_artifacts(run.info.artifact_uri, place)
    if folder is not None:
        _check(folder, what, wanted)
        return folder
    folder = root / STATE / "models" / _folder_name(name) / wanted
    if not _is(folder, wanted):  # not fetched yet, or damaged since
        with published(folder) as temporary, _registry_call(f"{name}@{alias} cannot be fetched"):
            temporary.mkdir()
            fetched = client.download_artifacts(version.run_id, place, str(temporary))
            _lift(Path(fetched), temporary)
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


def _place(what: str, version: Any) -> str:
    """Where a version's files are among the artifacts of its run.

    Raises:
        ModelFolderError: its source is not a folder of that run.
    """
    source, start = str(version.source), f"runs:/{version.run_id}/"
    place = source.removeprefix(start)
    if not source.startswith(start) or not is_inside(place):
        raise ModelFolderError(
            f"The source of {what} in MLflow is {source[:200]!r}, not a folder of run {version.run_id}: "
            "it was not registered by Vitrine; register the model again."
        )
    return place


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
