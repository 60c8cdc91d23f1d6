"""Queries and listings that a side won or lost against the first one, with what either side answered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.tracking.compare.catalogue import Products
from components.tracking.compare.paired import PairedValues
from components.tracking.compare.per_query import stated

FOUND = 5  # products of a ranking that are shown
LISTED = 12  # values of a listing that are shown


@dataclass(frozen=True)
class SideAnswer:
    """What one side answered: products it found, or the listing it wrote."""

    value: float
    found: tuple[tuple[str, bool], ...] = ()  # product id, and whether it is exactly what was asked for
    title: str = ""
    attributes: tuple[tuple[str, str, bool], ...] = ()  # name, value, and whether it is true


@dataclass(frozen=True)
class Example:
    """One query or product; ``gain`` is how much better the side answered it than the first side."""

    key: str
    asked: str
    product: str  # id of the product whose picture is shown with the question, "" for a text query
    gain: float
    answers: tuple[SideAnswer, SideAnswer]  # of the first side, of this side

    def shown(self, *sides: int) -> set[str]:
        """Products that the sides found; side 0, the first one, with the product that was asked about."""
        own = {self.product} if self.product and 0 in sides else set()
        return own | {product for side in sides for product, _ in self.answers[side].found}


@dataclass(frozen=True)
class Gallery:
    """Examples of one system, the largest gains and losses first."""

    side: str
    table: str
    variant: str
    task: str
    metric: str
    won: tuple[Example, ...]
    lost: tuple[Example, ...]


def gallery(pair: PairedValues, metric: str, most: int, products: Sequence[Products]) -> Gallery:
    """The ``most`` rows with the largest gain and loss; ties in the order of their keys."""
    gain = np.nan_to_num(pair.gain(metric))
    won = [i for i in np.argsort(-gain, kind="stable")[:most] if gain[i] > 0]
    lost = [i for i in np.argsort(gain, kind="stable")[:most] if gain[i] < 0]
    names = (pair.side, pair.system.table, pair.system.variant, pair.system.task, metric)
    return Gallery(*names, *(examples(pair, metric, places, products) for places in (won, lost)))


def examples(
    pair: PairedValues, metric: str, places: Sequence[int], products: Sequence[Products]
) -> tuple[Example, ...]:
    """The rows at ``places``, with what either side answered; ``products`` are those of either side."""
    sides, gain = (pair.reference, pair.other), np.nan_to_num(pair.gain(metric))
    rows = [side.rows.take(places).to_pylist() if places else [] for side in sides]
    made = []
    for place, *held in zip(places, *rows, strict=True):
        key, own = str(pair.reference.keys[place]), held[0]
        product = str(own.get("product_id") or "")
        if not product and key in products[0].titles:  # a query that is a product's own title
            product = key
        asked = own.get("text") or products[0].titles.get(product or key) or key
        asked = f"{own['attribute']} of {asked}" if own.get("attribute") else asked
        values = (float(side.metrics[metric][place]) for side in sides)
        ours, theirs = map(_answer, held, (key, key), values, products)
        made.append(Example(key, asked, product, float(gain[place]), (ours, theirs)))
    return tuple(made)


def _answer(row: Mapping[str, Any], key: str, value: float, products: Products) -> SideAnswer:
    if row.get("top"):
        exact = products.exact.get(key, {key})
        return SideAnswer(value, tuple((p, p in exact) for p in row["top"][:FOUND]))
    if "predicted" in row:
        right = row["predicted"] in stated(row["truth"])
        return SideAnswer(value, attributes=((row["attribute"], str(row["predicted"]), right),))
    title = row.get("generated_title") or row.get("title") or ""
    said = pairs(row.get("generated_attributes") or row.get("attributes"))
    truth = pairs(row.get("truth_attributes") or row.get("true_attributes"))
    shown = tuple((*pair, pair in truth) for pair in sorted(said)[:LISTED])
    return SideAnswer(value, title=title, attributes=shown)


def pairs(held: object) -> set[tuple[str, str]]:
    """Attributes and values, from the list of pairs or from the JSON text that an evaluation wrote."""
    if isinstance(held, str):
        try:
            held = json.loads(held)
        except ValueError:
            return set()
    if isinstance(held, list):
        return {(str(one["name"]), str(one["value"])) for one in held if isinstance(one, dict)}
    named = held.items() if isinstance(held, dict) else ()
    several = ((k, values if isinstance(values, list) else [values]) for k, values in named)
    return {(str(k), str(value)) for k, values in several for value in values}
