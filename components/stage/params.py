"""Typed parameters: frozen, strict blocks of params.yaml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from components.stage.errors import ConfigurationError

PARAMS_FILE = Path("params.yaml")


class Params(BaseModel):
    """Base of every parameter block: immutable, and an unknown key is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


P = TypeVar("P", bound=BaseModel)


def with_seed(params: P, seed: str) -> P:
    """The same block with another seed, as it stands on the command line; ``own`` for the block's.

    Raises:
        ConfigurationError: ``seed`` is neither a whole number nor ``own``.
    """
    if seed != "own" and not seed.isdecimal():
        raise ConfigurationError(f"'{seed}' is no seed; give a whole number, or 'own'.")
    return params if seed == "own" else params.model_copy(update={"seed": int(seed)})


def parameters_file() -> Path:
    """The file that parameters are read from: params.yaml, or what ``VITRINE_PARAMS`` names."""
    return Path(os.environ.get("VITRINE_PARAMS", PARAMS_FILE))


def read_yaml(path: Path) -> dict[str, object]:
    """Read a YAML mapping.

    Raises:
        ConfigurationError: the file is missing, is not YAML, or is not a mapping at its top level.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} does not exist; run from the root of a Vitrine workspace."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(loaded, dict):
        raise ConfigurationError(f"{path} must hold a mapping of names to values.")
    return loaded


def validate(model: type[P], values: object, where: str) -> P:
    """Build ``model`` from ``values``; every problem is named with its full key.

    Raises:
        ConfigurationError: unknown key, missing key or value out of range; all are listed in one message.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            key = ".".join([where, *map(str, item["loc"])]).strip(".")
            known = (
                ", ".join(sorted(model.model_fields))
                if item["type"] == "extra_forbidden" and len(item["loc"]) == 1
                else ""
            )
            text = (
                "unknown key" + (f" (known: {known})" if known else "")
                if item["type"] == "extra_forbidden"
                else item["msg"]
            )
            problems.append(f"{key}: {text}")
        raise ConfigurationError("; ".join(problems) + ".") from None


def load_params(block: str, model: type[P], path: Path | None = None) -> P:
    """Read one block of params.yaml (or of the file named by ``VITRINE_PARAMS``) as a typed model.

    Raises:
        ConfigurationError: the file or block is missing, or the block does not fit ``model``.
    """
    file = path or parameters_file()
    blocks = read_yaml(file)
    if block not in blocks:
        raise ConfigurationError(f"{file} has no block '{block}'.")
    return validate(model, blocks[block], block)
