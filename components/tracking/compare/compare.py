"""Compare two runs, profiles or commits: parameters, data, metrics with intervals, paired tests."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from components.stage.record import Interval
from components.tracking.compare.sides import QUERIES, Side, side_of

# (a, b, seed) -> an object with difference, low, high, p, n; a and b are floats in the same order of queries
Paired = Callable[[list[float], list[float], int], Any]
Values = list[float]
Table = dict[tuple[str, str], dict[str, dict[str, float]]]  # (variant, task) -> metric -> query_id -> value
NOT_METRICS = ("variant", "task", "query_id", "kind", "top")


@dataclass(frozen=True)
class Change:
    """A name whose value differs; None where one side does not have it."""

    name: str
    a: str | None
    b: str | None


@dataclass(frozen=True)
class MetricRow:
    """One figure on both sides."""

    table: str
    variant: str
    metric: str
    a: Interval | None
    b: Interval | None


@dataclass(frozen=True)
class PairedTest:
    """Difference a − b of one metric over the same queries, with its 95% interval and two-sided p-value."""

    table: str
    variant: str
    task: str
    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    n: int


@dataclass
class Comparison:
    """What differs between ``a`` and ``b``. ``notes`` say what could not be compared, and why."""

    a: str
    b: str
    parameters: list[Change] = field(default_factory=list)
    data: list[Change] = field(default_factory=list)
    metrics: list[MetricRow] = field(default_factory=list)
    tests: list[PairedTest] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        plain = asdict(self)
        for row, shown in zip(self.metrics, plain["metrics"], strict=True):
            shown["a"] = row.a.model_dump() if row.a else None
            shown["b"] = row.b.model_dump() if row.b else None
        return plain


def compare(root: Path, a: str, b: str, paired: Paired | None = None, seed: int = 0) -> Comparison:
    """Compare what ``a`` and ``b`` name (``components.tracking.compare.sides.side_of``).

    ``paired`` is the test of differences per query; without it there are no tests.

    Raises:
        UnknownReferenceError: a name is not known here.
        TrackerUnavailableError: a run is meant and the store does not answer.
    """
    root = root.resolve()
    return compared(side_of(root, a), side_of(root, b), paired, seed)


def compared(a: Side, b: Side, paired: Paired | None, seed: int) -> Comparison:
    """The comparison of two sides."""
    found = Comparison(a.name, b.name)
    found.parameters = changes(a.parameters, b.parameters)
    found.data = changes(a.data, b.data)
    keys = sorted(a.metrics.keys() | b.metrics.keys())
    found.metrics = [MetricRow(*key, a.metrics.get(key), b.metrics.get(key)) for key in keys]
    if not keys:
        found.notes.append("Neither side has metrics here.")
    if paired is not None:
        _test(found, a, b, paired, seed)
    return found


def changes(a: Mapping[str, str], b: Mapping[str, str]) -> list[Change]:
    """Names whose values differ, in order."""
    return [
        Change(name, a.get(name), b.get(name))
        for name in sorted(a.keys() | b.keys())
        if a.get(name) != b.get(name)
    ]


def _test(found: Comparison, a: Side, b: Side, paired: Paired, seed: int) -> None:
    reason = unpairable(a, b)
    if reason:
        found.notes.append(reason)
        return
    for name in sorted(a.per_query.keys() & b.per_query.keys()):
        if a.per_query[name] == b.per_query[name]:
            found.notes.append(f"{name}: the per-query results are identical.")
            continue
        left, right = per_query(a.per_query[name]), per_query(b.per_query[name])
        for group in sorted(left.keys() & right.keys()):
            for metric in sorted(left[group].keys() & right[group].keys()):
                shared, reason = _shared(left[group][metric], right[group][metric])
                key = (name, *group, metric)
                if reason:
                    found.notes.append(f"{' '.join(key)}: not tested, {reason}.")
                else:
                    found.tests.append(_paired_test(key, *shared, lambda x, y: paired(x, y, seed)))


def unpairable(a: Side, b: Side) -> str:
    """Why per-query results of the two sides may not be paired; "" when they may."""
    for side in (a, b):
        if not side.per_query:
            return f"No paired tests: {side.name} has no per-query results here (dvc pull fetches them)."
    if a.queries and b.queries:
        # Equal ids mean nothing by themselves: another seed of the shop gives other queries the same ids.
        return (
            ""
            if a.queries == b.queries
            else f"No paired tests: {a.name} and {b.name} answer different queries."
        )
    hashes = [side.data.get(QUERIES, "") for side in (a, b)]
    if "" in hashes or hashes[0] != hashes[1]:
        return (
            f"No paired tests: nothing here shows that {a.name} and {b.name} answer the same queries "
            f"({QUERIES} differs)."
        )
    return ""


def per_query(raw: bytes) -> Table:
    """Read a per-query file; values that are null or not a number are left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(raw))
    variants, tasks, ids = (table.column(name).to_pylist() for name in ("variant", "task", "query_id"))
    found: Table = {}
    for name in table.column_names:
        if name in NOT_METRICS or not pa.types.is_floating(table.schema.field(name).type):
            continue
        for variant, task, query, value in zip(
            variants, tasks, ids, table.column(name).to_pylist(), strict=True
        ):
            if value is not None and value == value:
                found.setdefault((variant, task), {}).setdefault(name, {})[query] = float(value)
    return found


def _shared(left: Mapping[str, float], right: Mapping[str, float]) -> tuple[tuple[Values, Values], str]:
    """Both sides' values in one order of queries, or why they cannot be paired."""
    if left.keys() != right.keys():
        both, either = len(left.keys() & right.keys()), len(left.keys() | right.keys())
        return ([], []), f"{both} of {either} queries are in both"
    queries = sorted(left)
    return ([left[q] for q in queries], [right[q] for q in queries]), ""


def _paired_test(
    key: tuple[str, str, str, str], a: Values, b: Values, test_of: Callable[[Values, Values], Any]
) -> PairedTest:
    test = test_of(a, b)
    difference, low, high, p = (float(getattr(test, name)) for name in ("difference", "low", "high", "p"))
    means = sum(a) / len(a), sum(b) / len(b)
    return PairedTest(*key, *means, difference, low, high, p, int(test.n))
