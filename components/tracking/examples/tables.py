"""Tables that MLflow shows of an evaluation: queries won and lost, and attribute values taken for others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components.tracking.compare.catalogue import Products
from components.tracking.compare.gallery import Example, SideAnswer, pairs
from components.tracking.compare.per_query import Results, stated
from components.tracking.examples.beside import Beside, Measured
from components.tracking.publish.headline import logged_table

MOST_QUERIES = 50  # won, and as many lost
MOST_CONFUSIONS = 300  # the most frequent ones
NAMED = 3  # products of a ranking that are named
UNSAID = "(nothing)"
CONFUSED = ("attribute", "true value", "said instead", "times", "share of the true value")


def won_and_lost(found: Beside, products: Products) -> dict[str, str]:
    """File -> table of the queries on which the system gains, and loses, most against its baseline."""
    columns = (
        *("asked", "kind", f"gain in {found.figure}", found.variant, found.baseline),
        *(f"answer of {found.variant}", f"answer of {found.baseline}"),
    )
    kinds, made = _kinds(found.pair.other), {}
    for name, examples in zip(("won", "lost"), found.won_and_lost(MOST_QUERIES, products), strict=True):
        rows = [_row(one, kinds, products) for one in examples]
        told_of = len(columns) if any(any(row[-2:]) for row in rows) else -2  # a box has no words
        if rows:
            made[f"{found.table}_{name}.json"] = logged_table(columns[:told_of], [r[:told_of] for r in rows])
    return made


def _kinds(asked: Results) -> dict[str, str]:
    labels = asked.slices.get("kind", asked.slices.get("category"))
    return {} if labels is None else dict(zip(map(str, asked.keys), map(str, labels), strict=True))


def _row(one: Example, kinds: Mapping[str, str], products: Products) -> list[Any]:
    theirs, ours = one.answers
    said = [told(answer, products) for answer in (ours, theirs)]
    figures = [round(value, 4) for value in (one.gain, ours.value, theirs.value)]
    return [one.asked, kinds.get(one.key, ""), *figures, *said]


def told(answer: SideAnswer, products: Products) -> str:
    """An answer in a cell: titles in their order, right ones marked, or the listing."""
    if answer.found:
        titles = [(products.titles.get(p) or p, right) for p, right in answer.found[:NAMED]]
        return " | ".join(f"{'✓ ' if right else ''}{title}" for title, right in titles)
    facts = [f"{name} {value}{'' if right else ' ✗'}" for name, value, right in answer.attributes]
    return " · ".join([part for part in (answer.title, ", ".join(facts)) if part])


def confusion(measured: Measured, table: str, variant: str) -> dict[str, str]:
    """File -> table of the values that the system takes for another one; {} where it names no attributes."""
    counts: Counter[tuple[str, str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    for system, rows in measured.items():
        if (system.table, system.variant) == (table, variant) and rows.rows is not None:
            for attribute, true, said in _answers(rows.rows):
                total[attribute, true] += 1
                counts[attribute, true, said] += said != true
    common = [(key, times) for key, times in counts.items() if times]
    common.sort(key=lambda item: (-item[1], item[0]))
    rows_ = [[*key, times, round(times / total[key[:2]], 4)] for key, times in common[:MOST_CONFUSIONS]]
    return {f"{table}_confusion.json": logged_table(CONFUSED, rows_)} if rows_ else {}


def _answers(rows: Any) -> Iterator[tuple[str, str, str]]:
    """Attribute, true value and the value said for it; a right value of several is its own true one."""
    held = set(rows.column_names)
    if {"attribute", "truth", "predicted"} <= held:
        for attribute, truth, said in zip(*_columns(rows, ("attribute", "truth", "predicted")), strict=True):
            true = stated(str(truth))
            yield str(attribute), str(said) if said in true else ", ".join(sorted(true)), str(said) or UNSAID
    elif {"generated_attributes", "truth_attributes"} <= held:
        for said, truth in zip(*_columns(rows, ("generated_attributes", "truth_attributes")), strict=True):
            yield from _of_listing(pairs(said), pairs(truth))


def _of_listing(said: set[tuple[str, str]], truth: set[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    for name in sorted({name for name, _ in truth}):
        true, told = ({value for one, value in held if one == name} for held in (truth, said))
        for value in sorted(true):
            wrong = sorted(told - true)
            yield name, value, value if value in told else (", ".join(wrong) or UNSAID)


def _columns(rows: Any, names: Sequence[str]) -> list[list[Any]]:
    return [rows.column(name).to_pylist() for name in names]
