"""Door of the encoder: ``python -m components.encoder embed|evaluate|search|similar``."""

from __future__ import annotations

import sys
from pathlib import Path

from components.stage.frame import run
from components.stage.params import load_params
from components.stage.record import Record

CATALOGUE, TRUTH = Path("data/checked"), Path("data/truth")
MODEL, EMBEDDINGS = Path("models/encoder"), Path("data/embeddings")


def embed(record: Record) -> None:
    """Stage ``embeddings``: the vector of every product's picture."""
    from components.encoder.model.features.stage import embed_catalogue
    from components.encoder.model.params import CACHE, EmbeddingsParams

    params = load_params("embeddings", EmbeddingsParams)
    record.parameters = params.model_dump(mode="json")
    embed_catalogue(CATALOGUE, MODEL, EMBEDDINGS, params, CACHE, record)


def evaluate(record: Record) -> None:
    """Stage ``encoder_eval``: every row of the encoder's table on the held-out split."""
    from components.encoder.evaluate.stage import evaluate_and_publish
    from components.encoder.model.params import CACHE, EncoderParams, EvaluationParams

    params = load_params("encoder_eval", EvaluationParams)
    record.parameters = params.model_dump(mode="json")
    evaluate_and_publish(
        params, load_params("encoder", EncoderParams), CATALOGUE, TRUTH, MODEL, CACHE, record
    )


if __name__ == "__main__":
    if sys.argv[1:2] in (["search"], ["similar"]):
        from components.encoder.search.command import main

        sys.exit(main(sys.argv[1:]))
    sys.exit(run("encoder", {"embed": embed, "evaluate": evaluate}))
