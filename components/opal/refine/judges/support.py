"""The judge of content: is a stated value supported against its alternatives?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.towers.files import comparable_encoder
from components.evidence.calibration import AttributeWeights, EvidenceCalibration, calibrate
from components.evidence.features import FEATURES, AttributeEvidence, EvidenceReader
from components.evidence.listing import SellerListing
from components.opal.refine.decisions import Decision, kept, refine
from components.opal.refine.judge import JudgeInputs, OpenedJudge
from components.opal.refine.listings import listing_batches

NAME = "support"
# What each feature is called in a reason.
SAYS = {
    "prompt": "picture",
    "examples": "picture",
    "type": "what this type usually is",
    "mention": "text",
    "named_mention": "text",
    "siblings": "products of its group",
}


class SupportJudge:
    """Drops a value whose probability of being right is below ``keep_above``; puts no other in its place."""

    def __init__(self, reader: EvidenceReader, calibration: EvidenceCalibration, keep_above: float) -> None:
        self._reader, self._calibration, self._keep_above = reader, calibration, keep_above

    def judge(self, listings: Sequence[SellerListing]) -> list[list[Decision]]:
        """One decision per value that can be judged."""
        out: list[list[Decision]] = [[] for _ in listings]
        for evidence in self._reader.read(listings):
            weights = self._calibration.weights(evidence.name)
            right = weights.right(evidence)[np.arange(len(evidence.rows)), evidence.stated]
            for at, row in enumerate(evidence.rows.tolist()):
                support, value = float(right[at]), evidence.values[int(evidence.stated[at])]
                if listings[row].support.get((evidence.name, value), 0.0) >= self._keep_above:
                    continue  # an earlier judge has found it on the product itself
                if support >= self._keep_above:
                    out[row].append(kept(evidence.name, value, NAME, "supported", support))
                else:
                    against = _against(evidence, at, weights)
                    out[row].append(
                        Decision("attributes", evidence.name, value, "drop", "", NAME, against, support)
                    )
        return out


def _against(evidence: AttributeEvidence, at: int, weights: AttributeWeights) -> str:
    """Which other value is likelier, and what says so, the strongest first."""
    scores = evidence.features[at] * weights.weights
    stated = int(evidence.stated[at])
    totals = scores.sum(axis=1)
    totals[stated] = -np.inf
    best = int(totals.argmax())
    gains: dict[str, float] = {}
    for name, gain in zip(FEATURES, scores[best] - scores[stated], strict=True):
        gains[SAYS[name]] = gains.get(SAYS[name], 0.0) + float(gain)
    ranked = sorted(gains.items(), key=lambda item: (-item[1], item[0]))
    speaks = [name for name, gain in ranked if gain > 0.25 * ranked[0][1] and gain > 0]
    return f"{' and '.join(speaks) or 'nothing'} rather says {evidence.values[best][:80]!r}"


def open_judge(inputs: JudgeInputs) -> OpenedJudge | None:
    """The judge of content, calibrated on validation listings as the judges before it leave them.

    Raises:
        ModelFileError: the encoder cannot be used.
    """
    params = inputs.params.support
    if params is None:
        return None
    paths, left = inputs.paths, params.calibration_products
    model = comparable_encoder(paths.encoder, paths.embeddings)
    texts = BatchEncoder(model, params.batch_size, params.precision, paths.cache / "vectors")
    reader = EvidenceReader(texts, inputs.observed, inputs.schema, params)
    evidence: list[AttributeEvidence] = []
    for batch in listing_batches(
        paths.catalogue,
        paths.embeddings,
        inputs.params.batch_products,
        wanted=lambda row: bool(row["split"] == "validation"),
    ):
        evidence += reader.read([r.listing for r in refine(batch[:left], inputs.before)])
        left -= len(batch)
        if left <= 0:
            break
    calibration = calibrate(evidence, params.penalty, params.keep_above)
    judge = SupportJudge(reader, calibration, params.keep_above)
    return OpenedJudge(judge, calibration.visible(params.visible_above), calibration.to_json())
