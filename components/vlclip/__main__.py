"""Door of VL-CLIP: ``python -m components.vlclip ground|clarify|train VARIANT|evaluate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from components.stage.door import run
from components.stage.params import load_params
from components.stage.record import Record

if TYPE_CHECKING:
    from components.vlclip.variants import Sources

CATALOGUE, TRUTH = Path("data/checked"), Path("data/truth")
ENCODER, EMBEDDINGS = Path("models/encoder"), Path("data/embeddings")
GROUNDING, CLARIFIED = Path("data/grounding"), Path("data/clarified")
MODELS, STUDY = Path("models/vlclip"), Path("models/study/vlclip")


def _sources(truth: Path | None = None) -> Sources:
    from components.vlclip.params import CACHE
    from components.vlclip.variants import Sources

    return Sources(CATALOGUE, GROUNDING, CLARIFIED, CACHE, truth)


def ground(record: Record) -> None:
    """Stage ``ground``: where each product is in its picture."""
    from components.vlclip.params import GroundParams
    from components.vlclip.publish_grounding import ground_catalogue

    params = load_params("ground", GroundParams)
    record.parameters = params.model_dump(mode="json")
    ground_catalogue(params, CATALOGUE, ENCODER, GROUNDING, record)


def train(record: Record, variant: str) -> None:
    """Stages ``vlclip@raw`` and ``vlclip@full``: go on from the encoder with one variant's pairs."""
    from components.vlclip.params import VlclipParams
    from components.vlclip.publish_training import train_and_publish
    from components.vlclip.variants import variant_named

    chosen = variant_named(variant, ("raw", "full"))
    params = load_params("vlclip", VlclipParams)
    record.parameters = params.model_dump(mode="json")
    curves = Path(f"plots/vlclip_{variant}.csv")
    train_and_publish(chosen, params, _sources(), ENCODER, MODELS / variant, curves, record)


def study(record: Record, variant: str, seed: str) -> None:
    """Study stages: any variant with any seed; ``true_box`` reads the true boxes."""
    from components.vlclip.params import VlclipParams, with_seed
    from components.vlclip.publish_training import train_and_publish
    from components.vlclip.variants import variant_named

    chosen = variant_named(variant)
    params = with_seed(load_params("vlclip", VlclipParams), seed)
    record.parameters = params.model_dump(mode="json")
    name = f"{variant}_{params.seed}"
    curves = Path(f"plots/study/vlclip_{name}.csv")
    train_and_publish(chosen, params, _sources(TRUTH), ENCODER, STUDY / name, curves, record)


def evaluate(record: Record) -> None:
    """Stage ``vlclip_eval``: raw and full beside the encoder they started from, and the boxes."""
    from components.vlclip.params import VlclipEvaluationParams, VlclipParams
    from components.vlclip.publish_evaluation import evaluate_and_publish

    params = load_params("vlclip_eval", VlclipEvaluationParams)
    margin = load_params("vlclip", VlclipParams).margin
    record.parameters = params.model_dump(mode="json")
    models = {name: MODELS / name for name in ("raw", "full")}
    outputs = (Path("metrics/vlclip.json"), Path("metrics/ground.json"), Path("results/per_query/vlclip"))
    evaluate_and_publish(params, margin, _sources(TRUTH), TRUTH, ENCODER, models, outputs, record)


def clarify(record: Record) -> None:
    """Stage ``clarify``: one clean text per product."""
    from components.llm.params import LLMParams
    from components.vlclip.clarify import clarify_catalogue
    from components.vlclip.clarify_params import ClarifyParams

    params, llm_params = load_params("clarify", ClarifyParams), load_params("llm", LLMParams)
    record.parameters = {
        "clarify": params.model_dump(mode="json"),
        "llm": llm_params.model_dump(mode="json"),
    }
    clarify_catalogue(params, llm_params, CATALOGUE, EMBEDDINGS, ENCODER, CLARIFIED, record)


if __name__ == "__main__":
    sys.exit(
        run(
            "vlclip",
            {"ground": ground, "clarify": clarify, "train": train, "study": study, "evaluate": evaluate},
        )
    )
