"""Typed parameters: frozen, strict models with their defaults; params.yaml and profiles say what differs."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.stage.errors import ConfigurationError

INTEGER = "tag:yaml.org,2002:int"
PARAMS_FILE = Path("params.yaml")
Share = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["bf16", "fp32"]


class Params(BaseModel):
    """Base of every parameter block: immutable, and an unknown key is an error, not a silent default.

    What stands beside a field, or above it, as a comment is its documentation: ``vitrine params`` prints it.

    Attributes:
        whole: the fields say one thing together: a mapping given for such a block replaces the default and
            does not change it key by key.
    """

    whole: ClassVar[bool] = False

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _over_defaults(cls, values: Any) -> Any:
        """A mapping given for a field changes the field's own default key by key, not the model's."""
        if not isinstance(values, Mapping):
            return values
        fields = cls.model_fields
        return {
            name: _over(fields[name].default, value) if name in fields else value
            for name, value in values.items()
        }


def _over(default: Any, value: Any) -> Any:
    """``value``, completed by ``default`` where that is a block of parameters and ``value`` a mapping."""
    if not isinstance(default, Params) or default.whole or not isinstance(value, Mapping):
        return value
    return dict(default) | {key: _over(getattr(default, str(key), None), v) for key, v in value.items()}


def block_model(annotation: object) -> type[BaseModel] | None:
    """The parameter model that a field holds (``X`` or ``X | None``); None where it holds anything else."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    models = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return next(models, None)


def merged(model: type[BaseModel] | None, base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` laid on it; neither is changed.

    Where both hold a mapping for a field that is itself a parameter model, they merge key by key. Everything
    else is replaced: numbers, lists, null, mappings with free keys, and models that are ``whole``.
    """
    result = dict(base)
    for key, value in over.items():
        field = model.model_fields.get(key) if model else None
        inner = block_model(field.annotation) if field else None
        below = result.get(key)
        both = inner is not None and isinstance(value, Mapping) and isinstance(below, Mapping)
        apart = both and not getattr(inner, "whole", False)
        result[key] = merged(inner, below, value) if apart else value  # type: ignore[arg-type]
    return result


P = TypeVar("P", bound=BaseModel)


def parameters_file() -> Path:
    """The file that parameters are read from: params.yaml, or what ``VITRINE_PARAMS`` names."""
    return Path(os.environ.get("VITRINE_PARAMS", PARAMS_FILE))


class _Loader(yaml.SafeLoader):
    """Reads ``010`` and ``1:30`` as texts, as YAML 1.2 and DVC do not count in eights and sixties."""


_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] != INTEGER]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    INTEGER, re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)


def load_yaml(text: str) -> Any:
    """A YAML document; a number with a zero before it stays a text, which becomes a number where one is due.

    Raises:
        yaml.YAMLError: it is none.
    """
    return yaml.load(text, Loader=_Loader)


def read_yaml(path: Path) -> dict[str, object]:
    """Read a YAML mapping.

    Raises:
        ConfigurationError: the file is missing, is not YAML, or is not a mapping at its top level.
    """
    try:
        loaded = load_yaml(path.read_text(encoding="utf-8"))
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
            unknown = item["type"] == "extra_forbidden"
            text = f"unknown key, {_nearest(model, item['loc'])}" if unknown else item["msg"]
            problems.append(f"{key}: {text}")
        raise ConfigurationError(full_stop("; ".join(problems))) from None


def _nearest(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """What a key that no model has may have meant: ``loc`` is its place below ``model``."""
    inner: type[BaseModel] | None = model
    for name in loc[:-1]:
        field = inner.model_fields.get(str(name)) if inner else None
        inner = _model_within(field.annotation) if field else inner
    return did_you_mean(str(loc[-1]), sorted(inner.model_fields) if inner else [])


def _model_within(annotation: object) -> type[BaseModel] | None:
    """The parameter model of a field, or of the items that it holds."""
    return next(filter(None, map(block_model, (annotation, *get_args(annotation)))), None)


def full_stop(text: str) -> str:
    """``text`` as a sentence; one that asks has its mark already."""
    return text if text.endswith("?") else f"{text}."


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """``did you mean epochs?``, or all that is known where nothing is near."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'a value, no keys'}"


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
