"""Every block of params.yaml: the model it must fit, and the check of all of them at once."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.stage.attribute_names import unknown_attributes
from components.stage.errors import ConfigurationError
from components.stage.params import PARAMS_FILE, did_you_mean, full_stop, read_yaml, validate
from components.stage.paths import Paths

# Top-level key of params.yaml -> the model it must fit. Parameter modules import nothing heavy.
BLOCKS: Mapping[str, str] = {
    "shop": "components.shop.params:ShopParams",
    "catalog": "components.catalog.build.params:CatalogParams",
    "quality": "components.quality.params:QualityParams",
    "encoder": "components.encoder.model.params:EncoderParams",
    "encoder_eval": "components.encoder.model.params:EvaluationParams",
    "embeddings": "components.encoder.model.params:EmbeddingsParams",
    "hubs": "components.encoder.embed.params:HubParams",
    "llm": "components.llm.params:LLMParams",
    "clarify": "components.vlclip.agent.params:ClarifyParams",
    "ground": "components.grounding.params:GroundParams",
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
    "runner": "components.parameters.runner:RunnerParams",
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


def unknown_in_workspace(root: Path) -> list[str]:
    """Sentences about attributes that the parameters name and the checked catalogue has not.

    Empty where there is no checked catalogue yet, or one that cannot be read: its stages say so themselves.
    """
    try:
        schema = json.loads((root / Paths().catalogue / "schema.json").read_text(encoding="utf-8"))
        known = {name for category in schema["categories"].values() for name in category["attributes"]}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return []
    return list(unknown_attributes(read_yaml(root / PARAMS_FILE), known))
