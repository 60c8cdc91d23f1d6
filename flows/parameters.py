"""The whole of params.yaml, checked before anything runs, and ``--set`` overrides."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from components.stage.errors import ConfigurationError
from components.stage.params import read_yaml, validate

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
    "listing_quality": "components.quality.listings.params:ListingQualityParams",
    "refine": "components.opal.refine.params:RefineParams",
    "refine_eval": "components.opal.refine.params:RefineEvalParams",
    "fusion": "components.fusion.model.params:FusionParams",
    "align_text": "components.fusion.model.params:AlignmentParams",
    "align_image": "components.fusion.model.params:AlignImageParams",
    "fuse": "components.fusion.model.params:FuseParams",
    "fusion_eval": "components.fusion.model.params:FusionEvaluationParams",
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
    blocks = read_yaml(path)
    problems = [_unknown(str(name)) for name in blocks if name not in BLOCKS]
    problems += [f"block '{name}' is missing" for name in required if name not in blocks]
    checked: dict[str, BaseModel] = {}
    for name, values in blocks.items():
        if name not in BLOCKS:
            continue
        try:
            checked[name] = validate(model(name), values, name)
        except ConfigurationError as error:
            problems.append(str(error).rstrip("."))
    if problems:
        raise ConfigurationError(f"{path}: {'; '.join(problems)}.")
    return checked


def _unknown(name: str) -> str:
    """A sentence for a block nobody reads."""
    near = difflib.get_close_matches(name, BLOCKS, n=1)
    return f"unknown block '{name}' ({f'did you mean {near[0]}?' if near else 'known: ' + ', '.join(BLOCKS)})"


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


def with_overrides(text: str, overrides: Sequence[str]) -> str:
    """The parameter file ``text`` with overrides applied; comments and order stay.

    Raises:
        ConfigurationError: an override names a key that is not in the file.
    """
    from ruamel.yaml import YAML

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    editor.representer.add_representer(float, _as_yaml_1_1)
    editor.allow_unicode = False  # a line separator of Unicode, written as it is, would be read as a space
    document = editor.load(text)
    for override in overrides:
        keys, value = parse_override(override)
        place = document
        for depth, key in enumerate(keys):
            if not isinstance(place, dict) or key not in place:
                raise ConfigurationError(_no_such_key(keys[: depth + 1], place))
            if depth == len(keys) - 1:
                place[key] = value
            place = place[key]
    out = StringIO()
    editor.dump(document, out)
    return out.getvalue()


def _as_yaml_1_1(representer: Any, value: float) -> Any:
    """A float as YAML 1.1 reads it, for that is how parameters are read: 1.0e-05, where 1e-05 is a string."""
    return representer.represent_scalar("tag:yaml.org,2002:float", yaml.safe_dump(value).split()[0])


def _no_such_key(keys: list[str], place: object) -> str:
    """A sentence that names the keys that do exist there."""
    there = [str(key) for key in place] if isinstance(place, dict) else []
    near = difflib.get_close_matches(keys[-1], there, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there: {', '.join(there) or 'a value, no keys'}"
    return f"--set {'.'.join(keys)}: no such key ({hint})."


OVERRIDE = re.compile(
    r"(?:.+-)?set-[0-9a-f]{8}"
)  # what ``overrides_name`` makes, behind a profile's name or alone


def overrides_name(overrides: Sequence[str]) -> str:
    """A stable short name for a set of overrides; ``OVERRIDE`` is its pattern."""
    parsed = sorted((".".join(keys), repr(value)) for keys, value in map(parse_override, overrides))
    return "set-" + hashlib.sha256(repr(parsed).encode()).hexdigest()[:8]
