"""Values of attributes that pictures show: zero-shot by prompts, and by a baseline that reads no texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.catalog.format.attributes import Value, as_value, each, of_pairs, shown
from components.encoder.model.features.attribute_probe import AttributeProbe, StatedProducts, Take
from components.encoder.model.features.captions import attribute_phrase
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import HeldOut
from components.encoder.model.features.vector_cache import Vectors

COLUMNS = ("variant", "product_id", "attribute", "truth", "predicted")
ATTRIBUTES = pa.schema([(name, pa.string()) for name in COLUMNS])
Known = list[tuple[int, str, Value, list[str]]]  # row, attribute, true value, allowed values


@dataclass(frozen=True)
class AttributeAnswers:
    """One row per product and attribute with a known value."""

    product_ids: list[str]
    names: list[str]
    truth: list[Value]
    predicted: list[str]

    @classmethod
    def of(cls, held_out: HeldOut, known: Known, predicted: list[str]) -> AttributeAnswers:
        """Answers to questions of :func:`known_attributes`."""
        ids = held_out.product_ids
        return cls([ids[k[0]] for k in known], [k[1] for k in known], [k[2] for k in known], predicted)

    @property
    def correct(self) -> npt.NDArray[np.float64]:
        """1 where the predicted value is the true one, or one of the true ones."""
        return np.array([float(p in each(t)) for t, p in zip(self.truth, self.predicted, strict=True)])

    def rows(self, variant: str) -> list[dict[str, Any]]:
        """Rows of ``attributes.parquet``; several true values are a JSON list."""
        truth = (v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in self.truth)
        answers = zip(self.product_ids, self.names, truth, self.predicted, strict=True)
        return [dict(zip(COLUMNS, (variant, *answer), strict=True)) for answer in answers]


def known_attributes(held_out: HeldOut) -> Known:
    """(row, attribute, true value, allowed values) of every closed attribute with at least two values."""
    found = []
    for i, row in enumerate(held_out.rows):
        source = held_out.truth.get(row["product_id"], {}).get("attributes") or row["attributes"]
        category = held_out.schema.categories.get(row["category"])
        if category is None:
            continue
        for name, value in of_pairs(source).items():
            attribute = category.attributes.get(name)
            values = list(attribute.values) if attribute is not None else []
            if len(values) > 1 and (true := [text for text in each(value) if text in values]):
                found.append((i, name, as_value(true), values))
    return found


def attribute_answers(
    encoder: BatchEncoder, images: Vectors, held_out: HeldOut, prompt: str
) -> AttributeAnswers:
    """Choose, for each product and attribute, the value whose prompt is nearest to the picture.

    Args:
        images: ``[products, D]`` vectors of the split. prompt: text with {value}, {name}, {product_type}.
    """
    known = known_attributes(held_out)
    closed = held_out.schema.closed_attributes()
    texts: dict[str, int] = {}

    def _text_of(row: dict[str, Any], name: str, value: str) -> int:
        text = prompt.format(
            value=attribute_phrase(name, value, closed),
            name=name.replace("_", " "),
            product_type=row["product_type"],
        )
        return texts.setdefault(text, len(texts))

    asked = [[_text_of(held_out.rows[i], name, v) for v in values] for i, name, _, values in known]
    vectors = encoder.texts(list(texts)) if texts else np.zeros((0, images.shape[1]), dtype=np.float32)
    predicted = [
        values[int((vectors[choices] @ images[i]).argmax())]
        for (i, _, _, values), choices in zip(known, asked, strict=True)
    ]
    return AttributeAnswers.of(held_out, known, predicted)


def stated_by_sellers(rows: Sequence[dict[str, Any]], split: str) -> StatedProducts:
    """What sellers state of the products of one split; ``rows`` are the whole catalogue."""
    at = [i for i, row in enumerate(rows) if row["split"] == split]
    attributes = [of_pairs(rows[i]["attributes"]) for i in at]
    return StatedProducts(np.array(at, dtype=np.int64), [rows[i]["category"] for i in at], attributes)


def probe_answers(rows: Sequence[dict[str, Any]], held_out: HeldOut, take: Take) -> AttributeAnswers:
    """The baseline without texts: each attribute's likeliest value by linear probes of frozen features.

    Args:
        rows: of the whole catalogue. take: gives the features of catalogue rows.
    """
    train, validation = (stated_by_sellers(rows, split) for split in ("train", "validation"))
    probe = AttributeProbe(held_out.schema, take, train, validation, absent=False)
    found = probe.answers(held_out.positions, [row["category"] for row in held_out.rows])
    known = known_attributes(held_out)
    predicted = [shown(found[i][name].value) if name in found[i] else "" for i, name, _, _ in known]
    return AttributeAnswers.of(held_out, known, predicted)
