"""Door of fusion retrieval: ``python -m components.fusion align_text|align_image|fuse NETWORK|evaluate``.

``study_align STAGE VARIANT SEED``, ``study VARIANT SEED`` and ``evaluate_study`` serve ``studies/dvc.yaml``;
``search`` is no stage.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from components.stage.frame import run
from components.stage.params import load_params, with_seed
from components.stage.record import Record

if TYPE_CHECKING:
    from components.fusion.model.params import FusionEvaluationParams, FusionParams

CATALOGUE, ENCODER, CURVES = Path("data/checked"), Path("models/encoder"), Path("plots")
MODELS, STUDY = Path("models/fusion"), Path("models/study/fusion")


def _align(
    record: Record, stage: str, start: Path, model: Path, curves: Path, variant: str, seed: str
) -> None:
    from components.fusion.model.align.stage import align_and_publish
    from components.fusion.model.params import CACHE, AlignImageParams, AlignmentParams, FusionParams
    from components.fusion.model.studies import alignment_params

    fusion = load_params("fusion", FusionParams)
    block: type[AlignmentParams] = AlignImageParams if stage == "align_image" else AlignmentParams
    params = alignment_params(load_params(stage, block), variant, seed)
    record.parameters = {"fusion": fusion.model_dump(mode="json"), stage: params.model_dump(mode="json")}
    untrained = (stage, variant) == ("align_text", "no_domain")
    align_and_publish(fusion, params, CATALOGUE, start, untrained, model, curves, CACHE, record)


def align_text(record: Record) -> None:
    """Stage ``align_text``: queries with product texts."""
    _align(record, "align_text", ENCODER, MODELS / "align_text", CURVES / "align_text.csv", "whole", "own")


def align_image(record: Record) -> None:
    """Stage ``align_image``: queries with product pictures."""
    start, model = MODELS / "align_text", MODELS / "align_image"
    _align(record, "align_image", start, model, CURVES / "align_image.csv", "whole", "own")


def study_align(record: Record, stage: str, variant: str, seed: str) -> None:
    """Study stages: an alignment stage of an ablation, or of the whole (``whole``) with another seed."""
    from components.fusion.model.studies import checked_alignment, study_name, towers_before

    checked_alignment(stage, variant)
    name = study_name(stage, variant, seed)
    start = towers_before(stage, variant, seed, ENCODER, STUDY)
    _align(record, stage, start, STUDY / name, CURVES / f"study/fusion_{name}.csv", variant, seed)


def _fuse(record: Record, network: str, towers: Path, model: Path, curves: Path, seed: str) -> None:
    from components.fusion.model.fuse.stage import fuse_and_publish
    from components.fusion.model.params import CACHE, FuseParams, FusionParams

    fusion, params = load_params("fusion", FusionParams), with_seed(load_params("fuse", FuseParams), seed)
    record.parameters = {"fusion": fusion.model_dump(mode="json"), "fuse": params.model_dump(mode="json")}
    fuse_and_publish(network, fusion, params, CATALOGUE, towers, model, curves, CACHE, record)  # type: ignore[arg-type]


def fuse(record: Record, network: str) -> None:
    """Stage ``fuse@NETWORK``: a network in the item tower, on frozen towers."""
    from components.fusion.model.params import NetworkName, one_of

    known = one_of(network, get_args(NetworkName))
    _fuse(record, known, MODELS / "align_image", MODELS / known, CURVES / f"fuse_{known}.csv", "own")


def study(record: Record, variant: str, seed: str) -> None:
    """Study stages: a network, or an ablation's ``moe_bilinear``, with any seed; ``own`` for the block's."""
    from components.fusion.model.studies import network_of, study_name, towers_of

    network, towers = network_of(variant), towers_of(variant, seed, MODELS, STUDY)
    name = study_name("", variant, seed)
    _fuse(record, network, towers, STUDY / name, CURVES / f"study/fusion_{name}.csv", seed)


def _evaluation(record: Record) -> tuple[FusionParams, FusionEvaluationParams]:
    """The two blocks of an evaluation, noted in the record."""
    from components.fusion.model.params import FusionEvaluationParams, FusionParams

    fusion, params = load_params("fusion", FusionParams), load_params("fusion_eval", FusionEvaluationParams)
    record.parameters = {
        "fusion": fusion.model_dump(mode="json"),
        "fusion_eval": params.model_dump(mode="json"),
    }
    return fusion, params


def evaluate(record: Record) -> None:
    """Stage ``fusion_eval``: every row of the table on the held-out split."""
    from components.fusion.evaluate.stage import evaluate_and_publish
    from components.fusion.model.params import CACHE

    fusion, params = _evaluation(record)
    evaluate_and_publish(fusion, params, CATALOGUE, MODELS, CACHE, record)


def evaluate_study(record: Record) -> None:
    """Study stage: all networks, ablations and seeds on the held-out split."""
    from components.fusion.evaluate.study_stage import evaluate_study_and_publish
    from components.fusion.model.params import CACHE

    fusion, params = _evaluation(record)
    evaluate_study_and_publish(fusion, params, CATALOGUE, MODELS, STUDY, CACHE, record)


COMMANDS = (align_text, align_image, fuse, evaluate, study_align, study, evaluate_study)

if __name__ == "__main__":
    if sys.argv[1:2] == ["search"]:
        from components.fusion.search.command import main

        sys.exit(main(sys.argv[2:]))
    sys.exit(run("fusion", {command.__name__: command for command in COMMANDS}))
