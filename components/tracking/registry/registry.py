"""The registry: models as versions of a name, with aliases such as ``challenger`` and ``champion``.

A model's bytes enter MLflow only here. A version points to the LoggedModel of the run that trained it, so its
lineage, figures and examples are that model's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.tracking.errors import ModelFolderError, UnknownReferenceError
from components.tracking.lineage.lockfile import tree_md5
from components.tracking.publish.models import DVC, VERSIONS
from components.tracking.publish.publish import tracking_params
from components.tracking.publish.runs import Runs
from components.tracking.registry.model_folder import CARD, checked_files, content_hash
from components.tracking.registry.names import (
    CONTENT,
    MODEL_FOLDER,
    catalogue_of_name,
    existing_name,
    full_name,
    refuse_other_catalogue,
    registry_call,
)
from components.tracking.store import CATALOGUE, catalogue_of, connect, once, store_of

OUT = "vitrine.out."
DESCRIPTION_LENGTH = 4000  # characters; some SQL back ends hold 5,000


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model, under the alias that names it."""

    name: str
    version: str
    alias: str
    run_id: str
    sha256: str  # of the model's files


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
    folder = model_folder if model_folder.is_absolute() else root / model_folder
    sha256 = content_hash(checked_files(folder))
    params = tracking_params(root)
    runs = Runs.open(store_of(root), params.experiment)
    run = _maker(runs, root, folder, run_id)
    catalogue = run.data.tags.get(CATALOGUE, "")
    name = full_name(params, catalogue, name)
    with registry_call(f"{name} was not registered"):
        version = _existing(runs.client, name, run.info.run_id, sha256)
        if version is None:
            kept = catalogue_of_name(runs.client, name)
            marks = refuse_other_catalogue(kept, name, catalogue, force)
            version = _new(runs, name, folder, run, {CONTENT: sha256} | marks)
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


def _new(runs: Runs, name: str, folder: Path, run: Any, tags: dict[str, str]) -> str:
    card = model_card(name, run, tags[CONTENT], headline(runs, run), weights_origins(folder))
    model = _logged_model(runs, run, folder)
    with tempfile.TemporaryDirectory(prefix="vitrine-") as temporary:
        copy = Path(temporary) / "model"
        shutil.copytree(folder, copy)
        (copy / CARD).write_text(card, encoding="utf-8")
        runs.client.log_model_artifacts(model.model_id, str(copy), MODEL_FOLDER)
    catalogue = run.data.tags.get(CATALOGUE, "")
    if not runs.client.search_registered_models(f"name='{name}'"):
        runs.client.create_registered_model(name, tags={CATALOGUE: catalogue} if catalogue else None)
    kept = ("vitrine.git_commit", "vitrine.lock_entry", "vitrine.profile", CATALOGUE)
    tags = tags | {key: run.data.tags[key] for key in kept if key in run.data.tags}
    with _global_store(runs.client), once():
        version = runs.client.create_model_version(
            name,
            f"models:/{model.model_id}",
            run_id=run.info.run_id,
            tags=tags,
            description=card[:DESCRIPTION_LENGTH],
            model_id=model.model_id,
        )
    _name_version(runs.client, model.model_id, name, str(version.version))
    return str(version.version)


def _logged_model(runs: Runs, run: Any, folder: Path) -> Any:
    """The LoggedModel that a run made of a folder."""
    md5 = tree_md5(folder)
    outputs = run.outputs.model_outputs if run.outputs else ()
    for model in (runs.client.get_logged_model(output.model_id) for output in outputs):
        if model.tags.get(DVC) == md5:
            return model
    raise ModelFolderError(
        f"Run {run.info.run_id} has no model of {folder}: run vitrine sync; of folders below models/ alone "
        "a run has one."
    )


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


def _name_version(client: Any, model_id: str, name: str, version: str) -> None:
    """Let the model's page name its version; MLflow's server does this by itself."""
    known = json.loads(client.get_logged_model(model_id).tags.get(VERSIONS, "[]"))
    if not any((one["name"], str(one["version"])) == (name, version) for one in known):
        known.append({"name": name, "version": int(version)})
        client.set_logged_model_tags(model_id, {VERSIONS: json.dumps(known)})


def promote(root: Path, name: str, version: str, alias: str, *, force: bool = False) -> tuple[str, str]:
    """Point an alias at a version; returns the version's number and the one before it, or "".

    ``name`` is as for ``register``; ``version`` is a number, or another alias.

    Raises:
        UnknownReferenceError: no such model or version, or an alias MLflow does not take; a version of
            another catalogue than the name's, or than the one the alias points at, unless ``force``.
        TrackerUnavailableError: the store does not answer.
    """
    root = root.resolve()
    client = connect(store_of(root))
    name = existing_name(client, tracking_params(root), catalogue_of(root), name)
    with registry_call(f"{name} {version} was not promoted"):
        wanted = (
            version if version.isdigit() else str(client.get_model_version_by_alias(name, version).version)
        )
        offered = client.get_model_version(name, wanted).tags.get(CATALOGUE, "")
        registered = client.get_registered_model(name)
        before = str(registered.aliases.get(alias, ""))
        marks = refuse_other_catalogue(registered.tags.get(CATALOGUE, ""), name, offered, force)
        if before:
            kept = client.get_model_version(name, before).tags.get(CATALOGUE, "")
            marks |= refuse_other_catalogue(kept, f"{name}@{alias}", offered, force)
        for key, value in marks.items():
            client.set_model_version_tag(name, wanted, key, value)
        client.set_registered_model_alias(name, alias, wanted)
    return wanted, before


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


def model_card(name: str, run: Any, sha256: str, figures: dict[str, float], origins: dict[str, str]) -> str:
    """The model card in Markdown: what it is, its first weights, figures, and what it was made from."""
    tags = run.data.tags
    dirty = " with uncommitted changes" if tags.get("vitrine.dirty") == "true" else ""
    lines = [
        f"# {name}",
        "",
        f"Made by stage `{tags.get('vitrine.stage', '')}` in run `{run.info.run_id}`, "
        f"from commit `{tags.get('vitrine.git_commit') or 'unknown'}`{dirty}.",
        "",
        f"SHA-256 of the model's files: `{sha256}`.",
        "",
    ]
    own = {k: v for k, v in run.data.metrics.items() if not k.startswith(("system/", "timing/", "curve/"))}
    start = "vitrine.dep."
    sections = {
        "Weights made elsewhere": origins,
        "Figures of the pipeline run": {key: f"{value:.4f}" for key, value in figures.items()},
        "Figures of the training": {key: f"{value:.4f}" for key, value in own.items()},
        "Made from": {k.removeprefix(start): v for k, v in tags.items() if k.startswith(start)},
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
