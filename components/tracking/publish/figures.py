"""The figures of a run: at most twelve as MLflow's metrics, with curves and usage; all of them as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import Any, NamedTuple

from components.stage.record import Record
from components.tracking.params import MOST_FIGURES, Headline, TrackingParams

MOST_CURVES = 6
CURVE_POINTS = 1000  # per curve; the full curve is a file of the graph
MOST_SYSTEM, SYSTEM_POINTS = 40, 60  # series of the machine, and points of each; the record has all
VALIDATION = "validation_"  # what training measured on the validation split; figures of the model, too
COLUMNS = ("table", "variant", "metric", "value", "low", "high", "n")
TESTS = ("table", "metric", "a", "b", "difference", "low", "high", "p", "n")
Tables = Mapping[str, Mapping[str, Any]]  # stem of the metrics file -> its contents
Points = Sequence[Mapping[str, float]]


class Figure(NamedTuple):
    """One value of one MLflow metric."""

    key: str
    value: float
    step: int = 0
    timestamp: int = 0  # Unix time, milliseconds; 0: that of the figures around it


def number(value: object) -> float | None:
    """The number that a metrics file states, plainly or as an interval's value; None for anything else.

    Infinity and NaN are no figures: MLflow's charts and order would take them for values.
    """
    inner = value.get("value") if isinstance(value, Mapping) else value
    if not isinstance(inner, int | float) or isinstance(inner, bool) or not math.isfinite(inner):
        return None
    return float(inner)


def numbers(values: Mapping[str, object]) -> dict[str, float]:
    """Those of the values that are numbers."""
    return {key: found for key, value in values.items() if (found := number(value)) is not None}


def headline_of(params: TrackingParams, table: str) -> Headline | None:
    """What is shown of a metrics file; a study's is shown as that of its system."""
    return params.headline.get(table) or params.headline.get(table.removeprefix("study_"))


def evaluated(table: Mapping[str, Any], variant: str, headline: Headline) -> dict[str, float]:
    """The headline figures of one variant: metric -> value."""
    row = table.get(variant)
    return numbers({m: row.get(m) for m in headline.metrics}) if isinstance(row, Mapping) else {}


def shown(record: Record, tables: Tables, params: TrackingParams) -> dict[str, float]:
    """The metrics of a stage's run: of each table the first figure of every variant, then further ones.

    A stage without metrics files shows what it recorded itself; curves count as metrics.
    """
    rest = MOST_FIGURES - min(len(record.curves), MOST_CURVES)
    nested = {name: table for name, table in tables.items() if any(map(_nested, table.values()))}
    if nested:
        columns = [_in_order(name, table, params) for name, table in nested.items()]
        alternating = chain.from_iterable(zip_longest(*columns))
        return dict(islice((pair for pair in alternating if pair), rest))
    single = numbers({key: value for table in tables.values() for key, value in table.items()})
    in_order = sorted(record.metrics, key=lambda name: (not name.startswith(VALIDATION), "." in name))
    own = numbers({name: record.metrics[name] for name in in_order})
    return dict(islice((single or own).items(), rest))


def _nested(value: object) -> bool:
    return isinstance(value, Mapping) and "value" not in value


def _in_order(name: str, table: Mapping[str, Any], params: TrackingParams) -> Iterator[tuple[str, float]]:
    variants = [key for key, value in table.items() if not key.startswith("_") and _nested(value)]
    metrics: Sequence[str] = sorted({metric for variant in variants for metric in table[variant]})
    if headline := headline_of(params, name):
        metrics = headline.metrics
        variants.sort(key=lambda variant: variant != headline.variant)
    for metric in metrics:
        for variant in variants:
            value = number(table[variant].get(metric))
            if value is not None:
                yield f"{variant}/{metric}", value


def figures(record: Record, tables: Tables, params: TrackingParams) -> list[Figure]:
    """The metrics of the run: a dozen figures and curves, what the execution cost, how busy the machine was.

    The machine's series stand under the names of MLflow's page of system metrics, each at its own times.
    """
    cost = {"system/seconds": record.seconds, "system/peak_memory_bytes": float(record.peak_memory_bytes)}
    found = [Figure(key, value) for key, value in (shown(record, tables, params) | cost).items()]
    for name, points in islice(record.curves.items(), MOST_CURVES):
        kept = (p for p in thinned(points, CURVE_POINTS) if {"step", "value"} <= p.keys())
        found += [Figure(f"curve/{name}", p["value"], int(p["step"])) for p in kept]
    for name, points in islice(record.system.items(), MOST_SYSTEM):
        for step, p in enumerate(thinned(points, SYSTEM_POINTS)):
            if {"seconds", "value"} <= p.keys():
                at = round((record.started + p["seconds"]) * 1000)
                found.append(Figure(f"system/{name}", p["value"], step, at))
    return [figure for figure in found if math.isfinite(figure.value)]  # the record keeps the others


def thinned(points: Points, most: int) -> Points:
    """At most ``most`` points, evenly spread, first and last among them."""
    last = len(points) - 1
    return points if last < most else [points[round(i * last / (most - 1))] for i in range(most)]


def pipeline_figures(tables: Tables, params: TrackingParams) -> list[Figure]:
    """What a stage says to its pipeline run: the headline file, or the first figure of each system."""
    every = {key: value for table in tables.values() for key, value in table.items()}
    found = numbers({key: value for key, value in every.items() if not isinstance(value, dict)})
    for name, table in tables.items():
        if first := params.headline.get(name):
            own = evaluated(table, first.variant, first)
            found |= {f"{name}.{metric}": value for metric, value in list(own.items())[:1]}
    return [Figure(key, value) for key, value in found.items()]


def figure_rows(record: Record, tables: Tables) -> list[list[Any]]:
    """All figures: those of the metrics files with their intervals, and what only the record has."""
    rows: list[list[Any]] = []
    known: set[str] = set()
    for name, table in tables.items():
        for variant, row in table.items():
            if variant.startswith("_"):
                continue
            for metric, value in (row if _nested(row) else {"": row}).items():
                known.add(f"{variant}.{metric}".strip("."))
                interval = value if isinstance(value, Mapping) else {}
                plain = [number(value), *(number(interval.get(part)) for part in ("low", "high", "n"))]
                rows += [[name, variant, metric, *plain]] if plain[0] is not None else []
    own = [["record", "", key, number(value), None, None, None] for key, value in record.metrics.items()]
    spent = [["seconds", "", part, value, None, None, None] for part, value in record.timings.items()]
    return rows + [row for row in own if row[2] not in known] + spent


def paired_rows(tables: Tables) -> list[list[Any]]:
    """The paired tests of the metrics files."""
    rows = [(name, test) for name, table in tables.items() for test in table.get("_tests", ())]
    held = [[name, *map(test.get, TESTS[1:])] for name, test in rows if isinstance(test, Mapping)]
    return [[number(cell) if isinstance(cell, float) else cell for cell in row] for row in held]


def logged_table(columns: Iterable[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as MLflow's ``log_table`` writes it."""
    return json.dumps({"columns": list(columns), "data": [list(row) for row in rows]}, allow_nan=False)
