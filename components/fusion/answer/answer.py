"""Which way of ranking answers best on validation, and the weights it was found with: ``answer.json``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, FiniteFloat, NonNegativeFloat, NonNegativeInt, model_validator

from components.encoder.model.features.query_types import QueryTypes, save_types
from components.fusion.model.errors import FusionDataError
from components.fusion.model.networks.names import known_network
from components.stage.errors import ConfigurationError
from components.stage.files.publish import published, write_text
from components.stage.left_out import reason_in
from components.stage.params import Params, Share, validate

FILE, TYPES = "answer.json", "query_types.safetensors"
PLAIN = ("bm25", "hybrid", "hybrid_image", "hybrid_image_type")  # what trains nothing, the simplest first
FEWEST = 20  # queries: fewer choose nothing
BY_DEFAULT = "hybrid_image"  # answers where nothing is chosen: it reads all that a product has


def _known(name: str) -> str:
    return name if name in PLAIN else known_network(name)


System = Annotated[str, AfterValidator(_known)]


def _sum_to_one(*weights: float) -> None:
    if not math.isclose(sum(weights), 1, abs_tol=1e-6):
        raise ValueError(f"the weights {', '.join(map(str, weights))} do not sum to 1")


class Parts(Params):
    """How much a query's text and its picture count; they sum to 1."""

    text: Share = 0.5
    image: Share = 0.5

    @model_validator(mode="after")
    def _whole(self) -> Parts:
        _sum_to_one(self.text, self.image)
        return self


class Floor(Params):
    """Where a best answer is no good match.

    Attributes:
        score: cosine of a query's vector and the best text's of all products of the catalogue.
        warned: share of validation queries with an answer that stay below it.
        caught: share of the same queries that do, once the products of their answers' types are taken away.
        queries: how many those were.
    """

    score: FiniteFloat
    warned: Share
    caught: Share
    queries: NonNegativeInt


class AnswerChoice(Params):
    """What validation prefers.

    Attributes:
        system: ``bm25``, ``hybrid``, ``hybrid_image``, ``hybrid_image_type`` or a network.
        towers_sha256: of the towers that it was found with; those of another run have other scores.
        ndcg_at_10: of every candidate on the validation queries; a gate's by cross-validation.
        text_missing_ndcg_at_10: the same where a share of the products has lost its texts; a gate's is that
            of the gate itself, which these queries taught.
        queries: how many those were.
        hybrid_image: weights of BM25, text and picture.
        type_weight: of a type's log-probability beside them, in ``hybrid_image_type``.
        parts: of a query that has a text and a picture.
        parts_ndcg_at_10: of text alone, picture alone and both, on validation products as queries with one
            value changed. floor: None where too few queries could say so.
    """

    system: System
    towers_sha256: str
    ndcg_at_10: dict[System, FiniteFloat]
    text_missing_ndcg_at_10: dict[System, FiniteFloat] = Field(default_factory=dict)
    queries: NonNegativeInt
    hybrid_image: tuple[Share, Share, Share]
    type_weight: NonNegativeFloat = 0.0
    parts: Parts = Parts()
    parts_ndcg_at_10: dict[str, FiniteFloat] = Field(default_factory=dict)
    floor: Floor | None = None

    @model_validator(mode="after")
    def _fits(self) -> AnswerChoice:
        _sum_to_one(*self.hybrid_image)
        if self.chosen and self.system not in self.ndcg_at_10:
            raise ValueError(f"ndcg_at_10 has no figure of '{self.system}'")
        if self.text_missing_ndcg_at_10 and self.text_missing_ndcg_at_10.keys() != self.ndcg_at_10.keys():
            raise ValueError("text_missing_ndcg_at_10 names other systems than ndcg_at_10")
        return self

    @property
    def chosen(self) -> bool:
        """Whether there were enough queries to choose the system; else it answers by default."""
        return self.queries >= FEWEST

    def best(self) -> list[System]:
        """All candidates, the highest sum of both figures first; of equals the default, then the simplest."""
        both = {n: plain + self.text_missing_ndcg_at_10.get(n, 0) for n, plain in self.ndcg_at_10.items()}
        simplest = [BY_DEFAULT, *PLAIN, *sorted(both)]  # the file tells them by name, not in this order
        return sorted(both, key=lambda name: (-both[name], simplest.index(name)))


def write_answer(answer: AnswerChoice, models: Path) -> Path:
    """Write it into the folder of fusion models; returns the file."""
    write_text(models / FILE, json.dumps(answer.model_dump(), indent=1, sort_keys=True) + "\n")
    return models / FILE


def write_types(types: QueryTypes, models: Path) -> Path:
    """Write what tells the type of a query beside the answer; returns the file."""
    with published(models / TYPES) as temporary:
        save_types(types, temporary)
    return models / TYPES


def read_answer(models: Path) -> AnswerChoice | None:
    """What ``fusion_eval`` has found, None where it has not run or was left out.

    Raises:
        FusionDataError: the file is damaged.
    """
    file = models / FILE
    if not file.exists() or reason_in(file):
        return None
    try:
        return validate(AnswerChoice, json.loads(file.read_text(encoding="utf-8")), FILE)
    except (OSError, ValueError, ConfigurationError) as error:
        told = str(error).rstrip(".")
        raise FusionDataError(f"{file} cannot be read ({told}); run fusion_eval again.") from None


def check_towers(answer: AnswerChoice | None, towers_sha256: str) -> None:
    """Refuse to answer with weights and a floor that were found with other towers.

    Raises:
        FusionDataError: the towers are others.
    """
    if answer is not None and answer.towers_sha256 != towers_sha256:
        raise FusionDataError(f"{FILE} was found with other towers than those here; run fusion_eval again.")
