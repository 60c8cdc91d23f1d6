"""What a product is, by the seller's word and by its picture: the probability of each value of an attribute.

Naive Bayes over the values that the product's type can take. The picture speaks by a judge's scores
(``picture_judges``), scaled so that the sellers' own words on the calibration split are likeliest; where it
does no better than the commonest value, it is not heard. The seller speaks by odds: right to wrong, a wrong
value being any of the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.schema import CatalogSchema
from components.vlclip.agent.params import EvidenceParams
from components.vlclip.agent.picture_judges import (
    Attribute,
    Judgement,
    Kind,
    TextEncoder,
    Vectors,
    probe_scores,
    prompt_scores,
    stated_values,
)


def kind_of(row: Mapping[str, Any]) -> Kind:
    """Category and product type of a catalogue row."""
    return row["category"], row["product_type"]


def attributes_of_kinds(
    rows: Sequence[dict[str, Any]], schema: CatalogSchema, params: EvidenceParams
) -> dict[Kind, list[Attribute]]:
    """Which closed attributes each product type has, and which values they take there, as sellers use them.

    A schema is shared by all types of a category; that a pump has no sleeves stands nowhere else.
    """
    sizes = Counter(kind_of(r) for r in rows)
    stated: dict[tuple[Kind, str], Counter[str]] = {}
    for row in rows:
        for pair in row["attributes"]:
            stated.setdefault((kind_of(row), pair["name"]), Counter())[pair["value"]] += 1
    found: dict[Kind, list[Attribute]] = {kind: [] for kind in sizes}
    for kind in sizes:
        category = schema.categories.get(kind[0])
        for name, attribute in category.attributes.items() if category else ():
            counts = stated.get((kind, name), Counter())
            total = sum(counts[v] for v in attribute.values)
            used = tuple(v for v in attribute.values if counts[v] >= params.minimum_share * total > 0)
            if used and total >= params.minimum_coverage * sizes[kind]:
                found[kind].append(Attribute(name, used, total / sizes[kind]))
    return found


class Evidence:
    """Judges every product of a catalogue.

    Args:
        rows: catalogue rows without pictures. images: their pictures' vectors ``[products, D]``, length 1.
        texts: encodes texts to ``[n, D]`` in the same space; not called by the judge ``probe``.
    """

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        images: Vectors,
        texts: TextEncoder,
        schema: CatalogSchema,
        params: EvidenceParams,
    ) -> None:
        self.params = params
        self.kinds = attributes_of_kinds(rows, schema, params)
        self._kinds_of_rows = [kind_of(r) for r in rows]
        self._place = np.zeros(len(rows), dtype=np.int64)
        members: dict[Kind, list[int]] = {}
        for i, kind in enumerate(self._kinds_of_rows):
            own = members.setdefault(kind, [])
            self._place[i] = len(own)
            own.append(i)
        self._judgements: dict[Kind, dict[str, Judgement]] = {
            kind: {
                a.name: Judgement(a, members[kind], stated_values(rows, members[kind], a)) for a in attributes
            }
            for kind, attributes in self.kinds.items()
        }
        groups: dict[tuple[str, str], list[tuple[Kind, Judgement]]] = {}
        for kind, judgements in self._judgements.items():
            for name, judgement in judgements.items():
                groups.setdefault((kind[0], name), []).append((kind, judgement))
        if params.judge == "probe":
            probe_scores(list(groups.values()), rows, images, params.ridge)
        else:
            prompt_scores(self._judgements, images, texts, params.prompt, schema.closed_attributes())
        is_calibration = np.array([r["split"] == params.calibration_split for r in rows])
        for group in groups.values():
            calibrate([judgement for _, judgement in group], is_calibration, params)

    def tells(self, row: int, name: str) -> bool:
        """Whether pictures of the product's type show the attribute, by the calibration."""
        judgement = self._judgements[self._kinds_of_rows[row]].get(name)
        return judgement is not None and judgement.tells

    def attributes(self, row: int) -> list[Attribute]:
        """The closed attributes of the product's type."""
        return self.kinds[self._kinds_of_rows[row]]

    def probabilities(
        self, row: int, name: str, table: str, told: Sequence[str]
    ) -> tuple[tuple[str, ...], npt.NDArray[np.float64]] | None:
        """Values and their probabilities ``[V]``; None for an attribute the type does not have.

        Args:
            table: the value in the seller's table, or "". told: values that title and description name.
        """
        judgement = self._judgements[self._kinds_of_rows[row]].get(name)
        if judgement is None:
            return None
        values = judgement.attribute.values
        weights = judgement.picture[self._place[row]].astype(np.float64)
        others = max(len(values) - 1, 1)
        if table in values:  # one that the type does not take says nothing about the others
            weights[values.index(table)] *= self.params.table_odds * others
        for value in set(told):
            weights[values.index(value)] *= self.params.text_odds * others
        return values, weights / weights.sum()


def calibrate(
    group: Sequence[Judgement], is_calibration: npt.NDArray[np.bool_], params: EvidenceParams
) -> None:
    """Turn the scores of an attribute's judgements into probabilities, by one scale for a whole category.

    The scale is the likeliest for the values that sellers state on the calibration split. Where the picture
    tells too little there, or too few state a value, probabilities are uniform.
    """
    cases = []
    for judgement in group:
        chosen = is_calibration[judgement.rows] & (judgement.stated >= 0)
        if chosen.any():
            cases.append((judgement.picture[chosen], judgement.stated[chosen]))
    total = sum(len(stated) for _, stated in cases)
    right = sum(int((scores.argmax(axis=1) == stated).sum()) for scores, stated in cases)
    commonest = sum(int(np.bincount(stated).max()) for _, stated in cases)
    tells = total >= params.calibration_products and right - commonest >= params.minimum_gain * total

    def _loss(scale: float) -> float:
        parts = (_softmax(scores * scale)[np.arange(len(stated)), stated] for scores, stated in cases)
        return -sum(float(np.log(np.maximum(part, 1e-9)).sum()) for part in parts)

    scale = min(params.scales, key=_loss) if tells else 0.0
    for judgement in group:
        judgement.tells = tells
        judgement.picture = _softmax(judgement.picture * scale)


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    out: npt.NDArray[np.float32] = (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32)
    return out
