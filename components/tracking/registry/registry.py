"""The registry: models as versions of a name, with aliases such as ``challenger`` and ``champion``.

A model's bytes enter MLflow only here. A version points to the LoggedModel of the run that trained it, so its
lineage, figures and examples are that model's. A name carries its catalogue, and holds models of it alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.stage.files.publish import published
from components.stage.left_out import reason_in
from components.stage.record import STATE
from components.tracking.errors import ModelFolderError, TrackingError, UnknownReferenceError
from components.tracking.lineage.lockfile import tree_md5
from components.tracking.params import TrackingParams
from components.tracking.publish.models import DVC, VERSIONS
from components.tracking.publish.run_content import DEP, NO_FIGURES, OUT
from components.tracking.publish.runs import Runs, tracking_params
from components.tracking.registry.model_folder import CARD, checked_files, content_hash
from components.tracking.store import CATALOGUE, catalogue_of, connect, in_catalogue, once, store_of

CONTENT = "vitrine.model_sha256"
FORCED = "vitrine.forced"  # says that a version stands under a name or alias of another catalogue
MODEL_FOLDER = "model"  # where the files of a registered model are among its LoggedModel's artifacts
KEPT = ("vitrine.git_commit", "vitrine.lock_entry", "vitrine.profile", CATALOGUE)  # tags of a version
DESCRIPTION_LENGTH = 4000  # characters; some SQL back ends hold 5,000
SHA256, LOGGED = re.compile(r"[0-9a-f]{64}"), re.compile(r"models:/(m-[0-9a-f]{32})")


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model, under the alias that names it; ``sha256`` is of its files."""

    name: str
    version: str
    alias: str
    run_id: str
    sha256: str


@contextmanager
def registry_call(what: str) -> Iterator[None]:
    """Turn MLflow's errors into ours.

    Raises UnknownReferenceError: MLflow does not have the name, version or alias, or refuses it;
    TrackingError: anything else MLflow says.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        unknown = error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
        kind = UnknownReferenceError if unknown else TrackingError
        raise kind(f"{what}: {' '.join(str(error.message).split())}") from None


def chosen_models(root: Path, known: Mapping[str, Path], names: Sequence[str]) -> dict[str, Path]:
    """Name -> folder: those named, or every known model whose folder stands in the workspace.

    Raises UnknownReferenceError: ``tracking.models`` does not hold a name, or no model has been made.
    """
    if unknown := [name for name in names if name not in known]:
        raise UnknownReferenceError(
            f"tracking.models has no '{unknown[0]}' (known: {', '.join(known)}); or give a --folder."
        )
    here = (
        name for name, folder in known.items() if (root / folder).is_dir() and not reason_in(root / folder)
    )
    chosen = {name: known[name] for name in names or here}
    if not chosen:
        raise UnknownReferenceError("No model of tracking.models has been made here: run vitrine run first.")
    return chosen


def _full_name(params: TrackingParams, catalogue: str, name: str) -> str:
    """``encoder`` of catalogue ``fashion`` is ``vitrine-fashion-encoder``; a name of one's own stays."""
    start = f"{params.experiment}-"
    short, known = name.removeprefix(start), {model.removeprefix(start) for model in params.models}
    return f"{in_catalogue(params.experiment, catalogue)}-{short}" if short in known else name


def existing_name(client: Any, root: Path, name: str) -> str:
    """The registered model that a person means: the one of exactly this name, or this catalogue's."""
    full = _full_name(tracking_params(root), catalogue_of(root), name)
    return name if name != full and client.search_registered_models(_named(name)) else full


def _named(name: str) -> str:
    return "name='{}'".format(name.replace("'", ""))  # MLflow's filter language has no escape


def _marks(kept: str, holder: str, offered: str, force: bool) -> dict[str, str]:
    """Tags that mark a version of catalogue ``offered`` where ``holder`` is of ``kept``; {} if same.

    Raises UnknownReferenceError: they differ, and it is not forced.
    """
    if not (kept and offered) or kept == offered:
        return {}
    said = f"{holder} is of catalogue '{kept}', this model of '{offered}'"
    if not force:
        raise UnknownReferenceError(f"{said}: give another name, or say --force; the version is then marked.")
    return {FORCED: said}


def register(
    root: Path, name: str, model_folder: Path, alias: str, run_id: str | None = None, *, force: bool = False
) -> ModelVersion:
    """Register a model folder as a new version, and give it the alias.

    ``name`` is of ``tracking.models`` and gets its catalogue before it, or a name of one's own. ``run_id`` (a
    prefix is enough) is the stage run that made the folder; without it the run is found by the folder's hash.
    A run that made something else is refused. The same model of the same run keeps its version.

    Raises:
        ModelFolderError: the folder may not be published, or is not what the run made.
        UnknownReferenceError: no such run, or no run made this folder; a name or alias MLflow does not take;
            a name that holds models of another catalogue, unless ``force``.
        TrackerUnavailableError: the store does not answer.
    """
    root = root.resolve()
    folder = root / model_folder
    sha256 = content_hash(checked_files(folder))
    params = tracking_params(root)
    runs = Runs.open(store_of(root), params.experiment)
    client, run = runs.client, _maker(runs, root, folder, run_id)
    catalogue, run_id = run.data.tags.get(CATALOGUE, ""), str(run.info.run_id)
    name = _full_name(params, catalogue, name)
    with registry_call(f"{name} was not registered"):
        made = client.search_model_versions(f"run_id='{run_id}'")
        same = [v.version for v in made if v.name == name and v.tags.get(CONTENT) == sha256]
        if same:
            version = str(same[0])
        else:
            held = client.search_registered_models(_named(name))
            newest = {"order_by": ["version_number DESC"], "max_results": 1}
            holders = [*held, *(client.search_model_versions(_named(name), **newest) if held else ())]
            kept = next((one.tags[CATALOGUE] for one in holders if one.tags.get(CATALOGUE)), "")
            tags = {CONTENT: sha256} | _marks(kept, name, catalogue, force)
            version = _new(runs, name, folder, run, tags)
        if alias:
            client.set_registered_model_alias(name, alias, version)
    return ModelVersion(name, version, alias, run_id, sha256)


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
    for member in runs.members(runs.named(run_id)):
        if any(key.startswith(OUT) and value == md5 for key, value in member.data.tags.items()):
            return member
    raise ModelFolderError(
        f"{folder} is not what run {run_id} made: check out the outputs of that run, or name the right run."
    )


def _new(runs: Runs, name: str, folder: Path, run: Any, tags: dict[str, str]) -> str:
    """A new version of the LoggedModel that the run made of the folder."""
    client, md5 = runs.client, tree_md5(folder)
    outputs = run.outputs.model_outputs if run.outputs else ()
    logged = (client.get_logged_model(output.model_id) for output in outputs)
    model = next((one for one in logged if one.tags.get(DVC) == md5), None)
    if model is None:
        raise ModelFolderError(
            f"Run {run.info.run_id} has no model of {folder}: run vitrine sync; of folders below models/ "
            "alone a run has one."
        )
    parent = runs.get(run.data.tags.get("mlflow.parentRunId", "-"))
    figures = dict(parent.data.metrics) if parent else {}
    card = model_card(name, run, tags[CONTENT], figures, weights_origins(folder))
    with tempfile.TemporaryDirectory(prefix="vitrine-") as temporary:
        copy = shutil.copytree(folder, Path(temporary) / "model")
        (copy / CARD).write_text(card, encoding="utf-8")
        client.log_model_artifacts(model.model_id, str(copy), MODEL_FOLDER)
    if not client.search_registered_models(_named(name)):
        catalogue = run.data.tags.get(CATALOGUE, "")
        client.create_registered_model(name, tags={CATALOGUE: catalogue} if catalogue else None)
    facts = {
        "run_id": run.info.run_id,
        "tags": tags | {key: run.data.tags[key] for key in KEPT if key in run.data.tags},
        "description": card[:DESCRIPTION_LENGTH],
        "model_id": model.model_id,
    }
    with _global_store(client), once():
        version = int(client.create_model_version(name, f"models:/{model.model_id}", **facts).version)
    # The model's page names its version; MLflow's server sees to this by itself.
    known = json.loads(client.get_logged_model(model.model_id).tags.get(VERSIONS, "[]"))
    if not any((one["name"], int(one["version"])) == (name, version) for one in known):
        told = json.dumps([*known, {"name": name, "version": version}])
        client.set_logged_model_tags(model.model_id, {VERSIONS: told})
    return str(version)


@contextmanager
def _global_store(client: Any) -> Iterator[None]:
    """MLflow looks a version's LoggedModel up in its global store, whatever store the client has."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # forgets it, in the environment as well
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def promote(root: Path, name: str, version: str, alias: str, *, force: bool = False) -> tuple[str, str]:
    """Point an alias at a version; returns the version's number and the one before it, or "".

    ``name`` is as for ``register``; ``version`` is a number, or another alias.

    Raises:
        UnknownReferenceError: no such model or version, or an alias MLflow does not take; a version of
            another catalogue than the name's, or than the one the alias points at, unless ``force``.
        TrackerUnavailableError: the store does not answer.
    """
    client = connect(store_of(root.resolve()))
    name = existing_name(client, root.resolve(), name)
    with registry_call(f"{name} {version} was not promoted"):
        if not client.search_registered_models(_named(name)):
            raise UnknownReferenceError(f"No model {name} is registered: `vitrine register` makes versions.")
        if not version.isdigit():
            version = str(client.get_model_version_by_alias(name, version).version)
        offered = client.get_model_version(name, version).tags.get(CATALOGUE, "")
        registered = client.get_registered_model(name)
        before = str(registered.aliases.get(alias, ""))
        marks = _marks(registered.tags.get(CATALOGUE, ""), name, offered, force)
        if before:
            kept = client.get_model_version(name, before).tags.get(CATALOGUE, "")
            marks |= _marks(kept, f"{name}@{alias}", offered, force)
        for key, value in marks.items():
            client.set_model_version_tag(name, version, key, value)
        client.set_registered_model_alias(name, alias, version)
    return version, before


def load_path(root: Path, name: str, alias: str) -> Path:
    """A local folder with the files of the version an alias points at, checked against its hash.

    They are fetched once, into ``.vitrine/models/<hash>/``, and again where that copy has been damaged; until
    they are checked they stay in a temporary folder. Whoever may edit a model in MLflow chooses its tags and
    its source, so neither is used as a path before it has been checked.

    Raises:
        UnknownReferenceError: no such model or alias.
        ModelFolderError: the files are not those that were registered, or the version does not say which.
        TrackerUnavailableError: the store does not answer.
    """
    root = root.resolve()
    store = store_of(root)
    client = connect(store)
    from mlflow.artifacts import download_artifacts

    with registry_call(f"{name}@{alias} cannot be loaded"), tempfile.TemporaryDirectory() as scratch:
        name = existing_name(client, root, name)
        version = client.get_model_version_by_alias(name, alias)
        what, wanted, model_id = _checked(name, version)
        folder = root / STATE / "models" / wanted
        if folder.is_dir() and _is_model(folder, wanted):
            return folder
        place = f"{client.get_logged_model(model_id).artifact_location}/{MODEL_FOLDER}"
        found = Path(download_artifacts(artifact_uri=place, dst_path=scratch, tracking_uri=store.uri))
        if content_hash(checked_files(found)) != wanted:
            raise ModelFolderError(
                f"{place} is not the model that was registered as {what}: register it again."
            )
        with published(folder) as temporary:
            shutil.copytree(found, temporary)
    return folder


def _checked(name: str, version: Any) -> tuple[str, str, str]:
    """A version in words, the hash that its files must have, and the id of the LoggedModel that holds them.

    Raises ModelFolderError: its tag is missing or is no hash, or its source is no LoggedModel.
    """
    what, wanted, source = (
        f"{name} v{version.version}",
        str(version.tags.get(CONTENT, "")),
        str(version.source),
    )
    if not SHA256.fullmatch(wanted):
        raise ModelFolderError(
            f"The tag {CONTENT} of {what} in MLflow is {wanted[:80]!r}, not a SHA-256 of 64 hex digits: "
            "somebody has changed it; register the model again."
        )
    if logged := LOGGED.fullmatch(source):
        return what, wanted, logged[1]
    raise ModelFolderError(
        f"The source of {what} in MLflow is {source[:200]!r}, not a logged model: "
        "it was not registered by Vitrine; register the model again."
    )


def _is_model(folder: Path, wanted: str) -> bool:
    try:
        return content_hash(checked_files(folder)) == wanted
    except ModelFolderError:
        return False


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


def model_card(name: str, run: Any, sha256: str, figures: dict[str, float], origins: dict[str, str]) -> str:
    """The model card in Markdown: what it is, its first weights, figures, and what it was made from."""
    tags = run.data.tags
    dirty = " with uncommitted changes" if tags.get("vitrine.dirty") == "true" else ""
    own = {k: v for k, v in run.data.metrics.items() if not k.startswith(NO_FIGURES)}
    made = (
        f"Made by stage `{tags.get('vitrine.stage', '')}` in run `{run.info.run_id}`, "
        f"from commit `{tags.get('vitrine.git_commit') or 'unknown'}`{dirty}."
    )
    lines = [f"# {name}", "", made, "", f"SHA-256 of the model's files: `{sha256}`.", ""]
    sections = {
        "Weights made elsewhere": origins,
        "Figures of the pipeline run": {key: f"{value:.4f}" for key, value in figures.items()},
        "Figures of the training": {key: f"{value:.4f}" for key, value in own.items()},
        "Made from": {k.removeprefix(DEP): v for k, v in tags.items() if k.startswith(DEP)},
        "Parameters": run.data.params,
    }
    for title, values in sections.items():
        rows = [f"| {_cell(k)} | {_cell(v)} |" for k, v in sorted(values.items())]
        lines += [f"## {title}", "", "| name | value |", "|---|---|", *rows, ""] if rows else []
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table: one line, and no markup of its own."""
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", plain)
