"""The judges of a refinement, in the order they are asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.catalog.format.shards import Catalogue
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.params import CACHE
from components.encoder.model.towers.files import load_encoder
from components.evidence.calibration import Calibration, calibrate
from components.evidence.features import Evidence, EvidenceReader
from components.llm.open_model import open_model
from components.llm.params import LLMParams
from components.llm.session import ChatSession
from components.opal.refine.decisions import Judge, refine
from components.opal.refine.judges.mllm import TASK, MllmJudge, cannot_tell
from components.opal.refine.judges.schema import SchemaJudge
from components.opal.refine.judges.support import SupportJudge
from components.opal.refine.judges.title import TitleJudge
from components.opal.refine.listings import listing_batches
from components.opal.refine.observed import Observed
from components.opal.refine.params import RefineParams, SupportParams

RULES = "no eyes 1"  # version of the offline rule


@dataclass(frozen=True)
class Bench:
    """The judges in the order they are asked, and which attributes a picture can tell."""

    judges: list[Judge]
    visible: frozenset[str]
    report: dict[str, Any]  # weights and figures of the calibration
    mllm: MllmJudge | None

    def figures(self) -> dict[str, float]:
        """Figures of the chat model's judge for the record.

        Raises:
            TooManyFailuresError: too many listings got no usable answer from it.
        """
        return self.mllm.figures() if self.mllm is not None else {}

    def close(self) -> None:
        """Let go of what judges hold open."""
        if self.mllm is not None:
            self.mllm.close()


def _support(
    params: RefineParams,
    support: SupportParams,
    catalogue: Path,
    encoder: Path,
    embeddings: Path,
    observed: Observed,
    before: list[Judge],
) -> tuple[SupportJudge, Calibration]:
    """The judge of content, calibrated on validation listings as the judges before it leave them."""
    loaded = load_encoder(encoder)
    texts = BatchEncoder(loaded, support.batch_size, support.precision, CACHE / "vectors.sqlite")
    schema = Catalogue(catalogue).schema
    reader = EvidenceReader(texts, observed, schema, support)
    evidence: list[Evidence] = []
    left = support.calibration_products
    validation = listing_batches(
        catalogue, embeddings, params.batch_products, wanted=lambda row: bool(row["split"] == "validation")
    )
    for batch in validation:
        evidence += reader.read([r.listing for r in refine(batch[:left], before)])
        left -= len(batch)
        if left <= 0:
            break
    calibration = calibrate(evidence, support.penalty, support.keep_above)
    return SupportJudge(reader, calibration, support.keep_above), calibration


def open_bench(
    params: RefineParams,
    chat: LLMParams,
    catalogue: Path,
    encoder: Path,
    embeddings: Path,
    observed: Observed,
) -> Bench:
    """The judges that the parameters ask for: form first, then content, then the chat model for what is left.

    Raises:
        ModelFileError, ChatConfigurationError, ChatModelFileError: a model cannot be used.
    """
    schema = Catalogue(catalogue).schema
    judges: list[Judge] = [
        TitleJudge(observed.words, observed.synonyms, params.title),
        SchemaJudge(schema, observed.values),
    ]
    visible, report = frozenset(schema.closed_attributes()), dict[str, Any]()
    if params.support:
        judge, calibration = _support(
            params, params.support, catalogue, encoder, embeddings, observed, list(judges)
        )
        judges.append(judge)
        visible, report = calibration.visible(params.support.visible_above), calibration.to_json()
    mllm = None
    if params.mllm:
        model = open_model(chat, {TASK: cannot_tell}, RULES)
        mllm = MllmJudge(ChatSession(model, chat, CACHE / "replies"), params.mllm)
        judges.append(mllm)
    return Bench(judges, visible, report, mllm)
