"""Door of OPAL: ``python -m components.opal refine|refine_eval``."""

from __future__ import annotations

import sys
from pathlib import Path

from components.stage.door import run
from components.stage.params import load_params
from components.stage.record import Record

CATALOGUE, TRUTH = Path("data/checked"), Path("data/truth")
ENCODER, EMBEDDINGS = Path("models/encoder"), Path("data/embeddings")
REFINED = Path("data/refined")


def refine(record: Record) -> None:
    """Stage ``refine``: listings cleaned by judges (MACE), and instruction samples of them (LACU)."""
    from components.llm.params import LLMParams
    from components.opal.publish_refinement import refine_and_publish
    from components.opal.refine_params import RefineParams

    params = load_params("refine", RefineParams)
    record.parameters = params.model_dump(mode="json")
    chat = load_params("llm", LLMParams)
    if params.mllm:
        record.parameters |= {"llm": chat.model_dump(mode="json")}
    refine_and_publish(params, chat, CATALOGUE, ENCODER, EMBEDDINGS, REFINED, record)


def refine_eval(record: Record) -> None:
    """Stage ``refine_eval``: sellers' and refined listings against the truth."""
    from components.opal.publish_refinement_evaluation import evaluate_and_publish
    from components.opal.refine_params import RefineEvalParams

    params = load_params("refine_eval", RefineEvalParams)
    record.parameters = params.model_dump(mode="json")
    evaluate_and_publish(params, CATALOGUE, TRUTH, REFINED, record)


COMMANDS = {"refine": refine, "refine_eval": refine_eval}

if __name__ == "__main__":
    sys.exit(run("opal", COMMANDS))
