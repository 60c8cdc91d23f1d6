"""Door of fusion retrieval: ``python -m components.fusion align_text|align_image|fuse NETWORK|evaluate``.

The commands that end in ``_without`` are the ablations of ``studies/dvc.yaml``; their models lie in a folder
of the ablation's name. ``evaluate_study`` measures all networks and ablations.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from components.stage.door import run
from components.stage.params import load_params
from components.stage.record import Record

CATALOGUE, ENCODER, MODELS = Path("data/checked"), Path("models/encoder"), Path("models/fusion")


def _folder(ablation: str) -> Path:
    return MODELS / ablation if ablation else MODELS


def _curves(stage: str, ablation: str) -> Path:
    return Path("plots") / ("_".join(filter(None, (stage, ablation))) + ".csv")


def _known(word: str, known: Sequence[str]) -> str:
    """``word`` if it is one of ``known``.

    Raises:
        FusionConfigurationError: it is not.
    """
    from components.fusion.errors import FusionConfigurationError

    if word not in known:
        raise FusionConfigurationError(f"'{word}' is none of {', '.join(known)}.")
    return word


def align(record: Record, stage: str, ablation: str = "") -> None:
    """One of the two stages that align the towers with queries."""
    from components.fusion.params import CACHE, AlignmentParams, FusionParams
    from components.fusion.publish_alignment import align_and_publish

    fusion, params = load_params("fusion", FusionParams), load_params(stage, AlignmentParams)
    record.parameters = {"fusion": fusion.model_dump(mode="json"), stage: params.model_dump(mode="json")}
    if ablation == "no_query_text":
        params = params.model_copy(update={"text_weight": 0.0})
    first = stage == "align_text"
    start = ENCODER if first or ablation == "no_query_text" else _folder(ablation) / "align_text"
    untrained = first and ablation == "no_domain"
    model, curves = _folder(ablation) / stage, _curves(stage, ablation)
    align_and_publish(fusion, params, CATALOGUE, start, untrained, model, curves, CACHE, record)


def align_text(record: Record) -> None:
    """Stage ``align_text``: queries with product texts."""
    align(record, "align_text")


def align_image(record: Record) -> None:
    """Stage ``align_image``: queries with product pictures."""
    align(record, "align_image")


def align_text_without(record: Record, ablation: str) -> None:
    """The first stage of an ablation that has one."""
    align(record, "align_text", _known(ablation, ("no_domain",)))


def align_image_without(record: Record, ablation: str) -> None:
    """The second stage of an ablation that has one."""
    align(record, "align_image", _known(ablation, ("no_domain", "no_query_text")))


def _fuse(record: Record, network: str, ablation: str) -> None:
    from components.fusion.params import CACHE, FuseParams, FusionParams
    from components.fusion.publish_network import fuse_and_publish

    fusion, params = load_params("fusion", FusionParams), load_params("fuse", FuseParams)
    record.parameters = {"fusion": fusion.model_dump(mode="json"), "fuse": params.model_dump(mode="json")}
    towers = MODELS / "align_text" if ablation == "no_query_image" else _folder(ablation) / "align_image"
    model, curves = _folder(ablation) / network, _curves(f"fuse_{network}", ablation)
    fuse_and_publish(network, fusion, params, CATALOGUE, towers, model, curves, CACHE, record)  # type: ignore[arg-type]


def fuse(record: Record, network: str) -> None:
    """Stage ``fuse@NETWORK``: a network in the item tower, on frozen towers."""
    from components.fusion.params import NetworkName

    _fuse(record, _known(network, get_args(NetworkName)), "")


def fuse_without(record: Record, ablation: str) -> None:
    """moe_bilinear on an ablation's towers."""
    from components.fusion.params import Ablation

    _fuse(record, "moe_bilinear", _known(ablation, get_args(Ablation)))


def _evaluate(record: Record, study: bool) -> None:
    from components.fusion.params import CACHE, FusionEvaluationParams, FusionParams
    from components.fusion.publish_evaluation import evaluate_and_publish

    fusion, params = load_params("fusion", FusionParams), load_params("fusion_eval", FusionEvaluationParams)
    blocks = {"fusion": fusion, "fusion_eval": params}
    record.parameters = {name: block.model_dump(mode="json") for name, block in blocks.items()}
    evaluate_and_publish(fusion, params, CATALOGUE, MODELS, study, CACHE, record)


def evaluate(record: Record) -> None:
    """Stage ``fusion_eval``: every row of the table on the held-out split."""
    _evaluate(record, study=False)


def evaluate_study(record: Record) -> None:
    """Stage ``study_fusion``: all networks and ablations on the held-out split."""
    _evaluate(record, study=True)


COMMANDS = (
    align_text,
    align_image,
    fuse,
    evaluate,
    align_text_without,
    align_image_without,
    fuse_without,
    evaluate_study,
)

if __name__ == "__main__":
    sys.exit(run("fusion", {command.__name__: command for command in COMMANDS}))
