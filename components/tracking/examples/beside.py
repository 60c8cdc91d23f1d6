"""A system beside its baseline, query by query or product by product, from an evaluation's Parquet files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from components.stage.sample import order_of, sampled
from components.tracking.compare.catalogue import Products
from components.tracking.compare.gallery import Example, examples, gallery
from components.tracking.compare.paired import PairedValues
from components.tracking.compare.per_query import Results, System
from components.tracking.examples.cards import Boxes
from components.tracking.params import Headline

TASKS = ("queries", "")  # what a system is looked at by, where it was asked several things
# Graded metrics tell queries apart that a hit or a miss leaves level.
GRADED = ("ndcg_at_10", "mrr", "iou", "attribute_f1")
Measured = Mapping[System, Results]
NAMES = {"ndcg_at_10": "nDCG@10", "mrr": "MRR", "iou": "IoU", "attribute_f1": "attribute F1"}
FOLDERS = {"ground": "vlclip"}  # evaluations whose files lie in the folder of another one


@dataclass(frozen=True)
class Beside:
    """One system's answers and its baseline's; ``baseline`` is "" where it has none to stand beside."""

    table: str
    variant: str
    baseline: str
    metric: str
    pair: PairedValues

    @property
    def figure(self) -> str:
        """The metric as people write it."""
        return NAMES.get(self.metric, self.metric.replace("_", " "))

    def won_and_lost(self, most: int, products: Products) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
        """The ``most`` rows on which the system gains most on its baseline, and on which it loses most."""
        found = gallery(self.pair, self.metric, most, [products, products])
        return found.won, found.lost

    def sample(self, most: int, products: Products) -> tuple[Example, ...]:
        """The questions about the first ``most`` products in the order of the sample, one a product."""
        gain = np.nan_to_num(self.pair.gain(self.metric))
        places = list(self._first(most, products).values())
        return examples(self.pair, self.metric, places, gain, [products, products])

    def boxes(self, most: int, products: Products) -> list[Boxes]:
        """Of the same products, where they are and where the system says so; [] where it draws no boxes."""
        rows = self.pair.other.rows
        if rows is None or not {"box", "found_box"} <= set(rows.column_names):
            return []
        first = self._first(most, products)
        held = rows.select(["box", "found_box"]).take(list(first.values())).to_pylist() if first else []
        values = self.pair.other.metrics[self.metric]
        return [
            Boxes(
                product,
                products.titles.get(product) or product,
                float(values[place]),
                row["box"],
                row["found_box"],
            )
            for (product, place), row in zip(first.items(), held, strict=True)
            if row["box"] and row["found_box"]
        ]

    def _first(self, most: int, products: Products) -> dict[str, int]:
        """Product -> the first row about it, of the sample."""
        asked = self.pair.other
        own = asked.rows.column("product_id").to_pylist() if _of_products(asked) else []
        found: dict[str, int] = {}
        for place, key in enumerate(map(str, asked.keys)):
            product = own[place] if own else _asked_for(key, products)
            if product:
                found.setdefault(product, place)
        return {product: found[product] for product in sampled(found, most)}


def beside(measured: Measured, table: str, variant: str, headline: Headline) -> Beside | None:
    """The system ``variant`` of an evaluation beside its baseline; None where nothing was kept of it."""
    folder = FOLDERS.get(table, table)
    own = {one.task: rows for one, rows in measured.items() if (one.table, one.variant) == (folder, variant)}
    tasks = [task for task in (*TASKS, *sorted(own)) if task in own]
    if not tasks:
        return None
    task, ours = tasks[0], own[tasks[0]]
    other = measured.get(System(folder, headline.baseline, task)) if headline.baseline != variant else None
    baseline = headline.baseline if other is not None else ""
    theirs = other or ours
    keys = np.intersect1d(ours.keys, theirs.keys)
    system = System(table, variant, task)
    pair = PairedValues("", system, theirs.at(keys), ours.at(keys))
    shared = [
        name for name in (*GRADED, *headline.metrics) if name in ours.metrics and name in theirs.metrics
    ]
    return Beside(table, variant, baseline, shared[0], pair) if shared and len(keys) else None


def _of_products(asked: Results) -> bool:
    return asked.rows is not None and "product_id" in asked.rows.column_names


def _asked_for(key: str, products: Products) -> str:
    """The product that a query is about: whose title it is, or the first in the sample that it wants."""
    return key if key in products.titles else min(products.exact.get(key, ()), key=order_of, default="")
