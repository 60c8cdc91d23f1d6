"""What a judge of listings is, and what one may be made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from components.catalog.format.schema import CatalogSchema
from components.llm.params import LLMParams
from components.opal.refine.decisions import Judge
from components.opal.refine.observed import JudgeEvidence
from components.opal.refine.params import RefineParams
from components.stage.paths import Paths


@dataclass(frozen=True)
class JudgeInputs:
    """What judges are made from."""

    params: RefineParams
    chat: LLMParams
    paths: Paths
    schema: CatalogSchema
    observed: JudgeEvidence  # of the train split
    before: Sequence[Judge] = ()  # who are asked before this one


@dataclass(frozen=True)
class OpenedJudge:
    """A judge that is ready to be asked, and what it tells the stage besides its decisions."""

    judge: Judge
    visible: frozenset[str] | None = None  # attributes that pictures can tell, where this judge measured it
    report: Mapping[str, Any] = field(default_factory=dict)  # of its calibration
    figures: Callable[[], dict[str, float]] = dict  # for the record, when all listings are refined
    close: Callable[[], None] = lambda: None  # lets go of what it holds open
    prompts: Mapping[str, str] = field(default_factory=dict)  # task -> what a chat model is told


class JudgeModule(Protocol):
    """A file of ``judges``: it makes one judge, or none where the parameters do not ask for it."""

    def open_judge(self, inputs: JudgeInputs) -> OpenedJudge | None:
        """The judge, ready to be asked."""
        ...
