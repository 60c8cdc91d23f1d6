"""The baseline without texts: attribute values read off the frozen features of pictures by linear probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from components.catalog.format.attributes import of_pairs, shown
from components.encoder.evaluate.zero_shot import AttributeAnswers, known_attributes
from components.encoder.model.features.attribute_probe import (
    AttributeProbe,
    StatedProducts,
    Take,
    ValuePrediction,
)
from components.encoder.model.features.held_out import HeldOut

UNKNOWN = ValuePrediction("", 0.0)


def stated_by_sellers(rows: Sequence[dict[str, Any]], split: str) -> StatedProducts:
    """What sellers state of the products of one split; ``rows`` are the whole catalogue."""
    at = [i for i, row in enumerate(rows) if row["split"] == split]
    attributes = [of_pairs(rows[i]["attributes"]) for i in at]
    return StatedProducts(np.array(at, dtype=np.int64), [rows[i]["category"] for i in at], attributes)


def probe_answers(rows: Sequence[dict[str, Any]], held_out: HeldOut, take: Take) -> AttributeAnswers:
    """The likeliest value of each closed attribute, for the questions that zero-shot answers too.

    Args:
        rows: of the whole catalogue. take: gives the features of catalogue rows.
    """
    train, validation = (stated_by_sellers(rows, split) for split in ("train", "validation"))
    probe = AttributeProbe(held_out.schema, take, train, validation, absent=False)
    found = probe.answers(held_out.positions, [row["category"] for row in held_out.rows])
    known = known_attributes(held_out)
    return AttributeAnswers(
        [held_out.product_ids[i] for i, *_ in known],
        [name for _, name, _, _ in known],
        [truth for _, _, truth, _ in known],
        [shown(found[i].get(name, UNKNOWN).value) for i, name, _, _ in known],
    )
