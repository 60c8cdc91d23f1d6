"""How well a picture's vector fits each value of an attribute: a linear probe, or prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from components.encoder.model.features.captions import attribute_phrase

Vectors = npt.NDArray[np.float32]
TextEncoder = Callable[[Sequence[str]], Vectors]
Kind = tuple[str, str]  # category, product type


@dataclass(frozen=True)
class Attribute:
    """An attribute as one product type has it; ``coverage`` is the share of its products that name it."""

    name: str
    values: tuple[str, ...]
    coverage: float


@dataclass
class Judgement:
    """What the pictures of one product type say about one attribute.

    Attributes:
        rows: places ``[n]`` of the type's products in the catalogue. stated: number of the value that each
            seller's table states, -1 for none of them. picture: ``[n, values]``, a judge's scores, and once
            calibrated probabilities. tells: whether they say more than nothing.
    """

    attribute: Attribute
    rows: Sequence[int]
    stated: npt.NDArray[np.int64]
    picture: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    tells: bool = False


def stated_values(
    rows: Sequence[dict[str, Any]], members: Sequence[int], attribute: Attribute
) -> npt.NDArray[np.int64]:
    """Number of the value that each member's table states; -1 for none, or for one the type does not take."""
    index = {value: k for k, value in enumerate(attribute.values)}
    said = (
        next((p["value"] for p in rows[i]["attributes"] if p["name"] == attribute.name), "") for i in members
    )
    return np.array([index.get(value, -1) for value in said], dtype=np.int64)


def probe_scores(
    groups: Sequence[Sequence[tuple[Kind, Judgement]]],
    rows: Sequence[dict[str, Any]],
    images: Vectors,
    ridge: float,
) -> None:
    """Scores by ridge regression on one-hot values, one per category and attribute, from the train split.

    A product of the train split is scored as if the probe had been made without it (the leave-one-out
    residual of a linear smoother; Hastie et al., The Elements of Statistical Learning, section 7.10): a
    wrong value must not find its support in itself.

    Args:
        groups: the judgements of one category and attribute each. images: ``[products, D]``.
    """
    vectors = images.astype(np.float64)
    vectors = (vectors - vectors.mean(axis=0)) / (vectors.std(axis=0) + 1e-6)
    is_train = np.array([r["split"] == "train" for r in rows])
    for group in groups:
        _probe([judgement for _, judgement in group], vectors, is_train, ridge)


def _probe(
    group: Sequence[Judgement],
    vectors: npt.NDArray[np.float64],
    is_train: npt.NDArray[np.bool_],
    ridge: float,
) -> None:
    values = sorted({v for j in group for v in j.attribute.values})
    column = {v: k for k, v in enumerate(values)}
    places = np.concatenate([np.asarray(j.rows) for j in group])
    types = np.repeat(np.eye(len(group)), [len(j.rows) for j in group], axis=0)
    inputs = np.concatenate([vectors[places], types * vectors.shape[1] ** 0.5], axis=1)
    stated = np.concatenate(
        [np.array([*(column[v] for v in j.attribute.values), -1])[j.stated] for j in group]
    )
    taught = is_train[places] & (stated >= 0)
    known, targets = inputs[taught], np.eye(len(values))[stated[taught]]
    inverse = np.linalg.inv(known.T @ known + ridge * np.eye(inputs.shape[1]))
    scores = inputs @ (inverse @ (known.T @ targets))
    leverage = np.einsum("ij,ij->i", known @ inverse, known)[:, None].clip(max=0.999)
    scores[taught] = (scores[taught] - leverage * targets) / (1 - leverage)
    start = 0
    for judgement in group:
        own = scores[start : start + len(judgement.rows)]
        judgement.picture = own[:, [column[v] for v in judgement.attribute.values]].astype(np.float32)
        start += len(judgement.rows)


def prompt_scores(
    judgements: Mapping[Kind, Mapping[str, Judgement]],
    images: Vectors,
    encode: TextEncoder,
    prompt: str,
    closed: set[str],
) -> None:
    """Scores by cosine similarity between picture and a text per value (zero-shot classification, CLIP)."""
    texts: dict[str, int] = {}
    asked: list[tuple[Judgement, list[int]]] = []
    for (_, product_type), own in judgements.items():
        for name, judgement in own.items():
            phrases = (attribute_phrase(name, value, closed) for value in judgement.attribute.values)
            said = [prompt.format(value=phrase, product_type=product_type) for phrase in phrases]
            asked.append((judgement, [texts.setdefault(text, len(texts)) for text in said]))
    vectors = encode(list(texts)) if texts else np.zeros((0, images.shape[1]), np.float32)
    for judgement, places in asked:
        judgement.picture = images[judgement.rows] @ vectors[places].T
