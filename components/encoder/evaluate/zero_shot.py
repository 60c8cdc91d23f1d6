"""Zero-shot attribute values: which of an attribute's allowed values fits the picture best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import Value, as_value, each, of_pairs
from components.encoder.model.features.captions import attribute_phrase
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import HeldOut
from components.encoder.model.features.vector_cache import Vectors


@dataclass(frozen=True)
class AttributeAnswers:
    """One row per product and attribute with a known value."""

    product_ids: list[str]
    names: list[str]
    truth: list[Value]
    predicted: list[str]

    @property
    def correct(self) -> npt.NDArray[np.float64]:
        """1 where the predicted value is the true one, or one of the true ones."""
        return np.array([float(p in each(t)) for t, p in zip(self.truth, self.predicted, strict=True)])


def known_attributes(held_out: HeldOut) -> list[tuple[int, str, Value, list[str]]]:
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
    ids = held_out.product_ids
    return AttributeAnswers(
        [ids[k[0]] for k in known], [k[1] for k in known], [k[2] for k in known], predicted
    )
