"""Door of VL-CLIP: ``python -m components.vlclip ground|clarify|train VARIANT|evaluate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from components.stage.frame import Command, run
from components.stage.params import load_params, with_seed
from components.stage.record import Record

if TYPE_CHECKING:
    from components.vlclip.model.variants import Sources

CATALOGUE, TRUTH = Path("data/checked"), Path("data/truth")
ENCODER, EMBEDDINGS = Path("models/encoder"), Path("data/embeddings")
GROUNDING, CLARIFIED = Path("data/grounding"), Path("data/clarified")
MODELS, STUDY = Path("models/vlclip"), Path("models/study/vlclip")
ENCODER_LAMBDA_ZERO = Path("models/study/encoder_lambda_zero")
GROUNDING_LAMBDA_ZERO = Path("data/study/grounding_lambda_zero")


def _sources(truth: Path | None = None) -> Sources:
    from components.vlclip.model.params import CACHE
    from components.vlclip.model.variants import Sources

    return Sources(CATALOGUE, GROUNDING, CLARIFIED, CACHE, truth)


def _study_sources(variant: str) -> Sources:
    """Studies may read the truth, and one of them has boxes of its own."""
    from dataclasses import replace

    own = _sources(TRUTH)
    return replace(own, grounding=GROUNDING_LAMBDA_ZERO) if variant == "lambda_zero" else own


def ground(record: Record) -> None:
    """Stage ``ground``: where each product is in its picture."""
    from components.vlclip.grounding.stage import ground_catalogue
    from components.vlclip.model.params import GroundParams

    params = load_params("ground", GroundParams)
    record.parameters = params.model_dump(mode="json")
    ground_catalogue(params, CATALOGUE, ENCODER, GROUNDING, record)


def train(record: Record, variant: str) -> None:
    """Stages ``vlclip@raw`` and ``vlclip@full``: go on from the encoder with one variant's pairs."""
    from components.vlclip.model.params import VlclipParams
    from components.vlclip.model.stage import train_and_publish
    from components.vlclip.model.variants import variant_named

    chosen = variant_named(variant, ("raw", "full"))
    params = load_params("vlclip", VlclipParams)
    record.parameters = params.model_dump(mode="json")
    curves = Path(f"plots/vlclip_{variant}.csv")
    train_and_publish(chosen, params, _sources(), ENCODER, MODELS / variant, curves, record)


def study(record: Record, variant: str, seed: str) -> None:
    """Study stages: any variant with any seed, ``own`` for the block's; ``true_box`` reads the true boxes."""
    from components.vlclip.model.params import VlclipParams
    from components.vlclip.model.stage import train_and_publish
    from components.vlclip.model.variants import study_name, variant_named

    chosen = variant_named(variant)
    params = with_seed(load_params("vlclip", VlclipParams), seed)
    record.parameters = params.model_dump(mode="json")
    name = study_name(variant, seed)
    curves = Path(f"plots/study/vlclip_{name}.csv")
    train_and_publish(chosen, params, _study_sources(variant), ENCODER, STUDY / name, curves, record)


def study_lambda_zero(record: Record) -> None:
    """Study stage: the boxes that an encoder finds which was trained without the patch loss."""
    from components.vlclip.grounding.stage import ground_catalogue
    from components.vlclip.model.params import GroundParams

    params = load_params("ground", GroundParams)
    record.parameters = params.model_dump(mode="json")
    ground_catalogue(params, CATALOGUE, ENCODER_LAMBDA_ZERO, GROUNDING_LAMBDA_ZERO, record)


def evaluate(record: Record) -> None:
    """Stage ``vlclip_eval``: raw and full beside the encoder they started from, and the boxes."""
    _evaluate(record, [])


def evaluate_study(record: Record) -> None:
    """Study stage: the same tables with every row that a study has trained."""
    _evaluate(record, sorted(p.name for p in STUDY.iterdir() if p.is_dir()) if STUDY.is_dir() else [])


def _evaluate(record: Record, studied: list[str]) -> None:
    from components.vlclip.evaluate.stage import Entrant, Outputs, evaluate_and_publish
    from components.vlclip.model.params import VlclipEvaluationParams, VlclipParams
    from components.vlclip.model.variants import UNTRAINED, VARIANTS, split_study_name

    params = load_params("vlclip_eval", VlclipEvaluationParams)
    margin = load_params("vlclip", VlclipParams).margin
    record.parameters = params.model_dump(mode="json")
    entrants = {"untrained": Entrant(UNTRAINED, ENCODER, _sources())}
    entrants |= {name: Entrant(VARIANTS[name], MODELS / name, _sources()) for name in ("raw", "full")}
    for name in studied:
        variant, _ = split_study_name(name)
        entrants[name] = Entrant(VARIANTS[variant], STUDY / name, _study_sources(variant))
    groundings = {"encoder": GROUNDING}
    if "lambda_zero" in studied:
        groundings["encoder_lambda_zero"] = GROUNDING_LAMBDA_ZERO
    kind = "study_" if studied else ""
    outputs = Outputs(
        Path(f"metrics/{kind}vlclip.json"),
        Path(f"metrics/{kind}ground.json"),
        Path(f"results/per_query/{kind}vlclip"),
    )
    evaluate_and_publish(params, margin, entrants, groundings, _sources(TRUTH), outputs, record)


def clarify(record: Record) -> None:
    """Stage ``clarify``: one clean text per product."""
    from components.llm.params import LLMParams
    from components.vlclip.agent.params import ClarifyParams
    from components.vlclip.agent.stage import clarify_catalogue

    params, llm_params = load_params("clarify", ClarifyParams), load_params("llm", LLMParams)
    record.parameters = {
        "clarify": params.model_dump(mode="json"),
        "llm": llm_params.model_dump(mode="json"),
    }
    clarify_catalogue(params, llm_params, CATALOGUE, EMBEDDINGS, ENCODER, CLARIFIED, record)


COMMANDS: dict[str, Command] = {
    "ground": ground,
    "clarify": clarify,
    "train": train,
    "evaluate": evaluate,
    "study": study,
    "study_lambda_zero": study_lambda_zero,
    "evaluate_study": evaluate_study,
}

if __name__ == "__main__":
    sys.exit(run("vlclip", COMMANDS))
