"""Which way of ranking answers best on validation, and the weights it was found with: ``answer.json``."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from components.fusion.model.errors import FusionDataError
from components.stage.params import Params, Share, validate
from components.stage.publish import write_text

FILE = "answer.json"
PLAIN = ("bm25", "hybrid", "hybrid_image")  # what trains nothing, the simplest first


class Parts(Params):
    """How much a query's text and its picture count; they sum to 1."""

    text: Share = 0.5
    image: Share = 0.5


class Floor(Params):
    """Where a best answer is no good match.

    Attributes:
        score: cosine of a query's vector and the best product text's.
        warned: share of validation queries with an answer that stay below it.
        caught: share of the same queries that do, once the products of their answers' types are taken away.
        queries: how many those were.
    """

    score: float
    warned: Share
    caught: Share
    queries: int


class Answer(Params):
    """What validation prefers.

    Attributes:
        system: ``bm25``, ``hybrid``, ``hybrid_image`` or a network.
        ndcg_at_10: of every candidate on the validation queries; a gate's by cross-validation.
        queries: how many those were.
        hybrid_image: weights of BM25, text and picture.
        parts: of a query that has a text and a picture.
        parts_ndcg_at_10: of text alone, picture alone and both, on validation products as queries with one
            value changed. floor: None where too few queries could say so.
    """

    system: str
    ndcg_at_10: dict[str, float]
    queries: int
    hybrid_image: tuple[float, float, float]
    parts: Parts = Parts()
    parts_ndcg_at_10: dict[str, float] = Field(default_factory=dict)
    floor: Floor | None = None


def write_answer(answer: Answer, models: Path) -> Path:
    """Write it into the folder of fusion models; returns the file."""
    write_text(models / FILE, json.dumps(answer.model_dump(), indent=1, sort_keys=True) + "\n")
    return models / FILE


def read_answer(models: Path) -> Answer | None:
    """What ``fusion_eval`` has found, None where it has not run.

    Raises:
        FusionDataError: the file is damaged.
    """
    file = models / FILE
    if not file.exists():
        return None
    try:
        return validate(Answer, json.loads(file.read_text(encoding="utf-8")), FILE)
    except (OSError, ValueError) as error:
        raise FusionDataError(f"{file} cannot be read ({error}); run fusion_eval again.") from None
