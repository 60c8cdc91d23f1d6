"""All parameters, checked before anything runs: params.yaml, a profile over it, ``--set`` over both."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from components.stage.errors import ConfigurationError
from components.stage.params import block_model, did_you_mean, full_stop, merged, read_yaml, validate

# Top-level key of params.yaml -> the model it must fit. Parameter modules import nothing heavy.
BLOCKS: Mapping[str, str] = {
    "shop": "components.shop.params:ShopParams",
    "catalog": "components.catalog.build.params:CatalogParams",
    "quality": "components.quality.params:QualityParams",
    "encoder": "components.encoder.model.params:EncoderParams",
    "encoder_eval": "components.encoder.model.params:EvaluationParams",
    "embeddings": "components.encoder.model.params:EmbeddingsParams",
    "llm": "components.llm.params:LLMParams",
    "clarify": "components.vlclip.agent.params:ClarifyParams",
    "ground": "components.vlclip.model.params:GroundParams",
    "vlclip": "components.vlclip.model.params:VlclipParams",
    "vlclip_eval": "components.vlclip.model.params:VlclipEvaluationParams",
    "listing_quality": "components.quality.params:ListingQualityParams",
    "refine": "components.opal.refine.params:RefineParams",
    "refine_eval": "components.opal.refine.params:RefineEvalParams",
    "fusion": "components.fusion.model.params:FusionParams",
    "align_text": "components.fusion.model.params:AlignmentParams",
    "align_image": "components.fusion.model.params:AlignImageParams",
    "fuse": "components.fusion.model.params:FuseParams",
    "fusion_eval": "components.fusion.evaluate.params:FusionEvaluationParams",
    "fusion_search": "components.fusion.model.params:SearchParams",
    "listing": "components.opal.model.params:ListingParams",
    "sft": "components.opal.model.params:SftParams",
    "preferences": "components.opal.model.params:PreferencesParams",
    "dpo": "components.opal.model.params:DpoParams",
    "listing_eval": "components.opal.model.params:ListingEvalParams",
    "describe": "components.opal.model.params:DescribeParams",
    "index": "components.retrieval.params:IndexParams",
    "report": "components.report.params:ReportParams",
    "tracking": "components.tracking.params:TrackingParams",
    "runner": "flows.params:RunnerParams",
}


def model(block: str) -> type[BaseModel]:
    """The parameter model of a block."""
    module, _, name = BLOCKS[block].partition(":")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, type) and issubclass(found, BaseModel)
    return found


def check_parameters(path: Path, required: Iterable[str] = ()) -> dict[str, BaseModel]:
    """Read every block of a parameter file; ``required`` blocks must be there.

    Raises:
        ConfigurationError: every unknown block, missing block and value that does not fit, in one message.
    """
    return check_blocks(read_yaml(path), str(path), required)


def check_blocks(
    blocks: Mapping[str, Any], source: str, required: Iterable[str] = ()
) -> dict[str, BaseModel]:
    """The typed blocks of ``blocks``, defaults filled in; ``source`` says in an error where they stand.

    Raises:
        ConfigurationError: as :func:`check_parameters`.
    """
    problems = [
        f"unknown block '{n}', {did_you_mean(str(n), list(BLOCKS))}" for n in blocks if n not in BLOCKS
    ]
    problems += [f"block '{name}' is missing" for name in required if name not in blocks]
    checked: dict[str, BaseModel] = {}
    for name in blocks.keys() & BLOCKS.keys():
        try:
            checked[name] = validate(model(name), blocks[name], name)
        except ConfigurationError as error:
            problems.append(str(error).rstrip("."))
    if problems:
        raise ConfigurationError(full_stop(f"{source}: {'; '.join(problems)}"))
    return {name: checked[name] for name in blocks}


def with_profile(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The blocks of ``base`` with those of a profile laid on them, as :func:`merged` does."""
    result = dict(base)
    for name, values in over.items():
        both = name in BLOCKS and isinstance(values, Mapping) and isinstance(base.get(name), Mapping)
        result[name] = merged(model(name), base[name], values) if both else values
    return result


def parse_override(text: str) -> tuple[list[str], Any]:
    """``a.b=c`` as keys and a typed YAML value: ``3`` is a number, ``[a, b]`` a list, ``null`` nothing.

    Raises:
        ConfigurationError: no ``=``, an empty key, or a value that is not YAML.
    """
    key, sign, value = text.partition("=")
    keys = key.strip().split(".")
    if not sign or not all(keys):
        raise ConfigurationError(f"--set {text}: write it as --set block.key=value.")
    try:
        return keys, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"--set {text}: the value is not valid YAML ({' '.join(str(error).split())})."
        ) from None


def with_overrides(blocks: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """``blocks`` with overrides applied; an override may name a key that stands in the models alone.

    Raises:
        ConfigurationError: an override names a key that no model has.
    """
    for override in overrides:
        keys, value = parse_override(override)
        name = keys[0]
        now = {name: _resolved(blocks, name) if name in BLOCKS else {}}
        blocks = with_profile(blocks, _nested(None, now, keys, 0, value))
    return dict(blocks)


def _resolved(blocks: Mapping[str, Any], name: str) -> dict[str, Any]:
    return validate(model(name), blocks.get(name, {}), name).model_dump(mode="json")


def _nested(kind: type[BaseModel] | None, now: Any, keys: list[str], at: int, value: Any) -> dict[str, Any]:
    """``value`` at ``keys[at:]``, to be laid over ``now``; a mapping with free keys is given whole."""
    name = keys[at]
    now = now if isinstance(now, Mapping) else {}
    known = list(BLOCKS) if not at else list(kind.model_fields if kind else now)
    if name not in known:
        told = did_you_mean(name, known)
        raise ConfigurationError(full_stop(f"--set {'.'.join(keys[: at + 1])}: unknown key, {told}"))
    below = value
    if at + 1 < len(keys):
        field = kind.model_fields[name] if kind else None
        inner = model(name) if not at else block_model(field.annotation) if field else None
        below = _nested(inner, now.get(name), keys, at + 1, value)
    return {name: below} if kind or not at else {**now, name: below}


OVERRIDE = re.compile(
    r"(?:.+-)?set-[0-9a-f]{8}"
)  # what ``overrides_name`` makes, behind a profile's name or alone


def overrides_name(overrides: Sequence[str]) -> str:
    """A stable short name for a set of overrides; ``OVERRIDE`` is its pattern."""
    parsed = sorted((".".join(keys), repr(value)) for keys, value in map(parse_override, overrides))
    return "set-" + hashlib.sha256(repr(parsed).encode()).hexdigest()[:8]
