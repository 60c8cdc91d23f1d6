"""Paired tests: how much another side differs from the first one on the same queries or products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.stage.record import lower_is_better
from components.tracking.compare.per_query import Floats, Results, System, Texts

# (values, reference, clusters) -> an object with difference (values minus reference), low, high, p, n
Paired = Callable[[Floats, Floats, Sequence[str] | None], Any]

SURE = 0.05
FEWEST = 20  # rows in a slice that is tested
# Of these, those that an evaluation has are tested; further ones only show their figures.
TESTED = (
    *("hits_at_5", "ndcg_at_10", "mrr", "mrr_cluttered", "mrr_plain", "iou", "precision"),
    *("attribute_accuracy", "attribute_f1", "hallucination_rate", "completion_rate", "title_rouge_l"),
)


@dataclass(frozen=True)
class PairedDifference:
    """``side`` minus the reference over the same rows, with its 95% interval and two-sided p-value.

    ``won`` and ``lost`` count rows on which the side is better or worse. ``slice`` is "" for all rows, else
    a dimension and its value, such as ``kind: visual``.
    """

    side: str
    table: str
    variant: str
    task: str
    metric: str
    slice: str
    reference: float
    value: float
    difference: float
    low: float
    high: float
    p: float
    n: int
    won: int
    lost: int

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``unclear``: whether the interval leaves zero out, and on which side."""
        if self.p >= SURE or self.low <= 0 <= self.high:
            return "unclear"
        return "better" if (self.difference > 0) != lower_is_better(self.metric) else "worse"

    @property
    def figure(self) -> str:
        """The name that the evaluation gives to what was tested."""
        return System(self.table, self.variant, self.task).figure(self.metric)


@dataclass(frozen=True)
class PairedValues:
    """Both sides' values of one system for the keys that both have, in one order."""

    side: str
    system: System
    reference: Results
    other: Results

    def metrics(self) -> list[str]:
        """Metrics that both sides have and that are tested, the most telling first."""
        return [m for m in TESTED if m in self.reference.metrics and m in self.other.metrics]

    def gain(self, metric: str) -> Floats:
        """How much better the other side is on each row; NaN where either value is undefined."""
        gap = self.other.metrics[metric] - self.reference.metrics[metric]
        return -gap if lower_is_better(metric) else gap


def paired_rows(
    side: str,
    reference: Mapping[System, Results],
    other: Mapping[System, Results],
    same: bool,
    notes: list[str],
) -> Iterator[PairedValues]:
    """Pair what both sides measured; ``same`` says that equal keys are known to be the same queries.

    Where that is not known, only keys are paired that stand for the same text on both sides. ``notes`` gets
    what cannot be paired, and why.
    """
    untold: set[str] = set()
    shared: list[float] = []
    for system in sorted(reference.keys() & other.keys()):
        left, right = reference[system], other[system]
        keys = np.intersect1d(left.keys, right.keys)
        if not same:
            a, b = left.at(keys).said, right.at(keys).said
            keys = keys[:0] if a is None or b is None else keys[a == b]
        if not len(keys):
            untold.add(system.table)
            continue
        share = len(keys) / max(len(left.keys), len(right.keys))
        shared += [share] if share < 1 else []
        yield PairedValues(side, system, left.at(keys), right.at(keys))
    if shared:
        notes.append(
            f"{len(shared)} systems are tested on what both {side} and the reference answered: "
            f"at least {min(shared):.0%} of the rows."
        )
    if untold:
        which = ", ".join(sorted(untold))
        notes.append(f"Not tested ({which}): nothing shows that {side} answers the same queries.")


def tests_of(pair: PairedValues, paired: Paired, slices: bool) -> Iterator[PairedDifference]:
    """The tests of one system, over all rows and, of its first metric, over each slice."""
    every = np.ones(len(pair.reference.keys), bool)
    for place, metric in enumerate(pair.metrics()):
        yield from _test(pair, metric, "", every, paired)
        for dimension, labels in pair.reference.slices.items() if slices and not place else ():
            found = sorted(set(labels) - {""})
            for label in found if len(found) > 1 else ():
                yield from _test(pair, metric, f"{dimension}: {label}", labels == label, paired)


def _test(
    pair: PairedValues, metric: str, which: str, rows: Texts, paired: Paired
) -> Iterator[PairedDifference]:
    a, b = pair.reference.metrics[metric], pair.other.metrics[metric]
    defined = rows & ~np.isnan(a) & ~np.isnan(b)
    n = int(defined.sum())
    if n == 0 or (which and n < FEWEST):
        return
    a, b, system = a[defined], b[defined], pair.system
    groups = None if pair.reference.groups is None else list(pair.reference.groups[defined])
    if np.array_equal(a, b):  # the bootstrap of nothing but zeros, at no cost
        difference, low, high, p, units = 0.0, 0.0, 0.0, 1.0, n if groups is None else len(set(groups))
    else:
        found = paired(b, a, groups)
        difference, low, high, p = (float(getattr(found, x)) for x in ("difference", "low", "high", "p"))
        units = int(found.n)
    gain = pair.gain(metric)[defined]
    counts = int((gain > 0).sum()), int((gain < 0).sum())
    names = (pair.side, system.table, system.variant, system.task, metric, which)
    yield PairedDifference(*names, float(a.mean()), float(b.mean()), difference, low, high, p, units, *counts)
