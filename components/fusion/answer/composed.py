"""Queries of a picture and a word: "this one, but navy". A product's picture with one value changed.

A product answers if it has the type and the new value; it answers best if it also keeps every other value
that both state. The product of the picture, and its group, are no answers: nobody asks for what they have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import Attributes, Value, each, of_pairs
from components.encoder.model.features.captions import attribute_phrase
from components.encoder.model.features.vector_cache import Vectors
from components.fusion.model.baselines import hybrid_sources, weighted_sum
from components.fusion.model.fuse.item_vectors import QueryInputs
from components.fusion.model.sources.bm25 import Scores
from components.fusion.model.sources.evidence import standardised
from components.fusion.model.towers.towers import Items
from components.retrieval.metrics import Qrels

BEST, FITS = 3, 1  # grades
BARRED = -1e3  # below every standardised score


@dataclass(frozen=True)
class Composed:
    """Composed queries among ``N`` products.

    Attributes:
        sources: ``[Q]`` places of the products whose pictures are asked with. texts: the new values.
        qrels: graded answers. barred: bool ``[Q, N]``, the sources and their groups.
    """

    sources: npt.NDArray[np.int64]
    texts: list[str]
    qrels: Qrels
    barred: npt.NDArray[np.bool_]


def _stated(row: Mapping[str, Any], closed: Collection[str]) -> Attributes:
    return of_pairs(a for a in row["attributes"] or () if a["value"] and a["name"] in closed)


def _order(row: Mapping[str, Any], name: str, value: str) -> bytes:
    """A place in a random order that depends on nothing but the product and the change."""
    return hashlib.sha256(f"{row['product_id']}\x1f{name}\x1f{value}".encode()).digest()


def _grade(own: Mapping[str, Value], other: Mapping[str, Value], name: str, value: str) -> int:
    if value not in each(other.get(name)):
        return 0
    shared = (own.keys() & other.keys()) - {name}
    return BEST if shared and all(own[s] == other[s] for s in shared) else FITS


def composed_queries(rows: Sequence[Mapping[str, Any]], closed: Collection[str], most: int) -> Composed:
    """One change for each of at most ``most`` products, where some other product answers it best.

    Args:
        closed: attributes with a list of values: only these are changed or kept.
    """
    values = [_stated(row, closed) for row in rows]
    by_type: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        by_type.setdefault(row["product_type"], []).append(at)
    asked: list[tuple[int, str, dict[int, int]]] = []
    for at in sorted(range(len(rows)), key=lambda i: _order(rows[i], "", "")):
        others = [i for i in by_type[rows[at]["product_type"]] if rows[i]["group_id"] != rows[at]["group_id"]]
        if len(asked) < most and (change := _change(rows[at], at, others, values)):
            asked.append((at, *change))
    judged = [(q, i, grade) for q, (_, _, grades) in enumerate(asked) for i, grade in grades.items()]
    query, product, grade = np.array(judged, dtype=np.int64).reshape(-1, 3).T
    sources = np.array([at for at, _, _ in asked], dtype=np.int64)
    groups = np.array([row["group_id"] for row in rows])
    return Composed(
        sources,
        [text for _, text, _ in asked],
        Qrels.from_arrays(query, product, grade, len(asked), len(rows)),
        groups[sources][:, None] == groups[None, :],
    )


def _change(
    row: Mapping[str, Any], at: int, others: Sequence[int], values: Sequence[Mapping[str, Value]]
) -> tuple[str, dict[int, int]] | None:
    """The new value as it is said, and the grades of its answers; None where nothing answers best."""
    own = values[at]
    changes = {(n, v) for i in others for n in own for v in each(values[i].get(n)) if v not in each(own[n])}
    for name, value in sorted(changes, key=lambda change: _order(row, *change)):
        grades = {i: grade for i in others if (grade := _grade(own, values[i], name, value))}
        if BEST in grades.values():
            return attribute_phrase(name, value, own), grades
    return None


def composed_scores(
    asked: QueryInputs, pictures: Vectors, items: Items, weights: tuple[float, ...]
) -> list[Scores]:
    """What the text and what the picture of queries say, ``[Q, N]`` each, on one scale.

    Args:
        pictures: ``[Q, D]`` vectors of the queries' pictures. weights: of ``hybrid_image``, for the text.
    """
    said = weighted_sum(hybrid_sources(asked, items), weights)
    seen = items.has_text | items.has_image
    return [standardised(said, seen), standardised(pictures @ items.image.T, items.has_image)]
