"""A system beside its baseline, query by query or product by product, and tables of what differs.

From an evaluation's Parquet files: queries won and lost, and attribute values taken for others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.stage.sample import order_of, sampled
from components.tracking.compare.catalogue import Products
from components.tracking.compare.gallery import Example, SideAnswer, examples, gallery, pairs
from components.tracking.compare.paired import PairedValues
from components.tracking.compare.per_query import Results, System, stated
from components.tracking.examples.cards import Boxes
from components.tracking.params import Headline
from components.tracking.publish.figures import logged_table

TASKS = ("queries", "")  # what a system is looked at by, where it was asked several things
# Graded metrics tell queries apart that a hit or a miss leaves level.
GRADED = ("ndcg_at_10", "mrr", "iou", "attribute_f1")
NAMES = {"ndcg_at_10": "nDCG@10", "mrr": "MRR", "iou": "IoU", "attribute_f1": "attribute F1"}
FOLDERS = {"ground": "vlclip"}  # evaluations whose files lie in the folder of another one
MOST_QUERIES = 50  # won, and as many lost
MOST_CONFUSIONS = 300  # the most frequent ones
NAMED = 3  # products of a ranking that are named
UNSAID = "(nothing)"
CONFUSED = ("attribute", "true value", "said instead", "times", "share of the true value")
Measured = Mapping[System, Results]


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

    def sample(self, most: int, products: Products) -> tuple[Example, ...]:
        """The questions about the first ``most`` products in the order of the sample, one a product."""
        places = list(self._first(most, products).values())
        return examples(self.pair, self.metric, places, [products, products])

    def boxes(self, most: int, products: Products) -> list[Boxes]:
        """Of the same products, where they are and where the system says so; [] where it draws no boxes."""
        asked = self.pair.other
        if not {"box", "found_box"} <= set(asked.rows.column_names):
            return []
        made = []
        for product, place in self._first(most, products).items():
            (row,) = asked.rows.select(["box", "found_box"]).slice(place, 1).to_pylist()
            title, value = products.titles.get(product) or product, float(asked.metrics[self.metric][place])
            if row["box"] and row["found_box"]:
                made.append(Boxes(product, title, value, row["box"], row["found_box"]))
        return made

    def _first(self, most: int, products: Products) -> dict[str, int]:
        """Product -> the first row about it, of the sample.

        A query is about the product whose title it is, or the first in the sample that it wants.
        """
        asked = self.pair.other
        own = asked.rows.column("product_id").to_pylist() if "product_id" in asked.rows.column_names else []
        found: dict[str, int] = {}
        for place, key in enumerate(map(str, asked.keys)):
            wanted = min(products.exact.get(key, ()), key=order_of, default="")
            product = own[place] if own else key if key in products.titles else wanted
            if product:
                found.setdefault(product, place)
        return {product: found[product] for product in sampled(found, most)}

    def won_and_lost(self, products: Products) -> dict[str, str]:
        """File -> table of the queries on which the system gains, and loses, most against its baseline."""
        systems = (self.variant, self.baseline)
        answers = (f"answer of {name}" for name in systems)
        columns = ("asked", "kind", f"gain in {self.figure}", *systems, *answers)
        asked, made = self.pair.other, {}
        labels = asked.slices.get("kind", asked.slices.get("category"))
        kinds = {} if labels is None else dict(zip(map(str, asked.keys), map(str, labels), strict=True))
        found = gallery(self.pair, self.metric, MOST_QUERIES, [products, products])
        for name, shown in (("won", found.won), ("lost", found.lost)):
            rows = []
            for one in shown:
                theirs, ours = one.answers
                figures = [round(value, 4) for value in (one.gain, ours.value, theirs.value)]
                said = [told(answer, products) for answer in (ours, theirs)]
                rows.append([one.asked, kinds.get(one.key, ""), *figures, *said])
            width = len(columns) if any(any(row[-2:]) for row in rows) else -2  # a box has no words
            if rows:
                table = logged_table(columns[:width], [row[:width] for row in rows])
                made[f"{self.table}_{name}.json"] = table
        return made


def beside(measured: Measured, table: str, variant: str, headline: Headline) -> Beside | None:
    """The system ``variant`` of an evaluation beside its baseline; None where nothing was kept of it."""
    folder = FOLDERS.get(table, table)
    own = {one.task: rows for one, rows in measured.items() if (one.table, one.variant) == (folder, variant)}
    task = next((task for task in (*TASKS, *sorted(own)) if task in own), None)
    if task is None:
        return None
    ours = own[task]
    other = measured.get(System(folder, headline.baseline, task)) if headline.baseline != variant else None
    theirs = other or ours
    keys = np.intersect1d(ours.keys, theirs.keys)
    pair = PairedValues("", System(table, variant, task), theirs.at(keys), ours.at(keys))
    named = (*GRADED, *headline.metrics)
    shared = [name for name in named if name in ours.metrics and name in theirs.metrics]
    baseline = headline.baseline if other else ""
    return Beside(table, variant, baseline, shared[0], pair) if shared and len(keys) else None


def told(answer: SideAnswer, products: Products) -> str:
    """An answer in a cell: titles in their order, right ones marked, or the listing."""
    if answer.found:
        titles = [(products.titles.get(p) or p, right) for p, right in answer.found[:NAMED]]
        return " | ".join(f"{'✓ ' if right else ''}{title}" for title, right in titles)
    facts = [f"{name} {value}{'' if right else ' ✗'}" for name, value, right in answer.attributes]
    return " · ".join(filter(None, (answer.title, ", ".join(facts))))


def confusion(measured: Measured, table: str, variant: str) -> dict[str, str]:
    """File -> table of the values that the system takes for another one; {} where it names no attributes."""
    own = (rows for one, rows in measured.items() if (one.table, one.variant) == (table, variant))
    answers = Counter(answer for rows in own for answer in _answers(rows.rows))
    total: Counter[tuple[str, str]] = Counter()
    for (attribute, true, _), times in answers.items():
        total[attribute, true] += times
    wrong = [(answer, times) for answer, times in answers.items() if answer[1] != answer[2]]
    common = sorted(wrong, key=lambda item: (-item[1], item[0]))[:MOST_CONFUSIONS]
    rows = [[*answer, times, round(times / total[answer[:2]], 4)] for answer, times in common]
    return {f"{table}_confusion.json": logged_table(CONFUSED, rows)} if rows else {}


def _answers(rows: Any) -> Iterator[tuple[str, str, str]]:
    """Attribute, true value and the value said for it; a right value of several is its own true one."""
    held = set(rows.column_names)
    if {"attribute", "truth", "predicted"} <= held:
        for row in rows.select(["attribute", "truth", "predicted"]).to_pylist():
            true, said = stated(str(row["truth"])), str(row["predicted"])
            yield str(row["attribute"]), said if said in true else ", ".join(sorted(true)), said or UNSAID
    elif {"generated_attributes", "truth_attributes"} <= held:
        for row in rows.select(["generated_attributes", "truth_attributes"]).to_pylist():
            said_of, truth = pairs(row["generated_attributes"]), pairs(row["truth_attributes"])
            for name, value in sorted(truth):
                wrong = [one for key, one in sorted(said_of - truth) if key == name]
                yield name, value, value if (name, value) in said_of else (", ".join(wrong) or UNSAID)
