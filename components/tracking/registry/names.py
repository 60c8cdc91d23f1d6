"""Names of registered models: each carries its catalogue, and holds models of that catalogue alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.stage.left_out import reason_in
from components.tracking.errors import TrackingError, UnknownReferenceError
from components.tracking.params import TrackingParams
from components.tracking.store import CATALOGUE, in_catalogue

CONTENT = "vitrine.model_sha256"
FORCED = "vitrine.forced"  # says that a version stands under a name or alias of another catalogue
MODEL_FOLDER = "model"  # where the files of a registered model are among its LoggedModel's artifacts


@contextmanager
def registry_call(what: str) -> Iterator[None]:
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
    """Name -> folder: those named, or every known model whose folder stands in the workspace.

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


def full_name(params: TrackingParams, catalogue: str, name: str) -> str:
    """``encoder`` of catalogue ``fashion`` is ``vitrine-fashion-encoder``; a name of one's own stays."""
    start = f"{params.experiment}-"
    short, known = name.removeprefix(start), {model.removeprefix(start) for model in params.models}
    return f"{in_catalogue(params.experiment, catalogue)}-{short}" if short in known else name


def existing_name(client: Any, params: TrackingParams, catalogue: str, name: str) -> str:
    """The registered model that a person means: the one of exactly this name, or this catalogue's."""
    full = full_name(params, catalogue, name)
    found = {model.name for model in client.search_registered_models(_named(name))} if full != name else set()
    return name if name in found else full


def _named(name: str) -> str:
    return "name='{}'".format(name.replace("'", ""))


def refuse_other_catalogue(kept: str, holder: str, offered: str, force: bool) -> dict[str, str]:
    """Tags that mark a version of catalogue ``offered`` where ``holder`` is of ``kept``; {} if same.

    Raises:
        UnknownReferenceError: they differ, and it is not forced.
    """
    if not (kept and offered) or kept == offered:
        return {}
    said = f"{holder} is of catalogue '{kept}', this model of '{offered}'"
    if not force:
        raise UnknownReferenceError(f"{said}: give another name, or say --force; the version is then marked.")
    return {FORCED: said}


def catalogue_of_name(client: Any, name: str) -> str:
    """The catalogue whose models stand under a registered name; "" for a new name, or an empty one."""
    from mlflow.exceptions import MlflowException

    try:
        held = [client.get_registered_model(name)]
    except MlflowException:
        return ""
    held += client.search_model_versions(_named(name), order_by=["version_number DESC"], max_results=1)
    return next((one.tags[CATALOGUE] for one in held if one.tags.get(CATALOGUE)), "")
