"""Names and folders of the study's trainings: other networks, three ablations, further seeds.

[P, C] The ablations take away what Beyond Text calls crucial: ``no_domain`` starts from new weights in place
of the encoder that was tuned on the shop, ``no_query_text`` and ``no_query_image`` leave out a stage of
alignment. A seed other than ``own`` goes through alignment and network alike; the encoder below stays one.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from components.fusion.model.errors import FusionConfigurationError
from components.fusion.model.params import Ablation, AlignmentParams, NetworkName, one_of
from components.stage.params import with_seed

WHOLE, OWN, MAIN = "whole", "own", "moe_bilinear"
NETWORKS, ABLATIONS = get_args(NetworkName), get_args(Ablation)
# the alignment stages that each variant trains anew
ALIGNED = {"align_text": (WHOLE, "no_domain"), "align_image": (WHOLE, "no_domain", "no_query_text")}


def study_name(stage: str, variant: str, seed: str) -> str:
    """Folder of a training: stage, variant unless whole, seed unless the block's own."""
    parts = (stage, "" if variant == WHOLE else variant, "" if seed == OWN else seed)
    return "_".join(filter(None, parts))


def checked_alignment(stage: str, variant: str) -> None:
    """Raise FusionConfigurationError unless a study trains this stage for this variant."""
    one_of(variant, ALIGNED[one_of(stage, tuple(ALIGNED))])


def alignment_params(params: AlignmentParams, variant: str, seed: str) -> AlignmentParams:
    """The stage's block as an ablation changes it; without query and text nothing keeps the tower on text."""
    without_text = {"text_weight": 0.0} if variant == "no_query_text" else {}
    return with_seed(params.model_copy(update=without_text), seed)


def towers_before(stage: str, variant: str, seed: str, encoder: Path, study: Path) -> Path:
    """The folder that an alignment stage starts from."""
    first = stage == "align_text" or variant == "no_query_text"
    return encoder if first else study / study_name("align_text", variant, seed)


def network_of(variant: str) -> NetworkName:
    """The network of a variant: itself, or the main one on an ablation's towers.

    Raises:
        FusionConfigurationError: neither a network nor an ablation.
    """
    one_of(variant, (*NETWORKS, *ABLATIONS))
    network: NetworkName = MAIN if variant in ABLATIONS else variant  # type: ignore[assignment]
    return network


def towers_of(variant: str, seed: str, models: Path, study: Path) -> Path:
    """The folder of the towers that a variant's network stands on.

    Raises:
        FusionConfigurationError: an ablation with a seed: it is trained with the blocks' own only.
    """
    if variant in ABLATIONS and seed != OWN:
        raise FusionConfigurationError(f"The ablation {variant} has one seed: give 'own', not '{seed}'.")
    if variant == "no_query_image":
        return models / "align_text"
    if variant in ABLATIONS:
        return study / study_name("align_image", variant, OWN)
    return models / "align_image" if seed == OWN else study / study_name("align_image", WHOLE, seed)


def seeds_of(study: Path) -> list[str]:
    """Seeds, besides the blocks' own, whose towers a study has trained, in order."""
    names = (path.name.removeprefix("align_image_") for path in study.glob("align_image_*"))
    return sorted(name for name in names if name.isdecimal())
