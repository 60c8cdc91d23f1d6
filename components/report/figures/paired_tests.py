"""Paired tests as a table: a row per metric, a column per pair of variants."""

from __future__ import annotations

from dataclasses import dataclass

from components.report.figures.figures import Figures, PairedTest

Pair = tuple[str, str]


@dataclass(frozen=True)
class TestsRow:
    """One metric; None where a pair was not tested on it. ``n`` is None where the tests' counts differ."""

    metric: str
    n: int | None
    tests: tuple[PairedTest | None, ...]


@dataclass(frozen=True)
class TestsTable:
    """``rows[i].tests[j]`` is of ``pairs[j]``."""

    pairs: tuple[Pair, ...]
    rows: tuple[TestsRow, ...]


def paired_table(figures: Figures) -> TestsTable:
    """Every paired test of a system; metrics and pairs in the order in which they were tested."""
    pairs = tuple(dict.fromkeys((test.a, test.b) for test in figures.tests))
    placed = {(test.metric, test.a, test.b): test for test in figures.tests}
    rows = []
    for metric in dict.fromkeys(test.metric for test in figures.tests):
        tests = tuple(placed.get((metric, a, b)) for a, b in pairs)
        counts = {test.n for test in tests if test is not None}
        rows.append(TestsRow(metric, counts.pop() if len(counts) == 1 else None, tests))
    return TestsTable(pairs, tuple(rows))
