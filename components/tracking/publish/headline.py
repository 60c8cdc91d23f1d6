"""Which figures of a stage MLflow shows as metrics, at most twelve a run, and the table that holds all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import Any

from components.stage.record import Record
from components.tracking.params import MOST_FIGURES, Headline, TrackingParams

MOST_CURVES = 6
VALIDATION = "validation_"  # what training measured on the validation split; figures of the model, too
COLUMNS = ("table", "variant", "metric", "value", "low", "high", "n")
TESTS = ("table", "metric", "a", "b", "difference", "low", "high", "p", "n")
Tables = Mapping[str, Mapping[str, Any]]  # stem of the metrics file -> its contents


def number(value: object) -> float | None:
    """The number that a metrics file states, plainly or as an interval's value; None for anything else.

    Infinity and NaN are no figures: MLflow's charts and order would take them for values.
    """
    inner = value.get("value") if isinstance(value, Mapping) else value
    if not isinstance(inner, int | float) or isinstance(inner, bool) or not math.isfinite(inner):
        return None
    return float(inner)


def headline_of(params: TrackingParams, table: str) -> Headline | None:
    """What is shown of a metrics file; a study's is shown as that of its system."""
    return params.headline.get(table) or params.headline.get(table.removeprefix("study_"))


def evaluated(table: Mapping[str, Any], variant: str, headline: Headline) -> dict[str, float]:
    """The headline figures of one variant: metric -> value."""
    figures = table.get(variant)
    if not isinstance(figures, Mapping):
        return {}
    found = {metric: number(figures.get(metric)) for metric in headline.metrics}
    return {metric: value for metric, value in found.items() if value is not None}


def shown(record: Record, tables: Tables, params: TrackingParams) -> dict[str, float]:
    """The metrics of a stage's run: of each table the first figure of every variant, then further ones.

    A stage without metrics files shows what it recorded itself; curves count as metrics.
    """
    rest = MOST_FIGURES - min(len(record.curves), MOST_CURVES)
    nested = {name: table for name, table in tables.items() if any(map(_nested, table.values()))}
    flat = {key: number(value) for table in tables.values() for key, value in table.items()}
    single = {key: value for key, value in flat.items() if value is not None}
    if nested:
        columns = [_in_order(name, table, params) for name, table in nested.items()]
        alternating = chain.from_iterable(zip_longest(*columns))
        return dict(islice((pair for pair in alternating if pair), rest))
    in_order = sorted(record.metrics, key=lambda name: (not name.startswith(VALIDATION), "." in name))
    own = {name: record.metrics[name] for name in in_order if number(record.metrics[name]) is not None}
    return dict(islice((single or own).items(), rest))


def _nested(value: object) -> bool:
    return isinstance(value, Mapping) and "value" not in value


def _in_order(name: str, table: Mapping[str, Any], params: TrackingParams) -> Iterator[tuple[str, float]]:
    variants = [key for key, value in table.items() if not key.startswith("_") and _nested(value)]
    headline = headline_of(params, name)
    if headline is None:
        metrics: Sequence[str] = sorted({metric for variant in variants for metric in table[variant]})
    else:
        metrics = headline.metrics
        variants.sort(key=lambda variant: variant != headline.variant)
    for metric in metrics:
        for variant in variants:
            value = number(table[variant].get(metric))
            if value is not None:
                yield f"{variant}/{metric}", value


def figure_rows(record: Record, tables: Tables) -> list[list[Any]]:
    """All figures: those of the metrics files with their intervals, and what only the record has."""
    rows: list[list[Any]] = []
    known: set[str] = set()
    for name, table in tables.items():
        for variant, figures in table.items():
            if variant.startswith("_"):
                continue
            for metric, value in (figures if _nested(figures) else {"": figures}).items():
                known.add(f"{variant}.{metric}".strip("."))
                interval = value if isinstance(value, Mapping) else {}
                plain = [number(value), *(number(interval.get(part)) for part in ("low", "high", "n"))]
                rows += [[name, variant, metric, *plain]] if plain[0] is not None else []
    own = [["record", "", key, number(value), None, None, None] for key, value in record.metrics.items()]
    spent = [["seconds", "", part, value, None, None, None] for part, value in record.timings.items()]
    return rows + [row for row in own if row[2] not in known] + spent


def paired_rows(tables: Tables) -> list[list[Any]]:
    """The paired tests of the metrics files."""
    return [
        [name, *(_plain(test.get(column)) for column in TESTS[1:])]
        for name, table in tables.items()
        for test in table.get("_tests", ())
        if isinstance(test, Mapping)
    ]


def _plain(value: object) -> object:
    return number(value) if isinstance(value, float) else value


def logged_table(columns: Iterable[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as MLflow's ``log_table`` writes it."""
    return json.dumps({"columns": list(columns), "data": [list(row) for row in rows]}, allow_nan=False)
